/**
 * Which addresses names have given, each for as long as its answer said, at least for a minimum: clients keep addresses for longer than
 * answers say, and servers with many addresses tell others to everyone who asks. An address whose time is over stays while a connection
 * with it lives.
 *
 * Names are kept by their keys (`model/name-key.ts`): of each pod its own, or of all together. Memory is bounded: so many addresses for a name,
 * so many for a pod, so many in all. Beyond, those go whose time is over first.
 */
import type { Address } from "../model/ip.ts";
import { compareAddresses } from "../model/ip.ts";
import { ofNameKey } from "../model/name-key.ts";
import type { NameAddress } from "./addresses.ts";

export interface NameCacheOptions {
  /** Least seconds that an address holds. */
  readonly minTtlSeconds: number;
  readonly mostPerName: number;
  /** For a pod that has names of its own. Not set: as many as in all. */
  readonly mostPerEndpoint?: number;
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
  /** Addresses of the names that are a pod's own. */
  readonly #ofEndpoint = new Map<string, number>();
  /** Since they were last taken. */
  #changed = new Set<string>();
  #evictedKeys = new Set<string>();
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

  /** By key. */
  get names(): ReadonlyMap<string, ReadonlyMap<string, CachedAddress>> {
    return this.#names;
  }

  /** Pods that have names of their own. */
  get endpoints(): Iterable<string> {
    return this.#ofEndpoint.keys();
  }

  /** Adds what an answer says to what the name has. @param ago seconds since it came; what is over holds until the next `expire` */
  learn(key: string, answers: readonly NameAddress[], ago = 0): void {
    const now = this.#options.monotonicMs() - ago * 1000;
    for (const { address, ttl } of answers) {
      const seconds = Math.min(Math.max(ttl, this.#options.minTtlSeconds), mostTtlSeconds);
      this.#put(key, address, now + seconds * 1000);
    }
    this.#limit(key);
  }

  /** As of a snapshot. @param until ms of the monotonic clock; in the past: it holds until the next `expire`, as if it had just ended */
  restore(key: string, address: Address, until: number): void {
    this.#put(key, address, Math.min(until, this.#options.monotonicMs() + mostTtlSeconds * 1000));
    this.#limit(key);
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
    for (const [key, addresses] of this.#names) {
      for (const [text, cached] of addresses) {
        if (cached.until > now) continue;
        if (live.has(text)) addresses.set(text, { ...cached, isKept: true });
        else this.#drop(key, addresses, text);
      }
    }
  }

  /** @returns how many addresses were forgotten */
  clean(isMeant: (key: string) => boolean): number {
    const before = this.#count;
    for (const [key, addresses] of this.#names) {
      if (isMeant(key)) for (const text of [...addresses.keys()]) this.#drop(key, addresses, text);
    }
    return before - this.#count;
  }

  /** Keys of names whose addresses are others than when this was last asked. */
  takeChanged(): ReadonlySet<string> {
    const changed = this.#changed;
    this.#changed = new Set();
    return changed;
  }

  /** Keys of names that lost addresses before their time, to make room, since this was last asked. */
  takeEvicted(): ReadonlySet<string> {
    const evicted = this.#evictedKeys;
    this.#evictedKeys = new Set();
    return evicted;
  }

  /** In order; empty: the name is not known. */
  addressesOf(key: string): readonly Address[] {
    return [...(this.#names.get(key)?.values() ?? [])].map(({ address }) => address).sort(compareAddresses);
  }

  #put(key: string, address: Address, until: number): void {
    const addresses = this.#names.get(key) ?? new Map<string, CachedAddress>();
    this.#names.set(key, addresses);
    const known = addresses.get(address.text);
    if (known === undefined) {
      this.#counted(key, 1);
      this.#changed.add(key);
    }
    addresses.set(address.text, { address, until: Math.max(until, known?.until ?? until), isKept: false });
  }

  #drop(key: string, addresses: Map<string, CachedAddress>, text: string): void {
    if (!addresses.delete(text)) return;
    this.#counted(key, -1);
    this.#changed.add(key);
    if (addresses.size === 0) this.#names.delete(key);
  }

  #counted(key: string, more: 1 | -1): void {
    this.#count += more;
    const { endpoint } = ofNameKey(key);
    if (endpoint === null) return;
    const count = (this.#ofEndpoint.get(endpoint) ?? 0) + more;
    if (count === 0) this.#ofEndpoint.delete(endpoint);
    else this.#ofEndpoint.set(endpoint, count);
  }

  #limit(key: string): void {
    const { mostPerName, mostInAll, mostPerEndpoint = mostInAll } = this.#options;
    const { endpoint } = ofNameKey(key);
    this.#evict(this.#names.get(key)?.size ?? 0, mostPerName, 1, () => [key]);
    // A tenth more than needed, so that what is full does not sort itself for every answer.
    if (endpoint !== null) {
      const count = this.#ofEndpoint.get(endpoint) ?? 0;
      const own = () => [...this.#names.keys()].filter((each) => ofNameKey(each).endpoint === endpoint);
      this.#evict(count, mostPerEndpoint, 0.9, own);
    }
    this.#evict(this.#count, mostInAll, 0.9, () => [...this.#names.keys()]);
  }

  /** @param share of the most that is left */
  #evict(count: number, most: number, share: number, keys: () => readonly string[]): void {
    if (count <= most) return;
    const among = keys().flatMap((key) =>
      [...(this.#names.get(key)?.values() ?? [])].map((cached) => ({ key, cached })),
    );
    const order = among.sort(
      (a, b) => a.cached.until - b.cached.until || compareAddresses(a.cached.address, b.cached.address),
    );
    for (const { key, cached } of order.slice(0, count - Math.floor(most * share))) {
      const addresses = this.#names.get(key);
      if (addresses === undefined) continue;
      this.#drop(key, addresses, cached.address.text);
      this.#evicted++;
      this.#evictedKeys.add(key);
    }
  }
}
