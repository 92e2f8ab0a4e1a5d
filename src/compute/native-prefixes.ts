/**
 * Where pods are known by their own addresses, so that what goes there keeps its source: prefixes with a route of BGP or on the link of
 * an uplink, pod CIDRs and addresses of nodes, and what the configuration lists. Everything else leaves in the node's name.
 *
 * The longest prefix decides, as it does for the route: another route inside of such a prefix makes an exception. What is said of the
 * cluster or by the configuration has none.
 *
 * A change of routes costs what changed: a fabric may have ten thousand of them, and they may flap.
 */
import { mapChanges } from "../lib/map-diff.ts";
import { VersionedMap } from "../lib/versioned-map.ts";
import { makePrefix, type Prefix } from "../model/ip.ts";
import { isBgp } from "../model/route-protocols.ts";
import type { TableSnapshot } from "../model/store.ts";
import type { RouteFactRow } from "../model/tables.ts";
import type { DesiredNativePrefix } from "./desired.ts";

export type NativeTables = Pick<TableSnapshot, "nodes" | "routes" | "uplinks" | "nonMasquerade">;

export interface NativeOptions {
  /** Families whose packets are masqueraded; the others need no entries. */
  readonly families: ReadonlySet<4 | 6>;
}

/** said: whatever routes there are; routed, elsewhere: by the route. */
type Kind = "said" | "routed" | "elsewhere";

interface Claim {
  readonly prefix: Prefix;
  readonly kind: Kind;
}

export class NativePrefixes {
  readonly #options: NativeOptions;
  #tables: NativeTables | null = null;
  /** Of the cluster and the configuration: routes to the same prefixes say nothing. */
  #said: ReadonlyMap<string, Prefix> = new Map();
  #uplinks: ReadonlySet<number> = new Set();
  /** One for each prefix, by its text. */
  readonly #claims = new Map<string, Claim>();
  readonly #elsewhere = new Map<string, Claim>();
  /** Lengths that said and routed prefixes have: no other ones can be around an exception. */
  readonly #lengths = { 4: new Map<number, number>(), 6: new Map<number, number>() } as const;
  #prefixes = VersionedMap.from<string, DesiredNativePrefix>();

  constructor(options: NativeOptions) {
    this.#options = options;
  }

  /** @returns by the prefix's text; entries that did not change are the same objects, and all are if nothing did */
  update(tables: NativeTables): ReadonlyMap<string, DesiredNativePrefix> {
    if (this.#options.families.size === 0) return this.#prefixes;
    const before = this.#tables;
    const { nodes, routes, uplinks, nonMasquerade } = tables;
    this.#tables = { nodes, routes, uplinks, nonMasquerade };
    const isOnlyRoutes =
      before !== null && before.nodes === nodes && before.uplinks === uplinks && before.nonMasquerade === nonMasquerade;
    const changed = isOnlyRoutes ? this.#takeRoutes(before.routes, routes) : this.#takeAll(tables);
    if (changed.size > 0) this.#prefixes = this.#prefixes.with(this.#entries(changed));
    return this.#prefixes;
  }

  /** @returns keys of the claims that changed */
  #takeRoutes(before: NativeTables["routes"], after: NativeTables["routes"]): ReadonlySet<string> {
    const changed = new Set<string>();
    for (const change of mapChanges(before, after)) {
      const prefix = (change.after ?? change.before)?.destination;
      if (prefix === undefined || this.#said.has(prefix.text)) continue;
      const kind = change.after === undefined ? null : this.#kindOf(change.after);
      if (this.#claim(prefix, kind)) changed.add(prefix.text);
    }
    return changed;
  }

  #takeAll(tables: NativeTables): ReadonlySet<string> {
    this.#said = saidIn(tables);
    this.#uplinks = new Set([...tables.uplinks.values()].map(({ ifindex }) => ifindex));
    const kinds = new Map<string, Claim>();
    for (const route of tables.routes.values()) {
      const kind = this.#kindOf(route);
      if (kind !== null) kinds.set(route.destination.text, { prefix: route.destination, kind });
    }
    for (const [key, prefix] of this.#said) kinds.set(key, { prefix, kind: "said" });
    const changed = new Set<string>();
    for (const [key, { prefix }] of this.#claims) {
      if (!kinds.has(key) && this.#claim(prefix, null)) changed.add(key);
    }
    for (const [key, { prefix, kind }] of kinds) if (this.#claim(prefix, kind)) changed.add(key);
    return changed;
  }

  /** A default route leads to whoever is not known. One that leads nowhere lets nothing out. */
  #kindOf({ destination, protocol, nextHops }: RouteFactRow): Kind | null {
    if (destination.length === 0 || nextHops.length === 0) return null;
    if (isBgp(protocol)) return "routed";
    const isOnLink = nextHops.every(({ gateway, ifindex }) => gateway === null && this.#uplinks.has(ifindex));
    return isOnLink ? "routed" : "elsewhere";
  }

  /** @param kind null: nothing is claimed @returns whether that is news */
  #claim(prefix: Prefix, kind: Kind | null): boolean {
    const before = this.#claims.get(prefix.text);
    if (!this.#options.families.has(prefix.family) || before?.kind === (kind ?? undefined)) return false;
    if (before !== undefined && before.kind !== "elsewhere") this.#count(prefix, -1);
    this.#elsewhere.delete(prefix.text);
    if (kind === null) {
      this.#claims.delete(prefix.text);
      return true;
    }
    const claim = { prefix, kind };
    this.#claims.set(prefix.text, claim);
    if (kind === "elsewhere") this.#elsewhere.set(prefix.text, claim);
    else this.#count(prefix, 1);
    return true;
  }

  #count({ family, length }: Prefix, by: 1 | -1): void {
    const lengths = this.#lengths[family];
    const count = (lengths.get(length) ?? 0) + by;
    if (count === 0) lengths.delete(length);
    else lengths.set(length, count);
  }

  /** What is in the map for these, and for exceptions that may be ones because of them. */
  #entries(changed: ReadonlySet<string>): ReadonlyMap<string, DesiredNativePrefix | undefined> {
    const entries = new Map<string, DesiredNativePrefix | undefined>();
    let areAround = false;
    for (const key of changed) {
      const claim = this.#claims.get(key);
      // Said or routed, now or before.
      areAround ||= (claim !== undefined && claim.kind !== "elsewhere") || this.#prefixes.get(key)?.keep === true;
      entries.set(key, this.#entry(key, claim));
    }
    if (areAround) for (const [key, claim] of this.#elsewhere) entries.set(key, this.#entry(key, claim));
    return entries;
  }

  #entry(key: string, claim: Claim | undefined): DesiredNativePrefix | undefined {
    if (claim === undefined || (claim.kind === "elsewhere" && !this.#isException(claim.prefix))) return undefined;
    const keep = claim.kind !== "elsewhere";
    const known = this.#prefixes.get(key);
    return known?.keep === keep ? known : { prefix: claim.prefix, keep };
  }

  /** Inside of what is routed, and of nothing that is said: from nothing there are no exceptions. */
  #isException({ family, address, length }: Prefix): boolean {
    let isRouted = false;
    for (const outer of this.#lengths[family].keys()) {
      if (outer >= length) continue;
      const kind = this.#claims.get(makePrefix(address, outer).text)?.kind;
      if (kind === "said") return false;
      isRouted ||= kind === "routed";
    }
    return isRouted;
  }
}

function saidIn({ nodes, nonMasquerade }: NativeTables): ReadonlyMap<string, Prefix> {
  const said = new Map<string, Prefix>();
  const say = (prefix: Prefix) => said.set(prefix.text, prefix);
  for (const { addresses, podCidrs } of nodes.values()) {
    podCidrs.forEach(say);
    for (const address of addresses) say(makePrefix(address, address.bytes.length * 8));
  }
  for (const { prefix } of nonMasquerade.values()) say(prefix);
  return said;
}
