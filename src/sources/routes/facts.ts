/** From rows of rtnetlink to facts: which routes matter, which of several to one prefix holds, and what it says. */
import { addressFromBytes, makePrefix, type Prefix } from "../../model/ip.ts";
import type { RouteFactRow } from "../../model/tables.ts";
import type { RouteRow } from "../../native/netlink-contract.ts";

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
  return prefixOf({ destination: bytes.subarray(0, -1), prefixLength: bytes.at(-1) ?? 0 }).text;
}

/** The kernel holds one route per table and metric to a prefix. */
export function isSameSlot(a: RouteRow, b: RouteRow): boolean {
  return a.table === b.table && a.metric === b.metric;
}

/** Equal in all that a fact tells. */
export function isSameRoute(a: RouteRow, b: RouteRow): boolean {
  return a.protocol === b.protocol && a.type === b.type && a.mtu === b.mtu && isSameWay(a.nextHops, b.nextHops);
}

function isSameWay(a: RouteRow["nextHops"], b: RouteRow["nextHops"]): boolean {
  if (a === b) return true;
  return (
    a.length === b.length &&
    a.every((hop, at) => {
      const other = b[at];
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

/** The prefix of a row, as facts have it. */
export function prefixOf({ destination, prefixLength }: Pick<RouteRow, "destination" | "prefixLength">): Prefix {
  return makePrefix(addressFromBytes(destination), prefixLength);
}

/** Makes facts of rows. Thousands of routes leave by a few next hops: those that rows share, facts share as well. */
export class FactMaker {
  readonly #nameOf: (ifindex: number) => string;
  #last: { readonly rows: RouteRow["nextHops"]; readonly nextHops: RouteFactRow["nextHops"] } | null = null;

  /** @param nameOf name of a device by its index, as it is now */
  constructor(nameOf: (ifindex: number) => string) {
    this.#nameOf = nameOf;
  }

  /**
   * @param destination of the row
   * @param since ms since the epoch
   */
  fact({ protocol, nextHops, metric, mtu }: RouteRow, destination: Prefix, since: number): RouteFactRow {
    return { destination, protocol, nextHops: this.#nextHops(nextHops), metric, mtu, since };
  }

  #nextHops(rows: RouteRow["nextHops"]): RouteFactRow["nextHops"] {
    const last = this.#last;
    if (last?.rows === rows && last.nextHops.every(({ ifindex, device }) => this.#nameOf(ifindex) === device))
      return last.nextHops;
    const nextHops = rows.map(({ gateway, index }) => ({
      gateway: gateway === null ? null : addressFromBytes(gateway),
      ifindex: index,
      device: this.#nameOf(index),
    }));
    this.#last = { rows, nextHops };
    return nextHops;
  }
}
