/** The compiled sets that pods and nodes of a cluster have, each once by its content. */
import type { CompiledSet } from "../desired.ts";
import { type OfflineCluster, podKey } from "./cluster.ts";

const known = new WeakMap<OfflineCluster, readonly CompiledSet[]>();

export function setsInUse(cluster: OfflineCluster): readonly CompiledSet[] {
  const before = known.get(cluster);
  if (before !== undefined) return before;
  const ofPods = cluster.livePods.flatMap((pod) => cluster.setOf(podKey(pod)) ?? []);
  const ofNodes = [...cluster.facts.nodes.keys()].flatMap((node) => cluster.setOfNode(node) ?? []);
  const distinct = [...new Map([...ofPods, ...ofNodes].map((set) => [set.digest, set])).values()];
  known.set(cluster, distinct);
  return distinct;
}
