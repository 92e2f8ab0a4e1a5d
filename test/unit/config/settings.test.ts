import test from "ava";
import { z } from "zod";
import { Settings } from "../../../src/config/index.ts";

const settings = new Settings({
  schema: z.strictObject({
    nodeName: z.string().min(1).describe("a name"),
    clusterId: z.int().max(255).default(0),
    uplinks: z.array(z.string()).default(["auto"]),
  }),
  prefix: "TANDEM_TEST_",
  lists: ["uplinks"],
  remedy: "read the manual",
  foreign: { of: "others", names: new Map([["node-number", "clusterId"]]) },
});

const files = new Map([["/etc/one.yaml", "nodeName: from-file\nclusterId: 3\n"]]);
const folders = new Map([
  [
    "/etc/map",
    new Map([
      ["node-name", "from-map\n"],
      ["clusterId", "4"],
      ["uplinks", "eth0,eth1"],
    ]),
  ],
  ["/etc/wrong", new Map([["node-nam", "x"]])],
]);

function load(argv: readonly string[], env: Readonly<Record<string, string>> = {}) {
  return settings.load({
    argv,
    env,
    readFile: (path) => {
      const text = files.get(path);
      if (text === undefined) throw new Error("ENOENT");
      return text;
    },
    readFolder: (path) => folders.get(path) ?? null,
  });
}

test("a flag beats a variable, that a file, and that the default; each value knows its source", (t) => {
  const { config, sources } = load(["--config=/etc/one.yaml", "--cluster-id", "7"], {
    TANDEM_TEST_NODE_NAME: "from-variable",
    TANDEM_TEST_CLUSTER_ID: "5",
  });
  t.deepEqual(config, { nodeName: "from-variable", clusterId: 7, uplinks: ["auto"] });
  t.deepEqual(sources, { nodeName: "environment", clusterId: "flag", uplinks: "default" });
  t.deepEqual(load(["--config", "/etc/one.yaml"]).config.clusterId, 3);
});

test("a folder has a file for each setting, as a mounted ConfigMap", (t) => {
  const { config, sources } = load([], { TANDEM_TEST_CONFIG: "/etc/map" });
  t.deepEqual(config, { nodeName: "from-map", clusterId: 4, uplinks: ["eth0", "eth1"] });
  t.is(sources.uplinks, "file");
});

test("what cannot be used is told by name, all at once and with what to do", (t) => {
  t.throws(() => load(["--cluster-id=300"]), {
    code: "CONFIG_INVALID",
    message: /nodeName: is required \(--node-name or TANDEM_TEST_NODE_NAME\); clusterId \(--cluster-id\)/,
  });
  t.throws(() => load(["--config=/etc/wrong"]), { code: "CONFIG_INVALID", message: /node-nam: no such setting/ });
  t.throws(() => load(["--config=/etc/none"]), { code: "CONFIG_FILE", message: /\/etc\/none: ENOENT/ });
  t.throws(() => load(["--nodename=a"]), { code: "CONFIG_FLAG" });
  t.throws(() => load(["--node-name"]), { code: "CONFIG_FLAG", message: /needs a value/ });
});

test("who uses another program's name for a setting is told ours", (t) => {
  t.throws(() => load(["--node-number=3"]), { code: "CONFIG_FLAG", message: /of others: here --cluster-id has that/ });
  files.set("/etc/foreign.yaml", "nodeName: a\nnode-number: 3\nnobodys: 1\n");
  const error = t.throws(() => load(["--config=/etc/foreign.yaml"]), { code: "CONFIG_INVALID" });
  t.regex(
    error?.message ?? "",
    /node-number: no such setting \(of others: here clusterId has that meaning\); nobodys: no such setting$/,
  );
});
