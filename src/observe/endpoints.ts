/** The ends of this node that policies are about: its pods (what the CNI made, what compute wants, what is in the kernel), and the node itself. */
import type { EndpointDto } from "../api/dto.ts";
import { identityNumbers } from "../compute/identity/reserved.ts";
import type { ComputeResult } from "../compute/result.ts";
import { compareText } from "../model/labels.ts";
import type { LocalEndpointRow, NodeRow } from "../model/tables.ts";

export interface EndpointKernelState {
  readonly state: "closed" | "ready";
  readonly policyRevision: number;
  readonly policySet: number;
}

const unknownState: EndpointKernelState = { state: "closed", policyRevision: 0, policySet: 0 };

/**
 * @param result of the last computation, null before the first
 * @param stateOf what the datapath says of an endpoint number, null while it does not know it
 */
export function endpointReport(
  rows: Iterable<LocalEndpointRow>,
  result: ComputeResult | null,
  stateOf: (id: number) => EndpointKernelState | null,
): readonly EndpointDto[] {
  const desired = new Map(result?.desired.endpoints.map((endpoint) => [endpoint.row.id, endpoint]));
  const sets = new Map(result?.desired.sets.map((set) => [set.key, set]));
  const labels = new Map(result?.identities.map((identity) => [identity.id, identity.labels]));
  return [...rows]
    .sort((a, b) => a.id - b.id)
    .map((row) => {
      const endpoint = desired.get(row.id);
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
        ...(stateOf(row.id) ?? unknownState),
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
    id: hostEndpoint,
    pod: `node/${node.name}`,
    containerId: "",
    ifname: "",
    ifindex: 0,
    ipv4: addressOf(4),
    ipv6: addressOf(6),
    identity: identityNumbers.host,
    labels: ["reserved:host", ...labels.sort(compareText)],
    ...(state ?? unknownState),
    state: "ready",
    policyAuditMode: { active: host?.audit ?? false, own: null },
    enforcement: { ingress: set?.ingress.enforced ?? false, egress: set?.egress.enforced ?? false },
  };
}

/** A number that no pod has. */
const hostEndpoint = 0;
