/**
 * Who answers for a service's port, to clients of this node. EndpointSlices decide where the service has any; else the pods that it selects.
 * Those that are ready answer; where none is, those that still serve while they end (KEP-1669), so that a rollout of the last pod loses
 * nothing. Of those for the whole cluster the near ones are taken where the slices' hints say so.
 */
import { type Address, compareAddresses } from "../../model/ip.ts";
import type { EndpointSliceRow, PodRow, ServicePort, ServiceRow } from "../../model/tables.ts";

export interface Backend {
  readonly address: Address;
  readonly port: number;
  /** Not set: 1. */
  readonly weight?: number;
}

/** Where clients are. */
export interface Locality {
  readonly node: string;
  /** Label topology.kubernetes.io/zone of the node; null: it has none. */
  readonly zone: string | null;
  /** Nodes whose pods are not to be reached from here, as `unreachableKey` has them; sorted. Not set: none. */
  readonly unreachable?: readonly string[];
}

/** Each sorted, each once. */
export interface Chosen {
  readonly backends: readonly Backend[];
  /** Those that get nothing new, but serve on, as they end or are for other nodes: what was begun with them may come to its end. */
  readonly others: readonly Backend[];
  /** Of this node, whatever the policy; those of the node's own addresses are among them. */
  readonly local: readonly Backend[];
  /** Of the whole cluster, whatever policy and hints say: the same on every node. */
  readonly everywhere: readonly Backend[];
  /** Some of those that serve are known to be on a node. */
  readonly onNodes: boolean;
}

/** Local: of this node, and nobody where there is none. */
export type BackendsOf = (port: ServicePort, family: 4 | 6, policy: ServiceRow["internalTrafficPolicy"]) => Chosen;

/** One that could answer. */
export interface Endpoint extends Backend {
  readonly node: string | null;
  readonly state: "ready" | "ending" | "unusable";
  readonly hints: EndpointSliceRow["endpoints"][number]["hints"];
  /** It is "ending" for its weight is 0. Not set: no. */
  readonly drained?: boolean;
  /** It is "unusable" for its node is not to be reached from here. Not set: no. */
  readonly cutOff?: boolean;
}

export function sliceBackends(slices: readonly EndpointSliceRow[], here: Locality): BackendsOf {
  return (port, family, policy) => choose(sliceEndpoints(slices, port, family), here, policy);
}

/** @param pods those that the service selects */
export function podBackends(service: ServiceRow, pods: readonly PodRow[], here: Locality): BackendsOf {
  const usable = pods.filter((pod) => answers(pod, service.publishNotReady));
  return (port, family, policy) => choose(podEndpoints(service, usable, port, family), here, policy);
}

/** Whatever their state. */
export function sliceEndpoints(
  slices: readonly EndpointSliceRow[],
  port: ServicePort,
  family: 4 | 6,
): readonly Endpoint[] {
  const endpoints: Endpoint[] = [];
  for (const slice of slices) {
    if (slice.family !== family) continue;
    const { weight = 1 } = slice;
    const target = slice.ports.find(({ name, protocol }) => name === port.name && protocol === port.protocol);
    if (target === undefined) continue;
    for (const { addresses, ready, serving, terminating, node, hints } of slice.endpoints) {
      // Several addresses of one endpoint are the same pod: the first is to be used (discovery/v1, Endpoint.addresses).
      const address = addresses.find((one) => one.family === family);
      // Of no weight: it gets nothing new while others do, as one that ends.
      const drained = ready && weight === 0;
      const state = drained || (!ready && serving && terminating) ? "ending" : ready ? "ready" : "unusable";
      if (address === undefined) continue;
      const given = { ...(weight > 1 && { weight }), ...(drained && { drained }) };
      endpoints.push({ address, port: target.port, node, state, hints, ...given });
    }
  }
  return endpoints;
}

/** Whatever their state. */
export function podEndpoints(
  service: ServiceRow,
  pods: readonly PodRow[],
  port: ServicePort,
  family: 4 | 6,
): readonly Endpoint[] {
  const endpoints: Endpoint[] = [];
  for (const pod of pods) {
    const address = pod.addresses.find((one) => one.family === family);
    const number = targetPort(pod, port);
    if (address === undefined || number === null) continue;
    const state = answers(pod, service.publishNotReady) ? "ready" : "unusable";
    endpoints.push({ address, port: number, node: pod.node, state, hints: null });
  }
  return endpoints;
}

/** Pods of a node may be lost in one family alone. */
export function unreachableKey(node: string, family: 4 | 6): string {
  return `${node} ${family}`;
}

/**
 * Those on nodes that are not to be reached count as not ready, unless nobody else is: probes may be wrong, and a service with backends that perhaps
 * answer is better than one with none.
 */
export function withoutCutOff(all: readonly Endpoint[], { unreachable = [] }: Locality): readonly Endpoint[] {
  if (unreachable.length === 0) return all;
  const lost = new Set(unreachable);
  const isLost = ({ node, address }: Endpoint) => node !== null && lost.has(unreachableKey(node, address.family));
  const left = all.filter((endpoint) => endpoint.state === "ready" && !isLost(endpoint));
  if (left.length === 0) return all;
  return all.map((endpoint) => (isLost(endpoint) ? { ...endpoint, state: "unusable", cutOff: true } : endpoint));
}

function choose(every: readonly Endpoint[], here: Locality, policy: ServiceRow["internalTrafficPolicy"]): Chosen {
  const all = withoutCutOff(every, here);
  const near = all.filter(({ node }) => node === here.node);
  const allowed = policy === "Local" ? near : all;
  const ready = allowed.filter(({ state }) => state === "ready");
  const chosen = ready.length > 0 && policy === "Cluster" ? sortedOnce(nearest(ready, here)) : usable(allowed);
  const serving = sortedOnce(all.filter(({ state }) => state !== "unusable"));
  // Fewer than all that serve: the others are those that are not among them.
  const taken = chosen.length === serving.length ? null : new Set(chosen.map(keyOf));
  const others = taken === null ? [] : serving.filter((each) => !taken.has(keyOf(each)));
  const onNodes = all.some(({ node, state }) => node !== null && state !== "unusable");
  return { backends: chosen, others, local: usable(near), everywhere: usable(all), onNodes };
}

function keyOf({ address, port }: Backend): string {
  return `${address.text} ${port}`;
}

/** Those that are ready, else those that end and still serve. */
function usable(endpoints: readonly Endpoint[]): readonly Backend[] {
  const ready = endpoints.filter(({ state }) => state === "ready");
  return sortedOnce(ready.length > 0 ? ready : endpoints.filter(({ state }) => state === "ending"));
}

/**
 * Those that are meant for this node, else for its zone (KEP-2433, KEP-3015). Hints are followed only if all that are ready have one, and one of them
 * is for here: a controller that is behind must not leave a node without backends, nor all clients with a few.
 */
function nearest(ready: readonly Endpoint[], { node, zone }: Locality): readonly Endpoint[] {
  for (const [key, name] of [
    ["nodes", node],
    ["zones", zone],
  ] as const) {
    if (name === null || !ready.every(({ hints }) => (hints?.[key].length ?? 0) > 0)) continue;
    const near = ready.filter(({ hints }) => hints?.[key].includes(name) ?? false);
    if (near.length > 0) return near;
  }
  return ready;
}

/** The port of this pod that the service's port leads to; null: it has none of that name. */
export function targetPort(pod: PodRow, port: ServicePort): number | null {
  if (typeof port.targetPort === "number") return port.targetPort;
  return pod.ports.find(({ name, protocol }) => name === port.targetPort && protocol === port.protocol)?.port ?? null;
}

/** A pod that has ended answers no more, whatever the service publishes. */
function answers(pod: PodRow, publishNotReady: boolean): boolean {
  if (publishNotReady) return pod.phase !== "Succeeded" && pod.phase !== "Failed";
  return pod.phase === "Running" && pod.ready;
}

function sortedOnce(endpoints: readonly Endpoint[]): readonly Backend[] {
  const backends = endpoints.map(
    ({ address, port, weight }): Backend => ({ address, port, ...(weight !== undefined && { weight }) }),
  );
  if (backends.length < 2) return backends;
  const sorted = backends.sort((a, b) => compareAddresses(a.address, b.address) || a.port - b.port);
  return sorted.filter((one, i) => {
    const before = sorted[i - 1];
    return before === undefined || before.address.text !== one.address.text || before.port !== one.port;
  });
}
