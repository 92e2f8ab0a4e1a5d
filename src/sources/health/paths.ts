/**
 * Which ways to another node are tried: its address by ICMP and TCP, and the first address of each of its pod CIDRs, which is no pod's and for which the
 * node answers that nobody is there. Where a route leads through several devices, each is tried. Pure.
 */
import type { NodePath } from "../../model/node-health.ts";
import { routeMtu } from "../../model/route-lookup.ts";
import type { Prefix } from "../../model/ip.ts";
import type { NodeRow, RouteFactRow, UplinkRow } from "../../model/tables.ts";

/** What claims how large packets may be on the way to a node's pods. */
export interface MtuClaim {
  readonly family: 4 | 6;
  readonly bytes: number;
  /** The node itself is the next hop: what passes to its address passes to its pods. */
  readonly direct: boolean;
}

export interface Paths {
  readonly paths: readonly NodePath[];
  readonly mtus: readonly MtuClaim[];
}

export interface PathFacts {
  readonly routeTo: (to: Prefix) => RouteFactRow | undefined;
  /** By ifindex. */
  readonly uplinks: ReadonlyMap<string, UplinkRow>;
  readonly families: ReadonlySet<4 | 6>;
  /** TCP is tried, too. */
  readonly tcp: boolean;
}

export function pathsTo(node: NodeRow, { routeTo, uplinks, families, tcp }: PathFacts): Paths {
  const paths: NodePath[] = [];
  const mtus = new Map<4 | 6, MtuClaim>();
  for (const family of families) {
    const address = node.addresses.find((each) => each.family === family);
    if (address === undefined) continue;
    paths.push({ kind: "icmp", address, device: null });
    if (tcp) paths.push({ kind: "tcp", address, device: null });
  }
  for (const cidr of node.podCidrs) {
    const route = families.has(cidr.family) ? routeTo(cidr) : undefined;
    if (route === undefined) continue;
    const devices = new Map(route.nextHops.map(({ ifindex, device }) => [ifindex, { ifindex, name: device }]));
    // A route that leads nowhere has no device: that is told of the route.
    if (devices.size === 0) continue;
    if (devices.size === 1) paths.push({ kind: "pods", address: cidr.address, device: null });
    else for (const device of devices.values()) paths.push({ kind: "pods", address: cidr.address, device });
    const bytes = routeMtu(route, (ifindex) => uplinks.get(String(ifindex))?.mtu);
    if (bytes === null || mtus.has(cidr.family)) continue;
    const own = new Set(node.addresses.map(({ text }) => text));
    const direct = route.nextHops.every(({ gateway }) => gateway !== null && own.has(gateway.text));
    mtus.set(cidr.family, { family: cidr.family, bytes, direct: direct && devices.size === 1 });
  }
  return { paths, mtus: [...mtus.values()] };
}

/** The same for the same path, as long as it is one. */
export function pathKey({ kind, address, device }: NodePath): string {
  return `${kind} ${address.text} ${device?.ifindex ?? 0}`;
}
