/**
 * The node's links, addresses and routes as netlink tells them, and what changed since somebody asked. Pure: rows and events
 * in, questions out. A change costs what it touches, however many routes there are.
 *
 * Not everything is told. Routes of IPv4 go silently with their device or source address, and one next hop of several may go
 * alone: such events ask for a new list instead of a guess.
 */
import { isBgp } from "../../model/route-protocols.ts";
import type { AddressRow, LinkRow, NetlinkEvent, RouteRow } from "../../native/netlink-contract.ts";
import { isSameRoute, isSameSlot, matters, prefixKey } from "./facts.ts";
import { isPodDevice } from "./uplinks.ts";

const up = 1;
const globalScope = 0;

export interface NetworkLists {
  readonly links: readonly LinkRow[];
  readonly addresses: readonly AddressRow[];
  readonly routes: readonly RouteRow[];
}

/** Keys of prefixes whose routes changed. */
export interface DirtyPrefixes {
  readonly settled: readonly string[];
  /** Their last event, a short while ago, was that a route went: it may be announced again. */
  readonly leaving: readonly string[];
}

export class NetworkView {
  readonly #links = new Map<number, LinkRow>();
  readonly #addresses = new Map<string, AddressRow>();
  /** By prefix; more than one only with several metrics or tables. */
  readonly #routes = new Map<string, readonly RouteRow[]>();
  /** Routes that leave through a device: all, and those of BGP. */
  readonly #uses = new Map<number, { all: number; bgp: number }>();
  /** Prefixes that changed: ms when their last event was that a route went; null: their last event was that one came. */
  readonly #dirty = new Map<string, number | null>();
  #devicesChanged = false;
  #listWanted = false;
  #routeCount = 0;
  #bgpCount = 0;

  get links(): ReadonlyMap<number, LinkRow> {
    return this.#links;
  }

  get addresses(): Iterable<AddressRow> {
    return this.#addresses.values();
  }

  get counts(): { readonly routes: number; readonly bgp: number } {
    return { routes: this.#routeCount, bgp: this.#bgpCount };
  }

  routesTo(key: string): readonly RouteRow[] {
    return this.#routes.get(key) ?? [];
  }

  /** Devices that a route of BGP leaves through. */
  bgpDevices(): ReadonlySet<number> {
    return new Set([...this.#uses].filter(([, { bgp }]) => bgp > 0).map(([index]) => index));
  }

  /** True once after something changed that the choice of uplinks depends on. */
  takeDevicesChanged(): boolean {
    const changed = this.#devicesChanged;
    this.#devicesChanged = false;
    return changed;
  }

  /** True once after an event that cannot be followed without a new list. */
  takeListWanted(): boolean {
    const wanted = this.#listWanted;
    this.#listWanted = false;
    return wanted;
  }

  /** Prefixes that changed since the last call. What is leaving is told again by the next. @param goneBy ms: what went later may come back */
  takeDirty(goneBy: number): DirtyPrefixes {
    const settled: string[] = [];
    const leaving: string[] = [];
    for (const [key, goneAt] of this.#dirty) {
      if (goneAt !== null && goneAt > goneBy) {
        leaving.push(key);
      } else {
        settled.push(key);
        this.#dirty.delete(key);
      }
    }
    return { settled, leaving };
  }

  isDirty(key: string): boolean {
    return this.#dirty.has(key);
  }

  /** Everything as it was listed; what is not in it is gone. @param now ms */
  replace(lists: NetworkLists, now: number): void {
    const links = new Map(lists.links.map((link) => [link.index, link]));
    for (const [index, link] of this.#links) if (!links.has(index)) this.#linkGone(link);
    for (const link of lists.links) this.#linkSeen(link);

    const addresses = new Map(lists.addresses.map((row) => [addressKey(row), row]));
    if (addresses.size !== this.#addresses.size) this.#devicesChanged = true;
    for (const key of this.#addresses.keys()) if (!addresses.has(key)) this.#devicesChanged = true;
    this.#addresses.clear();
    for (const [key, row] of addresses) this.#addresses.set(key, row);

    this.#replaceRoutes(lists.routes, now);
    // The list was the answer to what these changes asked for.
    this.#listWanted = false;
  }

  /** @param now ms */
  apply(event: NetlinkEvent, now: number): void {
    switch (event.kind) {
      case "link":
        if (event.gone) this.#linkGone(event.row);
        else this.#linkSeen(event.row);
        break;
      case "address":
        this.#address(event.gone, event.row);
        break;
      case "route":
        if (!matters(event.row)) break;
        if (event.gone) this.#routeGone(event.row, now);
        else this.#routeSeen(event.row);
        break;
      case "resync":
        this.#listWanted = true;
        break;
      case "rule":
      case "neighbour":
        break;
    }
  }

  #linkSeen(link: LinkRow): void {
    const before = this.#links.get(link.index);
    this.#links.set(link.index, link);
    if (before !== undefined && isSameLink(before, link)) return;
    this.#devicesChanged = true;
    if (before === undefined) return;
    if ((before.flags & up) !== 0 && (link.flags & up) === 0) this.#routesMayBeGone(link.index);
    if (before.name !== link.name) this.#renamed(link.index);
  }

  #linkGone(link: LinkRow): void {
    if (!this.#links.delete(link.index)) return;
    this.#devicesChanged = true;
    for (const [key, row] of this.#addresses) if (row.index === link.index) this.#addresses.delete(key);
    this.#routesMayBeGone(link.index);
    if (this.#uses.has(link.index)) this.#renamed(link.index);
  }

  #address(gone: boolean, row: AddressRow): void {
    const key = addressKey(row);
    if (gone) this.#addresses.delete(key);
    else this.#addresses.set(key, row);
    if (row.scope !== globalScope) return;
    this.#devicesChanged = true;
    const link = this.#links.get(row.index);
    // A route may name the address as its source on any device.
    if (gone && !(link !== undefined && isPodDevice(link))) this.#listWanted = true;
  }

  #routesMayBeGone(ifindex: number): void {
    if (this.#uses.has(ifindex)) this.#listWanted = true;
  }

  /** The facts of its routes hold the old name. */
  #renamed(ifindex: number): void {
    for (const [key, routes] of this.#routes) {
      if (routes.some(({ nextHops }) => nextHops.some(({ index }) => index === ifindex))) this.#touch(key, null);
    }
  }

  #routeSeen(route: RouteRow): void {
    const key = prefixKey(route);
    const routes = this.routesTo(key);
    const known = routes.find((other) => isSameSlot(other, route));
    this.#put(key, [...routes.filter((other) => other !== known), route], known === undefined ? [] : [known], [route]);
    this.#touch(key, null);
  }

  #routeGone(route: RouteRow, now: number): void {
    const key = prefixKey(route);
    const routes = this.routesTo(key);
    const known = routes.find((other) => isSameSlot(other, route));
    if (known === undefined) return;
    // Another route to the same prefix, or one next hop of several: what is left is not known.
    if (!isSameRoute(known, route)) {
      this.#listWanted = true;
      return;
    }
    this.#put(
      key,
      routes.filter((other) => other !== known),
      [known],
      [],
    );
    this.#touch(key, now);
  }

  #replaceRoutes(rows: readonly RouteRow[], now: number): void {
    const listed = new Map<string, RouteRow[]>();
    for (const row of rows) {
      if (!matters(row)) continue;
      const key = prefixKey(row);
      const routes = listed.get(key);
      if (routes === undefined) listed.set(key, [row]);
      // Of several in one slot the kernel uses the first.
      else if (!routes.some((other) => isSameSlot(other, row))) routes.push(row);
    }
    for (const [key, routes] of this.#routes) {
      if (listed.has(key)) continue;
      this.#put(key, [], routes, []);
      this.#touch(key, now);
    }
    for (const [key, routes] of listed) {
      const before = this.routesTo(key);
      if (before.length === routes.length && routes.every((route) => isKnown(before, route))) continue;
      this.#put(key, routes, before, routes);
      this.#touch(key, null);
    }
  }

  #put(key: string, routes: readonly RouteRow[], removed: readonly RouteRow[], added: readonly RouteRow[]): void {
    if (routes.length === 0) this.#routes.delete(key);
    else this.#routes.set(key, routes);
    for (const route of removed) this.#count(route, -1);
    for (const route of added) this.#count(route, 1);
  }

  #count(route: RouteRow, by: 1 | -1): void {
    const bgp = isBgp(route.protocol) ? by : 0;
    this.#routeCount += by;
    this.#bgpCount += bgp;
    for (const [at, { index }] of route.nextHops.entries()) {
      // Two next hops may be on one device.
      if (at > 0 && route.nextHops.findIndex((hop) => hop.index === index) < at) continue;
      const uses = this.#uses.get(index) ?? { all: 0, bgp: 0 };
      const hadBgp = uses.bgp > 0;
      uses.all += by;
      uses.bgp += bgp;
      if (uses.all === 0) this.#uses.delete(index);
      else this.#uses.set(index, uses);
      if (hadBgp !== uses.bgp > 0) this.#devicesChanged = true;
    }
  }

  /** @param goneAt null: a route came, or is told differently */
  #touch(key: string, goneAt: number | null): void {
    this.#dirty.set(key, goneAt);
  }
}

function addressKey({ index, address, prefixLength }: AddressRow): string {
  return `${index} ${address.toString("latin1")} ${prefixLength}`;
}

function isKnown(routes: readonly RouteRow[], route: RouteRow): boolean {
  return routes.some((other) => isSameSlot(other, route) && isSameRoute(other, route));
}

function isSameLink(a: LinkRow, b: LinkRow): boolean {
  return (
    a.name === b.name &&
    a.alias === b.alias &&
    a.flags === b.flags &&
    a.mtu === b.mtu &&
    a.kind === b.kind &&
    a.type === b.type
  );
}
