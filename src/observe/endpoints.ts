/** The pods of this node: what the CNI made, what compute wants for it, and what is in the kernel. */
import type { EndpointDto } from "../api/dto.ts";
import type { ComputeResult } from "../compute/result.ts";
import type { LocalEndpointRow } from "../model/tables.ts";

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
