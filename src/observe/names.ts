/** Who is behind an address: a pod, a node or a service. Built from the tables when they changed and somebody asks. */
import type { Address } from "../model/ip.ts";
import type { LocalAddressRow, NodeRow, PodRow, ServiceRow } from "../model/tables.ts";

export interface NamedTables {
  readonly pods: ReadonlyMap<string, PodRow>;
  readonly nodes: ReadonlyMap<string, NodeRow>;
  readonly services: ReadonlyMap<string, ServiceRow>;
  readonly localAddresses: ReadonlyMap<string, LocalAddressRow>;
  /** Whose they are. */
  readonly nodeName: string;
}

/** "shop/web-0", "node/node-1", "service shop/api", "" for an address that nobody in the cluster has. */
export type NameOf = (address: Address) => string;

export function namesOf({ pods, nodes, services, localAddresses, nodeName }: NamedTables): NameOf {
  const names = new Map<string, string>();
  for (const text of localAddresses.keys()) names.set(text, `node/${nodeName}`);
  for (const row of services.values()) {
    for (const { text } of [...row.clusterIps, ...row.externalIps, ...row.loadBalancerIps]) {
      names.set(text, `service ${row.namespace}/${row.name}`);
    }
  }
  for (const row of pods.values()) {
    if (row.hostNetwork || row.phase === "Succeeded" || row.phase === "Failed") continue;
    for (const { text } of row.addresses) names.set(text, `${row.namespace}/${row.name}`);
  }
  for (const row of nodes.values()) for (const { text } of row.addresses) names.set(text, `node/${row.name}`);
  return ({ text }) => names.get(text) ?? "";
}
