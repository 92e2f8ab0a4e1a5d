/** What this node's BGP speaker knows, in the words of the cluster: which node a peer is, whose prefix a path leads to. */
import type { BgpPathDto, BgpPeerDto } from "../api/dto.ts";
import { compareAddresses, comparePrefixes, makePrefix, type Prefix, prefixContainsPrefix } from "../model/ip.ts";
import type { BgpPathRow, BgpPeerRow, NodeRow, ServiceRow } from "../model/tables.ts";
import { isKept } from "./kept-paths.ts";

export function peerReport(
  peers: ReadonlyMap<string, BgpPeerRow>,
  nodes: ReadonlyMap<string, NodeRow>,
): readonly BgpPeerDto[] {
  const nodeOf = nodesByAddress(nodes);
  return [...peers.values()]
    .sort((a, b) => compareAddresses(a.address, b.address))
    .map(({ address, since, ...row }) => ({
      ...row,
      address: address.text,
      node: nodeOf.get(address.text) ?? null,
      since: since === null ? null : new Date(since).toISOString(),
    }));
}

export interface PathTables {
  readonly bgpPeers: ReadonlyMap<string, BgpPeerRow>;
  readonly bgpPaths: ReadonlyMap<string, BgpPathRow>;
  readonly nodes: ReadonlyMap<string, NodeRow>;
  readonly services: ReadonlyMap<string, ServiceRow>;
}

/** @param of name of a node, "all", or "" for all that belongs to the cluster. Sorted by prefix. */
export function pathReport(tables: PathTables, of: string): readonly BgpPathDto[] {
  const { bgpPaths, bgpPeers, nodes, services } = tables;
  const nodeOfPrefix = podCidrFinder(nodes);
  const nodeOfAddress = nodesByAddress(nodes);
  const servicesOf = servicesByAddress(services);
  const found: (readonly [Prefix, BgpPathDto])[] = [];
  for (const row of bgpPaths.values()) {
    const { prefix } = row;
    const isAddress = prefix.length === prefix.address.bytes.length * 8;
    const own = isAddress ? (servicesOf.get(prefix.address.text) ?? []) : [];
    const ofPods = own.length > 0 ? null : nodeOfPrefix(prefix);
    const kind = own.length > 0 ? "service" : ofPods === null ? "other" : "pod-cidr";
    const node = ofPods ?? (own.length > 0 ? (nodeOfAddress.get(row.nextHop?.text ?? "") ?? null) : null);
    if (of === "" ? kind === "other" : of !== "all" && node !== of) continue;
    found.push([prefix, { ...pathDto(row, { node, kind, services: own }), stale: isKept(row, bgpPeers) }]);
  }
  return found.sort(([a], [b]) => comparePrefixes(a, b)).map(([, dto]) => dto);
}

function pathDto(row: BgpPathRow, about: Pick<BgpPathDto, "node" | "kind" | "services">): BgpPathDto {
  const { prefix, nextHop, peer, ...rest } = row;
  return { ...about, ...rest, prefix: prefix.text, nextHop: nextHop?.text ?? null, peer: peer?.text ?? null };
}

function nodesByAddress(nodes: ReadonlyMap<string, NodeRow>): ReadonlyMap<string, string> {
  return new Map(
    [...nodes.values()].flatMap(({ name, addresses }) => addresses.map(({ text }) => [text, name] as const)),
  );
}

function servicesByAddress(services: ReadonlyMap<string, ServiceRow>): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>();
  for (const [key, { clusterIps, externalIps, loadBalancerIps }] of services) {
    for (const text of new Set([...clusterIps, ...externalIps, ...loadBalancerIps].map((address) => address.text))) {
      const known = found.get(text);
      if (known === undefined) found.set(text, [key]);
      else known.push(key);
    }
  }
  return found;
}

/** The node whose pod CIDR holds a prefix, or is held by it: by looking for each length that pod CIDRs have. */
function podCidrFinder(nodes: ReadonlyMap<string, NodeRow>): (prefix: Prefix) => string | null {
  const byCidr = new Map<string, string>();
  const lengths = { 4: new Set<number>(), 6: new Set<number>() };
  const cidrs: { readonly cidr: Prefix; readonly name: string }[] = [];
  for (const { name, podCidrs } of nodes.values()) {
    for (const cidr of podCidrs) {
      byCidr.set(cidr.text, name);
      lengths[cidr.family].add(cidr.length);
      cidrs.push({ cidr, name });
    }
  }
  return (prefix) => {
    for (const length of lengths[prefix.family]) {
      if (length > prefix.length) continue;
      const name = byCidr.get(makePrefix(prefix.address, length).text);
      if (name !== undefined) return name;
    }
    // An aggregate of several nodes is nobody's; a wide prefix is seldom, and a default route is no path to pods.
    if (prefix.length === 0 || Math.min(...lengths[prefix.family]) <= prefix.length) return null;
    const inside = cidrs.filter(({ cidr }) => prefixContainsPrefix(prefix, cidr));
    return inside.length === 1 ? (inside[0]?.name ?? null) : null;
  };
}
