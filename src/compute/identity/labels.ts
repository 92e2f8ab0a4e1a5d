/**
 * The labels that make a pod's identity: its own (without those that only tell one pod of a set from another) and those that Cilium
 * derives from where it runs. Selectors of policies are matched against these.
 */
import { compareText, type LabelMap } from "../../model/labels.ts";
import type { Labels } from "../../model/labels.ts";
import type { PodRow } from "../../model/tables.ts";

export const namespaceKey = "io.kubernetes.pod.namespace";
export const namespaceLabelPrefix = "io.cilium.k8s.namespace.labels.";
const serviceAccountKey = "io.cilium.k8s.policy.serviceaccount";
export const clusterKey = "io.cilium.k8s.policy.cluster";
export const clusterName = "default";

const kept = ["app.kubernetes.io"];
/** Starts of keys that are no part of an identity by default: Cilium's list (pkg/labelsfilter). */
const dropped = [
  "io.kubernetes",
  "kubernetes.io",
  "statefulset.kubernetes.io/pod-name",
  "apps.kubernetes.io/pod-index",
  "batch.kubernetes.io/job-completion-index",
  "batch.kubernetes.io/controller-uid",
  "k8s.io",
  "pod-template-generation",
  "pod-template-hash",
  "controller-revision-hash",
  "annotation",
  "controller-uid",
  "etcd_node",
];

/** Whether a pod's own label distinguishes identities even if no policy names it. */
export function isIdentityRelevant(key: string): boolean {
  if (kept.some((start) => key.startsWith(start))) return true;
  return !key.includes("beta.kubernetes.io") && !dropped.some((start) => key.startsWith(start));
}

function isDerived(key: string): boolean {
  return (
    key === namespaceKey || key === serviceAccountKey || key === clusterKey || key.startsWith(namespaceLabelPrefix)
  );
}

/**
 * @param named keys that some policy's selector names: they count although they would be dropped, so that a NetworkPolicy for
 *   one pod of a StatefulSet works
 */
export function identityLabels(
  pod: Pick<PodRow, "namespace" | "labels" | "serviceAccount">,
  namespaceLabels: Labels,
  named: ReadonlySet<string>,
): LabelMap {
  const labels = new Map<string, string>();
  for (const [key, value] of Object.entries(pod.labels)) {
    // A pod must not be able to claim to be of another namespace.
    if (!isDerived(key) && (named.has(key) || isIdentityRelevant(key))) labels.set(key, value);
  }
  for (const [key, value] of Object.entries(namespaceLabels)) labels.set(namespaceLabelPrefix + key, value);
  labels.set(`${namespaceLabelPrefix}kubernetes.io/metadata.name`, pod.namespace);
  labels.set(namespaceKey, pod.namespace);
  labels.set(serviceAccountKey, pod.serviceAccount || "default");
  labels.set(clusterKey, clusterName);
  return labels;
}

/** "k8s:key=value", sorted. */
export function labelTexts(labels: LabelMap): readonly string[] {
  return [...labels].map(([key, value]) => `k8s:${key}=${value}`).sort(compareText);
}
