/**
 * The conformance cases, offline: every probe of a case through the compiled sets of both ends' nodes, looked up as the kernel does.
 * One test a case. What needs a later step is pending with its reason; a pending case is still read, and its policies must be taken as
 * the reason says.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { parse } from "yaml";
import { ComputedCluster } from "../support/compute-cluster.ts";
import { readManifests } from "../support/manifest-tables.ts";
import { type Probe, run } from "./probes.ts";

const folder = join(import.meta.dirname, "cases");

/** Number of the case -> why it cannot pass yet. */
const pending: ReadonlyMap<string, string> = new Map([
  ["82", "DNS names are not resolved yet"],
  ["83", "DNS names are not resolved yet"],
  ["84", "HTTP rules need the proxy"],
  ["85", "HTTP rules need the proxy"],
  ["86", "HTTP rules need the proxy"],
  ["87", "HTTP rules need the proxy"],
  ["88", "DNS rules need the proxy"],
  ["89", "Kafka rules need the proxy"],
  ["92", "policies of nodes are not enforced yet"],
  ["93", "policies of nodes are not enforced yet"],
]);

const cases = readdirSync(folder).sort();

test("there are cases", (t) => {
  t.true(cases.length >= 91, `${cases.length} cases`);
  for (const number of pending.keys())
    t.true(
      cases.some((name) => name.startsWith(`${number}-`)),
      number,
    );
  t.log(`${cases.length - pending.size} cases run, ${pending.size} are pending`);
});

for (const name of cases) {
  const read = (file: string): string => readFileSync(join(folder, name, file), "utf8");
  const { description, probes } = parse(read("probes.yaml")) as {
    readonly description: string;
    readonly probes: readonly Probe[];
  };
  const reason = pending.get(name.slice(0, name.indexOf("-")));
  test(`${name}: ${description}${reason === undefined ? "" : ` (pending: ${reason})`}`, (t) => {
    const store = readManifests(read("cluster.yaml"), read("policies.yaml"));
    const cluster = new ComputedCluster(store);
    const node = [...store.table("nodes").keys()][0] ?? "";
    const { policies } = cluster.result(node);
    if (reason !== undefined) {
      t.log(`pending: ${reason}`);
      t.true(
        policies.some(({ problems }) => problems.length > 0),
        "what is not enforced is told",
      );
      return;
    }
    t.deepEqual(
      policies.filter(({ valid }) => !valid),
      [],
      "all policies are valid",
    );
    for (const [index, probe] of probes.entries()) {
      const verdict = run(store, cluster, probe);
      t.is(verdict, probe.expect as typeof verdict, `probe ${index}: ${JSON.stringify(probe)}`);
    }
    t.true(probes.length > 0);
  });
}
