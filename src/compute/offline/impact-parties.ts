/**
 * Who is compared when policies change: pods that the policies of before and of after cannot tell apart are one row, and so are nodes
 * (a pod's own, and the others; where policies select nodes, also as themselves) and the parts of the outside.
 */
import { compareText } from "../../model/labels.ts";
import type { PodRow } from "../../model/tables.ts";
import { type OfflineCluster, type Party, podKey } from "./cluster.ts";
import { outsideParts } from "./outside.ts";
import { setsInUse } from "./sets-in-use.ts";
import { vectorsOf } from "./vectors.ts";
import { workloadName } from "./workload-names.ts";

export interface PodClass {
  readonly kind: "pods";
  readonly title: string;
  /** "namespace/name", sorted. */
  readonly pods: readonly string[];
  /** In which of both clusters they are. */
  readonly before: boolean;
  readonly after: boolean;
}

export interface NodeClass {
  readonly kind: "nodes";
  readonly title: string;
  /** The node of the pod on the other side, or another one. */
  readonly own: boolean;
  /** Names. */
  readonly nodes: readonly string[];
}

/** Nodes in their dealings with each other and with the outside, which policies of nodes are about. */
export interface HostClass {
  readonly kind: "hosts";
  readonly title: string;
  /** Names. */
  readonly nodes: readonly string[];
}

export interface OutsideClass {
  readonly kind: "outside";
  readonly title: string;
  readonly party: Party;
}

export type Class = PodClass | NodeClass | HostClass | OutsideClass;

export function classesOf(before: OfflineCluster, after: OfflineCluster): readonly Class[] {
  return [...podClasses(before, after), ...nodeClasses(before, after), ...outsideClasses(before, after)];
}

/** Addresses by which rules may tell parties inside of the cluster apart. */
function addressSignature(cluster: OfflineCluster, addresses: PodRow["addresses"]): string {
  return setsInUse(cluster)
    .flatMap(({ egress, ingress }) => [egress, ingress])
    .filter(({ prefixes }) => prefixes.length > 0)
    .flatMap((direction) => addresses.map((address) => vectorsOf(direction).who(-1, address).toString(16)))
    .join(",");
}

function podClasses(before: OfflineCluster, after: OfflineCluster): readonly PodClass[] {
  const signatures = [before, after].map((cluster) => podSignatures(cluster));
  const rows = new Map([...before.livePods, ...after.livePods].map((pod) => [podKey(pod), pod]));
  const members = new Map<string, string[]>();
  for (const pod of [...rows.keys()].sort(compareText)) {
    const signature = signatures.map((of) => of.get(pod) ?? "absent").join("|");
    const known = members.get(signature);
    if (known === undefined) members.set(signature, [pod]);
    else known.push(pod);
  }
  const classes = [...members.values()].map((pods): PodClass => {
    const [first = ""] = pods;
    const [was, is] = signatures.map((of) => of.has(first));
    const title = workloadName(pods.flatMap((pod) => rows.get(pod) ?? []));
    return { kind: "pods", title, pods, before: was ?? false, after: is ?? false };
  });
  const titles = classes.map(({ title }) => title);
  return classes
    .map((each): PodClass => {
      const unique = titles.filter((title) => title === each.title).length === 1;
      return unique ? each : { ...each, title: podsText(each.pods) };
    })
    .sort((a, b) => compareText(a.title, b.title));
}

function podsText(pods: readonly string[]): string {
  const [first = "", ...others] = pods;
  return others.length === 0 ? first : `${first} and ${others.length} more`;
}

/** Equal for pods that no rule of the cluster tells apart, as subjects or as peers. */
function podSignatures(cluster: OfflineCluster): ReadonlyMap<string, string> {
  return new Map(
    cluster.livePods.map((pod) => {
      const key = podKey(pod);
      const families = pod.addresses.map(({ family }) => family).join();
      const identity = cluster.result.identityOfPod.get(key);
      return [key, `${identity} ${cluster.setOf(key)?.digest} ${families} ${addressSignature(cluster, pod.addresses)}`];
    }),
  );
}

function nodeClasses(before: OfflineCluster, after: OfflineCluster): readonly (NodeClass | HostClass)[] {
  const members = new Map<string, string[]>();
  const names = new Set([...before.facts.nodes.keys(), ...after.facts.nodes.keys()]);
  for (const name of [...names].sort(compareText)) {
    const signature = [before, after]
      .map((cluster) => {
        const addresses = cluster.facts.nodes.get(name)?.addresses ?? [];
        const families = addresses.map(({ family }) => family).join();
        return `${families} ${cluster.setOfNode(name)?.digest ?? "-"} ${addressSignature(cluster, addresses)}`;
      })
      .join("|");
    const known = members.get(signature);
    if (known === undefined) members.set(signature, [name]);
    else known.push(name);
  }
  const single = members.size === 1;
  const judged = [...names].some((name) => before.setOfNode(name) !== null || after.setOfNode(name) !== null);
  return [...members.values()].flatMap((nodes): readonly (NodeClass | HostClass)[] => {
    const which = single ? "" : ` (${nodes.join(", ")})`;
    return [
      { kind: "nodes", title: `own node${which}`, own: true, nodes },
      { kind: "nodes", title: `other nodes${which}`, own: false, nodes },
      ...(judged ? [{ kind: "hosts" as const, title: single ? "nodes" : `nodes ${nodes.join(", ")}`, nodes }] : []),
    ];
  });
}

function outsideClasses(before: OfflineCluster, after: OfflineCluster): readonly OutsideClass[] {
  return outsideParts([before, after]).map(({ prefix, address }): OutsideClass => {
    const rest = prefix.length === 0 ? `outside (IPv${prefix.family})` : prefix.text;
    return { kind: "outside", title: rest, party: { kind: "outside", name: address.text, address } };
  });
}
