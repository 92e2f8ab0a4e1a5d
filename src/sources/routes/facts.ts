/** From rows of rtnetlink to facts: which routes matter, which of several to one prefix holds, and what it says. */
import { addressFromBytes, makePrefix } from "../../model/ip.ts";
import type { RouteFactRow } from "../../model/tables.ts";
import type { RouteRow } from "../../native/contract.ts";

const mainTable = 254;
/** kube-router's own: how to reach the addresses of nodes behind its tunnels. */
const kubeRouterTable = 77;
/** RTPROT of Tandem's own routes to pods: no news to us, and one per pod. */
const ownProtocol = 158;
/** RTN_UNICAST, BLACKHOLE, UNREACHABLE, PROHIBIT. The latter three lead nowhere, which is worth knowing. */
const types: ReadonlySet<number> = new Set([1, 6, 7, 8]);

/** Neither link-local nor our own, in a table that decides on traffic between nodes. */
export function matters(route: RouteRow): boolean {
  if (route.table !== mainTable && route.table !== kubeRouterTable) return false;
  if (route.protocol === ownProtocol || !types.has(route.type)) return false;
  return !(route.family === 6 && route.destination[0] === 0xfe && ((route.destination[1] ?? 0) & 0xc0) === 0x80);
}

/** One text per prefix; cheaper than its readable form. */
export function prefixKey({ destination, prefixLength }: Pick<RouteRow, "destination" | "prefixLength">): string {
  return destination.toString("latin1") + String.fromCharCode(prefixLength);
}

/** The readable form of a key, as the key of the table `routes`. */
export function prefixText(key: string): string {
  const bytes = Buffer.from(key, "latin1");
  return makePrefix(addressFromBytes(bytes.subarray(0, -1)), bytes.at(-1) ?? 0).text;
}

/** The kernel holds one route per table and metric to a prefix. */
export function isSameSlot(a: RouteRow, b: RouteRow): boolean {
  return a.table === b.table && a.metric === b.metric;
}

/** Equal in all that a fact tells. */
export function isSameRoute(a: RouteRow, b: RouteRow): boolean {
  return (
    a.protocol === b.protocol &&
    a.type === b.type &&
    a.mtu === b.mtu &&
    a.nextHops.length === b.nextHops.length &&
    a.nextHops.every((hop, at) => {
      const other = b.nextHops[at];
      return other !== undefined && hop.index === other.index && sameBytes(hop.gateway, other.gateway);
    })
  );
}

function sameBytes(a: Buffer | null, b: Buffer | null): boolean {
  return a === null || b === null ? a === b : a.equals(b);
}

/** Of all routes to one prefix the one that holds: of the main table, the lowest metric. */
export function bestOf(routes: readonly RouteRow[]): RouteRow | undefined {
  return routes.reduce<RouteRow | undefined>(
    (best, route) => (best === undefined || isBetter(route, best) ? route : best),
    undefined,
  );
}

function isBetter(route: RouteRow, best: RouteRow): boolean {
  return route.table === best.table ? route.metric < best.metric : route.table > best.table;
}

/**
 * @param nameOf name of a device by its index
 * @param since ms since the epoch
 */
export function routeFact(route: RouteRow, nameOf: (ifindex: number) => string, since: number): RouteFactRow {
  return {
    destination: makePrefix(addressFromBytes(route.destination), route.prefixLength),
    protocol: route.protocol,
    nextHops: route.nextHops.map(({ gateway, index }) => ({
      gateway: gateway === null ? null : addressFromBytes(gateway),
      ifindex: index,
      device: nameOf(index),
    })),
    metric: route.metric,
    mtu: route.mtu,
    since,
  };
}
