/** Peers of groups as people know them: labels with the pods that have them, entities, blocks of addresses. */
import { compareText } from "../../model/labels.ts";
import type { RulePeer } from "../../model/policy-reports.ts";
import { identityNumbers } from "../identity/reserved.ts";
import { type OfflineCluster, podKey } from "./cluster.ts";
import type { GroupReading } from "./groups.ts";

export const ownNodeText = "the pod's own node";

const reservedWords: ReadonlyMap<number, string> = new Map([
  [identityNumbers.host, ownNodeText],
  [identityNumbers.remoteNode, "other nodes"],
  [identityNumbers.unmanaged, "addresses of pod CIDRs without a pod"],
  [identityNumbers.worldIpv4, "outside (IPv4)"],
  [identityNumbers.worldIpv6, "outside (IPv6)"],
]);
/** Identities that no address ever has here: they are part of what entities mean. */
const silent: ReadonlySet<number> = new Set([
  identityNumbers.world,
  identityNumbers.health,
  identityNumbers.init,
  identityNumbers.kubeApiserver,
  identityNumbers.ingress,
]);

export function readPeers(cluster: OfflineCluster, group: GroupReading): readonly RulePeer[] {
  if (group.anybody) return [{ text: "anybody", pods: [] }];
  const identities = group.identities
    .filter((identity) => !silent.has(identity) || group.identities.length === 1)
    .map((identity): RulePeer => ({ text: identityText(cluster, identity), pods: podsOf(cluster, identity) }));
  const blocks = group.blocks.map(({ prefix, except }): RulePeer => {
    const but = except.length === 0 ? "" : ` except ${except.map(({ text }) => text).join(", ")}`;
    return { text: `${prefix.text}${but}${group.outsideOnly ? ", outside of the cluster" : ""}`, pods: [] };
  });
  return [...identities, ...blocks];
}

/** Labels without those that follow from namespace and account. */
export function identityText(cluster: OfflineCluster, identity: number): string {
  const reserved = reservedWords.get(identity);
  if (reserved !== undefined) return reserved;
  const labels = cluster.labelsOf(identity);
  const namespace = labels.find((label) => label.startsWith(namespaceLabel))?.slice(namespaceLabel.length);
  const own = labels.filter((label) => !isDerived(label)).map((label) => label.replace(/^k8s:/, ""));
  const text = own.length === 0 ? "no labels" : own.join(",");
  return namespace === undefined ? text : `${text} in ${namespace}`;
}

const namespaceLabel = "k8s:io.kubernetes.pod.namespace=";
const isDerived = (label: string): boolean =>
  label.startsWith("k8s:io.cilium.k8s.") || label.startsWith(namespaceLabel);

const known = new WeakMap<OfflineCluster, ReadonlyMap<number, readonly string[]>>();

function podsOf(cluster: OfflineCluster, identity: number): readonly string[] {
  let byIdentity = known.get(cluster);
  if (byIdentity === undefined) {
    const found = new Map<number, string[]>();
    for (const pod of cluster.livePods) {
      const id = cluster.result.identityOfPod.get(podKey(pod)) ?? 0;
      const before = found.get(id);
      if (before === undefined) found.set(id, [podKey(pod)]);
      else before.push(podKey(pod));
    }
    for (const pods of found.values()) pods.sort(compareText);
    byIdentity = found;
    known.set(cluster, found);
  }
  return byIdentity.get(identity) ?? [];
}
