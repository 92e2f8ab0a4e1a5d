/**
 * Pods of this node that have a network, but not from Tandem: made before it came or by another plugin, or cut off because what was known of
 * them is lost. Nothing holds them to a policy here, so they are told of until they are made anew.
 */
import { compareText } from "../model/labels.ts";
import type { Problem } from "../model/status.ts";
import type { LocalEndpointRow, PodRow } from "../model/tables.ts";

/** Pods that the problem names. */
const named = 5;

/**
 * @param pods of this node
 * @param endpoints of this node, and those that it had: a pod that is ending has lost its device, and still has its address
 */
export function unmanagedPods(
  pods: Iterable<PodRow>,
  endpoints: Iterable<Pick<LocalEndpointRow, "pod" | "uid">>,
): readonly PodRow[] {
  const known = new Map<string, Pick<LocalEndpointRow, "uid">[]>();
  for (const endpoint of endpoints) {
    const same = known.get(endpoint.pod);
    if (same === undefined) known.set(endpoint.pod, [endpoint]);
    else same.push(endpoint);
  }
  return [...pods].filter(
    (pod) =>
      pod.phase === "Running" &&
      !pod.hostNetwork &&
      pod.addresses.length > 0 &&
      !(known.get(`${pod.namespace}/${pod.name}`) ?? []).some(({ uid }) => isOf(uid, pod.uid)),
  );
}

/** One for all: what to do about them is the same. */
export function unmanagedProblem(node: string, pods: readonly PodRow[]): Problem {
  const names = pods.map(({ namespace, name }) => `${namespace}/${name}`).sort(compareText);
  const more = names.length > named ? ` and ${names.length - named} more` : "";
  const count = names.length === 1 ? "1 pod has" : `${names.length} pods have`;
  return {
    code: "POD_UNMANAGED",
    severity: "warning",
    object: `Node ${node}`,
    field: "",
    message: `${count} no network of Tandem, so that no policy is enforced here for ${names.slice(0, named).join(", ")}${more}`,
    remedy: "delete these pods, so that they are made anew with Tandem's network",
  };
}

/** What is not known differs from nothing. */
function isOf(endpoint: string | null, pod: string): boolean {
  return endpoint === null || endpoint === "" || pod === "" || endpoint === pod;
}
