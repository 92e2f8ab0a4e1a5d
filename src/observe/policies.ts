/** Policies as compute understood them, with the endpoints of this node that each selects. */
import type { PolicyDto } from "../api/dto.ts";
import type { ComputeResult } from "../compute/result.ts";
import type { LocalEndpointRow } from "../model/tables.ts";

export function policyReport(result: ComputeResult, local: Iterable<LocalEndpointRow>): readonly PolicyDto[] {
  const ids = new Map([...local].map((row) => [row.pod, row.id]));
  return result.policies.map(({ kind, namespace, name, valid, pods, ownNode, problems }) => ({
    kind,
    namespace,
    name,
    valid,
    endpoints: pods.flatMap((pod) => ids.get(pod) ?? []).sort((a, b) => a - b),
    ownNode,
    problems,
  }));
}
