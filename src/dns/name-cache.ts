/**
 * Which addresses names have given, each for as long as its answer said, at least for a minimum: clients keep addresses for longer than
 * answers say, and servers with many addresses tell others to everyone who asks. An address whose time is over stays while a connection
 * with it lives.
 *
 * Memory is bounded: so many addresses for a name, so many in all. Beyond, those go whose time is over first.
 */
import type { Address } from "../model/ip.ts";
import { compareAddresses } from "../model/ip.ts";
import type { NameAddress } from "./addresses.ts";

export interface NameCacheOptions {
  /** Least seconds that an address holds. */
  readonly minTtlSeconds: number;
  readonly mostPerName: number;
  readonly mostInAll: number;
  readonly monotonicMs: () => number;
}

export interface CachedAddress {
  readonly address: Address;
  /** ms of the monotonic clock. */
  readonly until: number;
  /** Its time is over, and a connection keeps it. */
  readonly isKept: boolean;
}

/** A week, as of RFC 8767: whatever answers say. */
const mostTtlSeconds = 604_800;

export class NameCache {
  readonly #options: NameCacheOptions;
  readonly #names = new Map<string, Map<string, CachedAddress>>();
  /** Since they were last taken. */
  #changed = new Set<string>();
  #evictedNames = new Set<string>();
  #count = 0;
  #evicted = 0;

  constructor(options: NameCacheOptions) {
    this.#options = options;
  }

  /** Addresses in all. */
  get size(): number {
    return this.#count;
  }

  /** Addresses that had to go before their time, since the start. */
  get evicted(): number {
    return this.#evicted;
  }

  get names(): ReadonlyMap<string, ReadonlyMap<string, CachedAddress>> {
    return this.#names;
  }

  /** Adds what an answer says to what the name has. */
  learn(name: string, answers: readonly NameAddress[]): void {
    const now = this.#options.monotonicMs();
    for (const { address, ttl } of answers) {
      const seconds = Math.min(Math.max(ttl, this.#options.minTtlSeconds), mostTtlSeconds);
      this.#put(name, address, now + seconds * 1000);
    }
    this.#limit(name);
  }

  /** As of a snapshot. @param until ms of the monotonic clock; in the past: it holds until the next `expire`, as if it had just ended */
  restore(name: string, address: Address, until: number): void {
    this.#put(name, address, Math.min(until, this.#options.monotonicMs() + mostTtlSeconds * 1000));
    this.#limit(name);
  }

  /** Whose time is over. */
  due(): readonly Address[] {
    const now = this.#options.monotonicMs();
    const due = new Map<string, Address>();
    for (const addresses of this.#names.values()) {
      for (const { address, until } of addresses.values()) if (until <= now) due.set(address.text, address);
    }
    return [...due.values()];
  }

  /** Forgets addresses whose time is over, but for those of live connections. @param live texts of addresses */
  expire(live: ReadonlySet<string>): void {
    const now = this.#options.monotonicMs();
    for (const [name, addresses] of this.#names) {
      for (const [text, cached] of addresses) {
        if (cached.until > now) continue;
        if (live.has(text)) addresses.set(text, { ...cached, isKept: true });
        else this.#drop(name, addresses, text);
      }
    }
  }

  /** @returns how many addresses were forgotten */
  clean(isMeant: (name: string) => boolean): number {
    const before = this.#count;
    for (const [name, addresses] of this.#names) {
      if (isMeant(name)) for (const text of [...addresses.keys()]) this.#drop(name, addresses, text);
    }
    return before - this.#count;
  }

  /** Names whose addresses are others than when this was last asked. */
  takeChanged(): ReadonlySet<string> {
    const changed = this.#changed;
    this.#changed = new Set();
    return changed;
  }

  /** Names that lost addresses before their time, to make room, since this was last asked. */
  takeEvicted(): ReadonlySet<string> {
    const evicted = this.#evictedNames;
    this.#evictedNames = new Set();
    return evicted;
  }

  /** In order; empty: the name is not known. */
  addressesOf(name: string): readonly Address[] {
    return [...(this.#names.get(name)?.values() ?? [])].map(({ address }) => address).sort(compareAddresses);
  }

  #put(name: string, address: Address, until: number): void {
    const addresses = this.#names.get(name) ?? new Map<string, CachedAddress>();
    this.#names.set(name, addresses);
    const known = addresses.get(address.text);
    if (known === undefined) {
      this.#count++;
      this.#changed.add(name);
    }
    addresses.set(address.text, { address, until: Math.max(until, known?.until ?? until), isKept: false });
  }

  #drop(name: string, addresses: Map<string, CachedAddress>, text: string): void {
    if (!addresses.delete(text)) return;
    this.#count--;
    this.#changed.add(name);
    if (addresses.size === 0) this.#names.delete(name);
  }

  #limit(name: string): void {
    const { mostPerName, mostInAll } = this.#options;
    const addresses = this.#names.get(name);
    if (addresses !== undefined && addresses.size > mostPerName) {
      this.#evict(
        [...addresses.values()].map((cached) => ({ name, cached })),
        addresses.size - mostPerName,
      );
    }
    if (this.#count <= mostInAll) return;
    // A tenth more than needed, so that a full cache does not sort itself for every answer.
    const all = [...this.#names].flatMap(([each, of]) => [...of.values()].map((cached) => ({ name: each, cached })));
    this.#evict(all, this.#count - Math.floor(mostInAll * 0.9));
  }

  #evict(among: { readonly name: string; readonly cached: CachedAddress }[], count: number): void {
    const order = among.sort(
      (a, b) => a.cached.until - b.cached.until || compareAddresses(a.cached.address, b.cached.address),
    );
    for (const { name, cached } of order.slice(0, count)) {
      const addresses = this.#names.get(name);
      if (addresses === undefined) continue;
      this.#drop(name, addresses, cached.address.text);
      this.#evicted++;
      this.#evictedNames.add(name);
    }
  }
}
