/**
 * Who answers for a service's port. EndpointSlices decide where the service has any; else the pods that it selects. Those that are
 * ready answer; where none is, those that still serve while they end (KEP-1669), so that a rollout of the last pod loses nothing.
 */
import { type Address, compareAddresses } from "../../model/ip.ts";
import type { EndpointSliceRow, PodRow, ServicePort, ServiceRow } from "../../model/tables.ts";

export interface Backend {
  readonly address: Address;
  readonly port: number;
}

/** Sorted, each once. */
export type BackendsOf = (port: ServicePort, family: 4 | 6) => readonly Backend[];

export function sliceBackends(slices: readonly EndpointSliceRow[]): BackendsOf {
  return (port, family) => {
    const ready: Backend[] = [];
    const ending: Backend[] = [];
    for (const slice of slices) {
      if (slice.family !== family) continue;
      const target = slice.ports.find(({ name, protocol }) => name === port.name && protocol === port.protocol);
      if (target === undefined) continue;
      for (const endpoint of slice.endpoints) {
        const into = endpoint.ready ? ready : endpoint.serving && endpoint.terminating ? ending : null;
        // Several addresses of one endpoint are the same pod: the first is to be used (discovery/v1, Endpoint.addresses).
        const address = endpoint.addresses.find((one) => one.family === family);
        if (address !== undefined) into?.push({ address, port: target.port });
      }
    }
    return sortedOnce(ready.length > 0 ? ready : ending);
  };
}

/** @param pods those that the service selects */
export function podBackends(service: ServiceRow, pods: readonly PodRow[]): BackendsOf {
  const usable = pods.filter((pod) => answers(pod, service.publishNotReady));
  return (port, family) => {
    const backends: Backend[] = [];
    for (const pod of usable) {
      const address = pod.addresses.find((one) => one.family === family);
      const number = targetPort(pod, port);
      if (address !== undefined && number !== null) backends.push({ address, port: number });
    }
    return sortedOnce(backends);
  };
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

function sortedOnce(backends: readonly Backend[]): readonly Backend[] {
  if (backends.length < 2) return backends;
  const sorted = [...backends].sort((a, b) => compareAddresses(a.address, b.address) || a.port - b.port);
  return sorted.filter((one, i) => {
    const before = sorted[i - 1];
    return before === undefined || before.address.text !== one.address.text || before.port !== one.port;
  });
}
