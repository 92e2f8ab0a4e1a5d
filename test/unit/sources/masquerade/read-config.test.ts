import test from "ava";
import { readMasqueradeConfig } from "../../../../src/sources/masquerade/read-config.ts";

const path = "/etc/ip-masq";

function read(text: string | null): {
  readonly prefixes: readonly string[] | null;
  readonly problems: readonly string[];
} {
  const { prefixes, problems } = readMasqueradeConfig(path, text);
  return {
    prefixes: prefixes?.map((prefix) => prefix.text) ?? null,
    problems: problems.map(({ code, field, message }) => `${code} ${field}: ${message}`),
  };
}

const linkLocal = ["169.254.0.0/16", "fe80::/10"];

test("a file that is absent or empty stands for the reserved networks", (t) => {
  for (const text of [null, "", "# nothing\n", "null"]) {
    const { prefixes, problems } = read(text);
    t.is(prefixes?.length, 13);
    t.deepEqual(prefixes?.filter((each) => ["10.0.0.0/8", "240.0.0.0/4", ...linkLocal].includes(each)).length, 4);
    t.deepEqual(problems, []);
  }
});

test("one that says anything stands for what it lists, in YAML and in JSON", (t) => {
  t.deepEqual(read("nonMasqueradeCIDRs:\n- 8.8.0.0/16\n- 1.1.2.3/16\n- fd00::/8\nresyncInterval: 60s").prefixes, [
    ...["8.8.0.0/16", "1.1.0.0/16", "fd00::/8"],
    ...linkLocal,
  ]);
  t.deepEqual(read("nonMasqueradeCIDRs:\n").prefixes, linkLocal);
  t.deepEqual(read('{"nonMasqueradeCIDRs": ["10.0.0.0/8"], "masqLinkLocal": true}').prefixes, [
    "10.0.0.0/8",
    "fe80::/10",
  ]);
  t.deepEqual(read("masqLinkLocal: true\nmasqLinkLocalIPv6: true").prefixes, []);
});

test("what cannot be used is refused whole, with every mistake named", (t) => {
  const text = "nonMasqueradeCIDRs: [10.0.0.0, 10.0.0.0/33, 7]\nmasqLinkLocal: maybe\n";
  const { prefixes, problems } = read(text);
  t.is(prefixes, null);
  t.deepEqual(
    problems.map((each) => each.split(";")[0]),
    [
      'MASQUERADE_CONFIG nonMasqueradeCIDRs[0]: "10.0.0.0" is not a CIDR',
      'MASQUERADE_CONFIG nonMasqueradeCIDRs[1]: "10.0.0.0/33" is not a CIDR',
      "MASQUERADE_CONFIG nonMasqueradeCIDRs[2]: 7 is not a CIDR",
      'MASQUERADE_CONFIG masqLinkLocal: "maybe" is neither true nor false',
    ],
  );
  t.is(read("nonMasqueradeCIDRs: 10.0.0.0/8").prefixes, null);
  t.is(read("[10.0.0.0/8]").prefixes, null);
  t.is(read("a: [").prefixes, null);
});

test("a field that has no meaning is a warning, and the rest holds", (t) => {
  const { prefixes, problems } = read("nonMasqueradeCIDRs: []\noutputInterface: eth1");
  t.deepEqual(prefixes, linkLocal);
  t.deepEqual(problems, ["MASQUERADE_CONFIG_FIELD outputInterface: there is no such field, or it has no meaning here"]);
});
