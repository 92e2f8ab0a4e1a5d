/** The ends of this node that policies are about: its pods (what the CNI made, what compute wants, what is in the kernel), the node itself, and pods that are not Tandem's. */
import type { EndpointDto } from "../api/dto.ts";
import { identityNumbers } from "../compute/identity/reserved.ts";
import type { DesiredEndpoint } from "../compute/desired.ts";
import type { ComputeResult } from "../compute/result.ts";
import { type EndpointCondition, endpointCondition, type PendingChanges } from "../model/endpoint-state.ts";
import { compareText } from "../model/labels.ts";
import type { LocalEndpointRow, NodeRow, PodRow } from "../model/tables.ts";

export interface EndpointKernelState {
  readonly state: "closed" | "ready";
  readonly policyRevision: number;
  readonly policySet: number;
  /** Not set: it has the policy that it should. */
  readonly heldBack?: string;
}

const noKernelState = { policyRevision: 0, policySet: 0 } as const;

/** What the parts of the agent know of the endpoints. */
export interface EndpointKnowledge {
  /** What the datapath says of an endpoint number, null while it does not know it. */
  readonly kernelOf: (id: number) => EndpointKernelState | null;
  /** Whether a container's network is being taken down. */
  readonly isLeaving: (containerId: string) => boolean;
  readonly pending: PendingChanges;
}

/** @param desired of the last computation; undefined: it has not seen this endpoint, null: there was none */
export function conditionOf(
  row: LocalEndpointRow,
  desired: DesiredEndpoint | null | undefined,
  { kernelOf, isLeaving, pending }: EndpointKnowledge,
): EndpointCondition {
  const kernel = kernelOf(row.id);
  return endpointCondition({
    computed: desired !== null,
    leaving: isLeaving(row.containerId),
    policy: desired == null ? "missing" : desired.set === null ? "unknown" : "known",
    isOpen: kernel?.state === "ready",
    heldBack: kernel?.heldBack ?? null,
    pending,
  });
}

/** @param result of the last computation, null before the first */
export function endpointReport(
  rows: Iterable<LocalEndpointRow>,
  result: ComputeResult | null,
  knowledge: EndpointKnowledge,
): readonly EndpointDto[] {
  const desired = new Map(result?.desired.endpoints.map((endpoint) => [endpoint.row.id, endpoint]));
  const sets = new Map(result?.desired.sets.map((set) => [set.key, set]));
  const labels = new Map(result?.identities.map((identity) => [identity.id, identity.labels]));
  return [...rows]
    .sort((a, b) => a.id - b.id)
    .map((row) => {
      const endpoint = desired.get(row.id);
      const { policyRevision, policySet } = knowledge.kernelOf(row.id) ?? noKernelState;
      const set = endpoint?.set == null ? undefined : sets.get(endpoint.set);
      return {
        id: row.id,
        pod: row.pod,
        containerId: row.containerId,
        ifname: row.ifname,
        ifindex: row.ifindex,
        ipv4: row.ipv4?.text ?? null,
        ipv6: row.ipv6?.text ?? null,
        identity: endpoint?.identity ?? 0,
        labels: labels.get(endpoint?.identity ?? 0) ?? [],
        ...conditionOf(row, result === null ? null : endpoint, knowledge),
        policyRevision,
        policySet,
        policyAuditMode: { active: endpoint?.audit ?? false, own: row.policyAuditMode },
        enforcement: { ingress: set?.ingress.enforced ?? false, egress: set?.egress.enforced ?? false },
      };
    });
}

/**
 * The node itself as an endpoint: what policies with nodeSelector are about. No device is its own, and nothing but the agent's setting
 * puts it into audit mode. It is never closed.
 * @param state what is in the kernel, null while nothing is known
 */
export function hostReport(
  node: NodeRow,
  result: Pick<ComputeResult, "desired"> | null,
  state: EndpointKernelState | null,
): EndpointDto {
  const host = result?.desired.host;
  const set = host === undefined ? undefined : result?.desired.sets.find(({ key }) => key === host.set);
  const addressOf = (wanted: 4 | 6) => node.addresses.find(({ family }) => family === wanted)?.text ?? null;
  const labels = Object.entries(node.labels).map(([key, value]) => `k8s:${key}=${value}`);
  return {
    id: noEndpoint,
    pod: `node/${node.name}`,
    containerId: "",
    ifname: "",
    ifindex: 0,
    ipv4: addressOf(4),
    ipv6: addressOf(6),
    identity: identityNumbers.host,
    labels: ["reserved:host", ...labels.sort(compareText)],
    state: "ready",
    reason: null,
    policyRevision: state?.policyRevision ?? 0,
    policySet: state?.policySet ?? 0,
    policyAuditMode: { active: host?.audit ?? false, own: null },
    enforcement: { ingress: set?.ingress.enforced ?? false, egress: set?.egress.enforced ?? false },
  };
}

/** A pod without a network of Tandem: what its peers judge it by is known, but here nothing holds it to a policy. */
export function unmanagedReport(
  pod: PodRow,
  result: Pick<ComputeResult, "identityOfPod" | "identitiesInUse"> | null,
): EndpointDto {
  const key = `${pod.namespace}/${pod.name}`;
  const identity = result?.identityOfPod.get(key) ?? 0;
  const addressOf = (wanted: 4 | 6) => pod.addresses.find(({ family }) => family === wanted)?.text ?? null;
  return {
    id: noEndpoint,
    pod: key,
    containerId: "",
    ifname: "",
    ifindex: 0,
    ipv4: addressOf(4),
    ipv6: addressOf(6),
    identity,
    labels: result?.identitiesInUse.get(identity)?.texts ?? [],
    state: "unmanaged",
    reason: "it has no network of Tandem: no policy is enforced for it here; delete it, so that it is made anew",
    ...noKernelState,
    policyAuditMode: { active: false, own: null },
    enforcement: { ingress: false, egress: false },
  };
}

/** A number that no pod of Tandem has. */
const noEndpoint = 0;
