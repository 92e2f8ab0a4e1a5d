/**
 * Where pods are known by their own addresses, so that what goes there keeps its source: prefixes with a route of BGP or on the link of
 * an uplink, pod CIDRs and addresses of nodes, and what the configuration lists. Everything else leaves in the node's name.
 *
 * The longest prefix decides, as it does for the route: another route inside of such a prefix makes an exception. What is said of the
 * cluster or by the configuration has none.
 */
import { comparePrefixes, makePrefix, type Prefix, prefixContainsPrefix } from "../model/ip.ts";
import { isBgp } from "../model/route-protocols.ts";
import type { TableSnapshot } from "../model/store.ts";
import type { RouteFactRow } from "../model/tables.ts";
import type { DesiredNativePrefix } from "./desired.ts";

export type NativeTables = Pick<TableSnapshot, "nodes" | "routes" | "uplinks" | "nonMasquerade">;

export interface NativeOptions {
  /** Families whose packets are masqueraded; the others need no entries. */
  readonly families: ReadonlySet<4 | 6>;
}

/** said: whatever routes there are; routed, elsewhere: by the route. Of one prefix the first of these counts. */
type Kind = "said" | "routed" | "elsewhere";

interface Claim {
  readonly prefix: Prefix;
  readonly kind: Kind;
}

const order: Readonly<Record<Kind, number>> = { said: 0, routed: 1, elsewhere: 2 };

export class NativePrefixes {
  readonly #options: NativeOptions;
  #tables: NativeTables | null = null;
  #prefixes: ReadonlyMap<string, DesiredNativePrefix> = new Map();

  constructor(options: NativeOptions) {
    this.#options = options;
  }

  /** @returns by the prefix's text; entries that did not change are the same objects, and all are if nothing did */
  update({ nodes, routes, uplinks, nonMasquerade }: NativeTables): ReadonlyMap<string, DesiredNativePrefix> {
    const { families } = this.#options;
    if (families.size === 0) return this.#prefixes;
    const before = this.#tables;
    const isSame =
      before !== null &&
      before.nodes === nodes &&
      before.routes === routes &&
      before.uplinks === uplinks &&
      before.nonMasquerade === nonMasquerade;
    if (isSame) return this.#prefixes;
    this.#tables = { nodes, routes, uplinks, nonMasquerade };
    const claims = claimsOf(this.#tables).filter(({ prefix }) => families.has(prefix.family));
    this.#prefixes = this.#keepSame(effective(claims));
    return this.#prefixes;
  }

  #keepSame(entries: readonly DesiredNativePrefix[]): ReadonlyMap<string, DesiredNativePrefix> {
    const before = this.#prefixes;
    let differs = entries.length !== before.size;
    const after = new Map(
      entries.map((entry) => {
        const known = before.get(entry.prefix.text);
        const same = known !== undefined && known.keep === entry.keep;
        differs ||= !same;
        return [entry.prefix.text, same ? known : entry] as const;
      }),
    );
    return differs ? after : before;
  }
}

function claimsOf({ nodes, routes, uplinks, nonMasquerade }: NativeTables): readonly Claim[] {
  const devices = new Set([...uplinks.values()].map(({ ifindex }) => ifindex));
  const claims: Claim[] = [];
  const say = (prefix: Prefix) => claims.push({ prefix, kind: "said" });
  for (const { addresses, podCidrs } of nodes.values()) {
    podCidrs.forEach(say);
    for (const address of addresses) say(makePrefix(address, address.bytes.length * 8));
  }
  for (const { prefix } of nonMasquerade.values()) say(prefix);
  for (const route of routes.values()) {
    const kind = kindOf(route, devices);
    if (kind !== null) claims.push({ prefix: route.destination, kind });
  }
  return claims;
}

/** A default route leads to whoever is not known. One that leads nowhere lets nothing out. */
function kindOf({ destination, protocol, nextHops }: RouteFactRow, uplinks: ReadonlySet<number>): Kind | null {
  if (destination.length === 0 || nextHops.length === 0) return null;
  if (isBgp(protocol)) return "routed";
  const isOnLink = nextHops.every(({ gateway, ifindex }) => gateway === null && uplinks.has(ifindex));
  return isOnLink ? "routed" : "elsewhere";
}

/** Each prefix once, without exceptions from nothing. */
function effective(claims: readonly Claim[]): readonly DesiredNativePrefix[] {
  const sorted = [...claims].sort((a, b) => comparePrefixes(a.prefix, b.prefix) || order[a.kind] - order[b.kind]);
  const entries: DesiredNativePrefix[] = [];
  const around: Claim[] = [];
  for (const claim of sorted) {
    const { prefix, kind } = claim;
    while (around.length > 0 && !prefixContainsPrefix((around.at(-1) ?? claim).prefix, prefix)) around.pop();
    if (around.at(-1)?.prefix.text === prefix.text) continue;
    if (kind === "elsewhere" && (around.length === 0 || around.some((outer) => outer.kind === "said"))) continue;
    around.push(claim);
    entries.push({ prefix, keep: kind !== "elsewhere" });
  }
  return entries;
}
