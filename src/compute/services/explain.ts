/** Why a client gets one backend of a service and not another: what `backends.ts` decides, said of each endpoint by itself. */
import type { TableSnapshot } from "../../model/store.ts";
import type { ServicePort, ServiceRow } from "../../model/tables.ts";
import type { DesiredBackend } from "../desired.ts";
import { type Endpoint, type Locality, podEndpoints, sliceEndpoints, withoutCutOff } from "./backends.ts";
import { hasLabels } from "./pod-index.ts";

export type EndpointTables = Pick<TableSnapshot, "endpointSlices" | "pods" | "nodes">;

export interface ExplainedEndpoint {
  readonly endpoint: Endpoint;
  /** Of the node that it is on; null: unknown. */
  readonly zone: string | null;
  /** Why it gets nothing new; null: it may. */
  readonly leftOut: string | null;
}

/** All endpoints of a service's port, in the order of their addresses as tables have them, whatever their state. */
export function endpointsOf(
  { endpointSlices, pods }: EndpointTables,
  service: ServiceRow,
  port: ServicePort,
  family: 4 | 6,
): readonly Endpoint[] {
  const own = [...endpointSlices.values()].filter(
    (slice) => slice.namespace === service.namespace && slice.service === service.name,
  );
  if (own.length > 0) return sliceEndpoints(own, port, family);
  const { selector, namespace } = service;
  if (selector === null) return [];
  const selected = [...pods.values()].filter((pod) => pod.namespace === namespace && hasLabels(pod, selector));
  return podEndpoints(service, selected, port, family);
}

const zoneLabel = "topology.kubernetes.io/zone";

export function zoneOf({ nodes }: Pick<EndpointTables, "nodes">, node: string | null): string | null {
  return node === null ? null : (nodes.get(node)?.labels[zoneLabel] ?? null);
}

/**
 * @param chosen those that the clients get
 * @param local they get those of the node alone
 */
export function explainEndpoints(
  tables: EndpointTables,
  endpoints: readonly Endpoint[],
  chosen: readonly DesiredBackend[],
  here: Locality,
  local: boolean,
): readonly ExplainedEndpoint[] {
  const { node, zone } = here;
  const taken = new Set(chosen.map(({ address, port }) => `${address.text} ${port}`));
  const why = (endpoint: Endpoint): string | null => {
    if (endpoint.cutOff === true)
      return `${endpoint.node ?? "its node"} does not answer this node, and others are left`;
    if (endpoint.state === "unusable") return "it is not ready";
    if (local && endpoint.node !== node) return `it is on ${endpoint.node ?? "no node"}, and the policy is Local`;
    if (taken.has(`${endpoint.address.text} ${endpoint.port}`)) return null;
    if (endpoint.drained === true) return "its weight is 0, and others have more";
    if (endpoint.state === "ending") return "it is terminating, and others are ready";
    const { zones = [], nodes = [] } = endpoint.hints ?? {};
    const meant = [...nodes, ...zones.map((each) => `zone ${each}`)].join(", ");
    return meant === ""
      ? "others are nearer"
      : `it is meant for ${meant}; clients here are in ${zone === null ? "no zone" : `zone ${zone}`}`;
  };
  return withoutCutOff(endpoints, here).map((endpoint) => ({
    endpoint,
    zone: zoneOf(tables, endpoint.node),
    leftOut: why(endpoint),
  }));
}
