/**
 * Whose address is it? Whoever may write a Service could otherwise take the traffic of others by naming their address as an external one
 * (CVE-2020-8554). Addresses of nodes, of pods and of the cluster's services are nobody else's; of the rest a setting says which may be used.
 */
import { type Address, makePrefix, parsePrefix, type Prefix, prefixContains } from "../../model/ip.ts";
import { compareText } from "../../model/labels.ts";
import type { NodeRow, ServiceRow } from "../../model/tables.ts";

/** Which prefix of many an address is in, at the cost of their different lengths and not of their number. */
export class PodCidrs {
  /** Prefix text -> name of the node. */
  readonly #nodes = new Map<string, string>();
  readonly #lengths = { 4: new Set<number>(), 6: new Set<number>() };

  /** @param nodes sorted: of several that claim one prefix the last one is told */
  constructor(nodes: readonly NodeRow[] = []) {
    for (const { name, podCidrs } of nodes) {
      for (const { text, family, length } of podCidrs) {
        this.#nodes.set(text, name);
        this.#lengths[family].add(length);
      }
    }
  }

  /** Name of the node whose pods have it; null: nobody's. */
  nodeOf(address: Address): string | null {
    for (const length of this.#lengths[address.family]) {
      const node = this.#nodes.get(makePrefix(address, length).text);
      if (node !== undefined) return node;
    }
    return null;
  }

  equals(other: PodCidrs): boolean {
    return (
      this.#nodes.size === other.#nodes.size &&
      [...this.#nodes].every(([text, node]) => other.#nodes.get(text) === node)
    );
  }
}

/** Cluster addresses with their services, and who names which address as one from outside. */
export class ClusterAddresses {
  readonly #owners = new Map<string, Set<string>>();
  readonly #claims = new Map<string, Set<string>>();

  /** @param dirty gets those that name an address whose owner has changed */
  change(key: string, before: ServiceRow | undefined, after: ServiceRow | undefined, dirty: Set<string>): void {
    for (const { text } of before?.clusterIps ?? []) remove(this.#owners, text, key);
    for (const { text } of after?.clusterIps ?? []) add(this.#owners, text, key);
    for (const text of claimsOf(before)) remove(this.#claims, text, key);
    for (const text of claimsOf(after)) add(this.#claims, text, key);
    for (const { text } of [...(before?.clusterIps ?? []), ...(after?.clusterIps ?? [])]) {
      for (const claimant of this.#claims.get(text) ?? []) dirty.add(claimant);
    }
  }

  /** "namespace/name" of the service that has it as a cluster address, the first by name; null: none. */
  ownerOf({ text }: Address): string | null {
    const owners = this.#owners.get(text);
    return owners === undefined ? null : ([...owners].sort(compareText)[0] ?? null);
  }
}

export interface AddressGuard {
  /** Address text -> name of the node that has it. */
  readonly nodeOf: ReadonlyMap<string, string>;
  readonly podCidrs: PodCidrs;
  readonly cluster: Pick<ClusterAddresses, "ownerOf">;
  /** Of these `externalIPs` may be; null: of all. */
  readonly externalIps: readonly Prefix[] | null;
}

export interface Refusal {
  /** Follows the address: "is an address of Node a". */
  readonly why: string;
  readonly remedy: string;
}

/** What no host has as its own among others (RFC 6890, RFC 4291); Kubernetes refuses these too. */
const special = [
  ["0.0.0.0/8", "no host's"],
  ["127.0.0.0/8", "each host's own"],
  ["169.254.0.0/16", "of one link alone"],
  ["224.0.0.0/3", "no single host's"],
  ["::/128", "no host's"],
  ["::1/128", "each host's own"],
  ["fe80::/10", "of one link alone"],
  ["ff00::/8", "no single host's"],
].flatMap(([text = "", what = ""]) => {
  const prefix = parsePrefix(text);
  return prefix === null ? [] : [{ prefix, what }];
});

/**
 * Why a service is not served at an address from outside that it names; null: it is.
 * @param kind who names it: externalIPs: whoever may write the service; loadBalancer: a controller, which may choose nodes' addresses
 */
export function refusalOf(address: Address, kind: "externalIPs" | "loadBalancer", guard: AddressGuard): Refusal | null {
  const remedy = "use an address that nobody has";
  const named = special.find(({ prefix }) => prefixContains(prefix, address));
  if (named !== undefined) return { why: `is ${named.what}`, remedy };
  const pods = guard.podCidrs.nodeOf(address);
  if (pods !== null) return { why: `is of the pods of Node ${pods}`, remedy };
  const owner = guard.cluster.ownerOf(address);
  if (owner !== null) return { why: `is the cluster address of Service ${owner}`, remedy };
  if (kind === "loadBalancer") return null;
  const node = guard.nodeOf.get(address.text);
  if (node !== undefined) return { why: `is an address of Node ${node}`, remedy: `${remedy}, or a node port` };
  if (guard.externalIps === null || guard.externalIps.some((prefix) => prefixContains(prefix, address))) return null;
  const allowed = guard.externalIps.map(({ text }) => text).join(", ") || "none";
  return {
    why: "is not among the addresses that services may name",
    remedy: `the agent's setting externalIps allows ${allowed}`,
  };
}

function claimsOf(service: ServiceRow | undefined): readonly string[] {
  return service === undefined ? [] : [...service.externalIps, ...service.loadBalancerIps].map(({ text }) => text);
}

function add(index: Map<string, Set<string>>, text: string, key: string): void {
  const keys = index.get(text);
  if (keys === undefined) index.set(text, new Set([key]));
  else keys.add(key);
}

function remove(index: Map<string, Set<string>>, text: string, key: string): void {
  const keys = index.get(text);
  keys?.delete(key);
  if (keys?.size === 0) index.delete(text);
}
