/** kubectl drain beside BGP: service addresses leave the fabric while the node's pods still serve, and who is being served is served to the end. */
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import type { BgpServiceDto } from "../../src/api/dto.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { mustRun } from "../../src/lab/run.ts";
import { fetchFrom, pod, settled, withLab } from "../support/lab.ts";

const [anyNode, anyNode6, local] = ["203.0.113.10", "2001:db8:113::10", "203.0.113.20"] as const;
const bytes = 6_000_000;
/** Of one download: it takes some 15 s. */
const rate = "400k";

/** Tells its name, and answers /download with as many bytes. */
const codeOf = (name: string) => `require("http").createServer((asked, answer) => {
  if (asked.url !== "/download") return answer.end("${name}");
  answer.setHeader("x-web", "${name}");
  let left = ${bytes};
  const send = () => {
    while (left > 0) {
      left -= 50_000;
      if (!answer.write("x".repeat(50_000))) return answer.once("drain", send);
    }
    answer.end();
  };
  send();
}).listen(8080, "::")`;

const backend = (node: string) =>
  pod(`web-${node}`, {
    node,
    labels: { app: "web" },
    ports: [],
    command: [process.execPath, "-e", codeOf(`web-${node}`)],
  });

function service(name: string, addresses: readonly string[], more: object = {}) {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: "default" },
    spec: {
      type: "LoadBalancer",
      ipFamilyPolicy: "PreferDualStack",
      selector: { app: "web" },
      ports: [{ port: 80, targetPort: 8080 }],
      ...more,
    },
    status: { loadBalancer: { ingress: addresses.map((ip) => ({ ip })) } },
  };
}

const cordoned = (name: string, unschedulable: boolean) => ({
  apiVersion: "v1",
  kind: "Node",
  metadata: { name },
  spec: { unschedulable },
});

/** Names of nodes from which the top of rack has the address. */
async function from(lab: Lab, address: string): Promise<string> {
  const prefix = `${address}/${address.includes(":") ? 128 : 32}`;
  const socket = join(lab.plan.tor.folder, "bird.ctl");
  const text = await mustRun(["birdc", "-s", socket, "show", "route", "for", prefix]).catch(() => "");
  if (!text.includes(`${address}/`)) return "";
  return lab.plan.nodes
    .filter(({ slot }) => text.includes(`[${slot.replaceAll("-", "_")} `))
    .map(({ name }) => name)
    .join(" ");
}

async function rowsOf(lab: Lab, node: string): Promise<readonly BgpServiceDto[]> {
  const { stdout } = await lab.agent(node, ["bgp", "services", "--json"]);
  return JSON.parse(stdout) as readonly BgpServiceDto[];
}

/** New connections one after the other, until told to stop. */
function asking(t: ExecutionContext, lab: Lab, address: string) {
  const counts = { asked: 0, failed: 0 };
  let stopped = false;
  const running = (async () => {
    while (!stopped) {
      counts.asked++;
      if ((await fetchFrom(lab, "external/client", address, 80, 5)) === null) counts.failed++;
    }
  })().catch(() => undefined);
  t.teardown(() => {
    stopped = true;
  });
  return async () => {
    stopped = true;
    await running;
    return counts;
  };
}

test("a node that is drained is left by the fabric before its pods end, downloads through it go on by the other, and it is back afterwards", (t) =>
  withLab(
    t,
    {
      nodes: 2,
      agent: { advertiseServices: "all", loadBalancerMode: "dsr" },
      objects: [
        backend("node-1"),
        backend("node-2"),
        service("any", [anyNode, anyNode6]),
        service("local", [local], { externalTrafficPolicy: "Local" }),
      ],
    },
    async (lab) => {
      await settled(lab);
      const both = "node-1 node-2";
      const isFrom = async (names: string) => {
        for (const address of [anyNode, anyNode6, local]) if ((await from(lab, address)) !== names) return false;
        return true;
      };
      await lab.until("both nodes are in the fabric", () => isFrom(both));

      // The one that the top of rack sends clients to now.
      const { stdout: way } = await lab.exec("tor", ["ip", "-4", "route", "get", anyNode]);
      const drained = lab.plan.nodes.find(({ ipv4 }) => way.includes(`via ${ipv4} `))?.name ?? "";
      const other = lab.plan.nodes.find(({ name }) => name !== drained)?.name ?? "";
      t.regex(drained, /^node-/, way);

      const folder = await mkdtemp(join(tmpdir(), "tandem-drain-"));
      t.teardown(() => rm(folder, { recursive: true, force: true }));
      const file = (at: number) => join(folder, String(at));
      const words = (host: string, at: number) =>
        [
          "curl",
          "-sg",
          "-m",
          "100",
          "--speed-time",
          "15",
          "--speed-limit",
          "1",
          "--limit-rate",
          rate,
          "-o",
          file(at),
          "-w",
          "%{http_code} %{size_download} %header{x-web}",
        ].concat(`http://${host}/download`);
      const downloads = Array.from({ length: 6 }, (_, i) => (i % 2 === 0 ? anyNode : `[${anyNode6}]`)).map((host, at) =>
        lab.exec("external/client", words(host, at), { timeoutMs: 110_000 }),
      );
      const ends = [anyNode, local].map((address) => asking(t, lab, address));
      // What is not under way yet is a new connection, and those are counted apart.
      await lab.until("all downloads have begun", async () => {
        const sizes = await Promise.all(
          downloads.map(async (_, at) => (await stat(file(at)).catch(() => ({ size: 0 }))).size),
        );
        return sizes.every((size) => size > 0);
      });

      const begin = performance.now();
      await lab.applyObjects([cordoned(drained, true)]);
      await lab.until("the fabric has left it", () => isFrom(other));
      t.log(`left ${Math.round(performance.now() - begin)} ms after the cordon, the lab's own work included`);
      for (const { address, state, why } of await rowsOf(lab, drained))
        t.deepEqual(
          [address, state, why],
          [address, "withheld", "this node is being drained: it has the taint node.kubernetes.io/unschedulable"],
        );
      // Its pods are there, and go now.
      const { pods } = await lab.status();
      t.true(pods.some(({ name, node }) => name === `web-${drained}` && node === drained));
      const told = (await Promise.all(downloads)).map(({ stdout }) => stdout);
      for (const each of told) t.regex(each, new RegExp(`^200 ${bytes} web-node-`));
      const [toAny, toLocal] = await Promise.all(ends.map((end) => end()));
      t.log(`of new connections failed: ${JSON.stringify({ toAny, toLocal })}`);
      t.true((toAny?.asked ?? 0) > 10 && (toLocal?.asked ?? 0) > 10);
      t.is(toAny?.failed, 0);
      // Of Local one may be under way when the fabric turns to a node that knows nothing of its backend.
      t.true((toLocal?.failed ?? 0) <= 1);

      await lab.deleteObjects([backend(drained)]);
      await settled(lab);
      for (let i = 0; i < 10; i++)
        for (const address of [anyNode, anyNode6, local])
          t.is(await fetchFrom(lab, "external/client", address, 80), `web-${other}`, address);

      await lab.applyObjects([backend(drained), cordoned(drained, false)]);
      await lab.until("it is back in the fabric", () => isFrom(both));
    },
  ));
