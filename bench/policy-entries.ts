/** Entries of the kernel's policy maps, beside those of a table with an entry for each (identity, port) pair. */
import type { CompiledDirection } from "../src/compute/desired.ts";
import { encodeSet } from "../src/datapath/policy-encode.ts";
import { clusterTables, freshComputation } from "./policy-cluster.ts";
import type { Row } from "./support.ts";

/** Pairs that allow or deny: what a table without vectors must spell out. Its CIDRs are identities, as Cilium's are. */
function pairs(direction: CompiledDirection): number {
  const peers = [...direction.peers.values(), ...direction.prefixes.map(({ groups }) => groups)];
  let count = 0;
  for (const { groups } of direction.ports) {
    const named = new Set(groups);
    count += peers.filter((each) => each.some((group) => named.has(group))).length;
  }
  return count;
}

export function entriesPerPods(): readonly Row[] {
  const pods = 1_000;
  // All of them on one node, so that none is counted twice.
  const store = clusterTables({ pods, policies: 500, ownNodes: pods / 50 });
  const { desired } = freshComputation().compute(store.snapshot());
  const ours = desired.sets.reduce((sum, set) => sum + encodeSet(set).length, 0);
  const bySet = new Map(desired.sets.map((set) => [set.key, pairs(set.egress) + pairs(set.ingress)]));
  const shared = [...bySet.values()].reduce((sum, count) => sum + count, 0);
  const perPod = desired.endpoints.reduce((sum, { set }) => sum + (bySet.get(set ?? "") ?? 0), 0);
  if (desired.endpoints.length !== pods || ours === 0) throw new Error("the cluster is not as meant");
  const row = (what: string, baseline: number, how: string): Row => ({
    what,
    figure: `${ours} entries`,
    baseline: `${baseline} entries (${how})`,
    ratio: baseline / ours,
    aim: "> 1",
  });
  return [
    row("policy maps for 1,000 pods, 500 policies", perPod, "(identity, port) pairs in a map per pod, counted"),
    row("  the same, if pods of an identity shared it", shared, "(identity, port) pairs per identity, counted"),
  ];
}
