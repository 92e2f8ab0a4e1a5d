/**
 * The conformance cases, offline: every probe of a case through the compiled sets of both ends' nodes, looked up as the kernel does.
 * One test a case. What needs a later step is pending with its reason and counted; until then nothing may be open there that the case
 * wants closed.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { parse } from "yaml";
import { ComputedCluster } from "../support/compute-cluster.ts";
import { readManifests } from "../support/manifest-tables.ts";
import type { TableStore } from "../../src/model/store.ts";
import type { Verdict } from "../support/kernel-verdict.ts";
import { type Probe, run } from "./probes.ts";

const folder = join(import.meta.dirname, "cases");

const names = "DNS names are not resolved yet";
const proxy = "L7 rules need the proxy";
const host = "policies of nodes are not enforced yet";

/** Number of the case -> why some of its probes cannot pass yet. */
const pending: ReadonlyMap<string, string> = new Map([
  ["82", names],
  ["83", names],
  ["84", proxy],
  ["85", proxy],
  ["86", proxy],
  ["87", proxy],
  ["88", proxy],
  ["89", proxy],
  ["92", host],
  ["93", host],
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
    const { policies } = cluster.result([...store.table("nodes").keys()][0] ?? "");
    t.true(probes.length > 0);
    t.is(
      policies.some(({ valid }) => !valid),
      reason === host,
      "valid, unless of nodes",
    );
    if (reason !== undefined)
      t.true(
        policies.some(({ problems }) => problems.length > 0),
        "what is not enforced is told",
      );
    let waiting = 0;
    for (const [index, probe] of probes.entries()) {
      const about = `probe ${index}: ${JSON.stringify(probe)}`;
      if (reason !== undefined && isPending(probe, store, cluster)) {
        waiting++;
        // A query has no other end here; a node has no policy at all, as its problem says.
        if (probe.dns !== undefined || reason === host) continue;
        if (probe.expect !== "allow") t.not(run(store, cluster, probe), "allow", about);
      } else t.is(run(store, cluster, probe), probe.expect as Verdict, about);
    }
    if (reason !== undefined) t.log(`${waiting} of ${probes.length} probes are pending: ${reason}`);
  });
}

/** Whether a later step decides it; connections that a rule without L7, or no rule, decides are not. */
function isPending(probe: Probe, store: TableStore, cluster: ComputedCluster): boolean {
  const needsProxy = [probe.http, probe.kafka, probe.dns, probe.resolved].some((each) => each !== undefined);
  if (needsProxy) return true;
  if ([probe.from, probe.to].some((end) => isNode(end, store)) && selectsNodes(store)) return true;
  // A plain connection that only L7 rules allow: the proxy would accept it, and there is none.
  return run(store, cluster, probe) === "redirect";
}

function selectsNodes(store: TableStore): boolean {
  const specs = [...store.table("policies").values()].map(({ spec }) => spec as { readonly nodeSelector?: unknown });
  return specs.some(({ nodeSelector }) => nodeSelector !== undefined);
}

function isNode(end: string, store: TableStore): boolean {
  if (end.startsWith("node/") || store.table("pods").get(end)?.hostNetwork === true) return true;
  return [...store.table("nodes").values()].some(({ addresses }) => addresses.some(({ text }) => text === end));
}
