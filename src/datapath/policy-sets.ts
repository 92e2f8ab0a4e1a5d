/**
 * Policy sets in the kernel: policy_set, policy_peer, policy_prefix4/6, policy_port. All entries of these maps are ours. But for the addresses
 * of names (`named-entries.ts`) a set is never changed in place: other content is another number, written whole before any endpoint is switched to it, and the old one goes when no
 * endpoint uses it any more. So a reader sees one set or the other, never half.
 *
 * A restarted agent reads all entries, groups them by set number, and knows a set by its content: one that is still wanted keeps its
 * number. What a set demands of requests is not in the kernel: a set of an agent before is known only if that agent kept what it had told
 * the proxy. While the agent is away the sets stay as they are; a set that was half written when it ended is used by nobody and removed.
 */
import { setImmediate } from "node:timers/promises";
import type { CompiledSet } from "../compute/desired.ts";
import type { MapInfo } from "../native/bpf-contract.ts";
import type { MapName } from "../native/layouts.gen.ts";
import { Counters, deleteEntries, keyBytes, keyText, type MapNative, readEntries, writeEntries } from "./map-table.ts";
import { type NamedChange, NamedEntries } from "./named-entries.ts";
import {
  contentDigest,
  encodeSet,
  numberedKey,
  type PolicyMap,
  type PolicyRow,
  policyMaps,
  rowOf,
} from "./policy-encode.ts";
import type { EntryFailure } from "./problems.ts";
import {
  type DemandsBySet,
  demandsDigest,
  demandsNothing,
  demandsOf,
  nothingDemanded,
  type SetDemands,
} from "./set-demands.ts";
import { SetNumbers } from "./set-numbers.ts";

/** What is in the kernel under one number; the keys, as texts, to remove it again. */
interface KernelSet {
  digest: string;
  readonly keys: ReadonlyMap<PolicyMap, Set<string>>;
}

/** A set that is to be written under a number of its own. */
interface NewSet {
  readonly number: number;
  readonly compiled: CompiledSet;
  readonly digest: string;
  readonly rows: readonly PolicyRow[];
  readonly demands: SetDemands;
}

/** Entries that are read before others get their turn. */
const sliceEntries = 4096;

/** Of addresses. */
const namedMaps = ["policy_prefix4", "policy_prefix6"] as const;

/** set_direction is 32 bits, one of them the direction. */
const maxNumber = 2 ** 31 - 1;

export class PolicySetReconciler {
  readonly counters = new Counters();
  readonly #native: MapNative;
  readonly #maps: ReadonlyMap<PolicyMap, MapInfo>;
  readonly #sets = new Map<number, KernelSet>();
  readonly #numbers = new SetNumbers();
  /** Digest of compute -> digest of the content; an empty text for a set without entries. */
  #contents = new Map<string, string>();
  /** By the digest of the set without the addresses. */
  readonly #named = new Map<string, NamedEntries>();
  /** Sets whose addresses changed since their digest was made. */
  readonly #moved = new Set<number>();
  /** Sets that lost an address: flows that it allowed are to be judged again. */
  readonly #lessened = new Set<number>();
  readonly #compiled = new Map<number, CompiledSet>();
  /** Of sets that are in the kernel, without those that redirect nothing. */
  readonly #demands = new Map<number, SetDemands>();
  readonly #toldBefore: (number: number) => SetDemands | null;
  /** Numbers go up, so that one is not used again while some packet still reads under it. */
  #next = 1;

  /** @param toldBefore what an agent before has told the proxy of a set */
  constructor(
    native: MapNative,
    map: (name: MapName) => MapInfo,
    toldBefore: (number: number) => SetDemands | null = () => null,
  ) {
    this.#native = native;
    this.#toldBefore = toldBefore;
    this.#maps = new Map(policyMaps.map((name) => [name, map(name)]));
  }

  /** Entries of a map as this agent knows them. */
  entries(name: PolicyMap): number {
    let count = 0;
    for (const { keys } of this.#sets.values()) count += keys.get(name)?.size ?? 0;
    return count;
  }

  /** @returns how many sets were not as they were believed to be */
  async read(): Promise<number> {
    const rows = new Map<number, PolicyRow[]>();
    const keys = new Map<number, Map<PolicyMap, Set<string>>>();
    this.#renewDigests();
    for (const [name, map] of this.#maps) {
      for (const [index, { key, value }] of (await readEntries(this.#native, map)).entries()) {
        if (index % sliceEntries === sliceEntries - 1) await setImmediate();
        const { set, row } = rowOf(name, key, value);
        append(rows, set, row);
        const ofSet = getOrCreate(keys, set, noKeys);
        getOrCreate(ofSet, name, () => new Set<string>()).add(keyText(key));
      }
    }
    const before = new Map([...this.#sets].map(([number, { digest }]) => [number, digest]));
    this.#sets.clear();
    this.#numbers.clear();
    for (const [number, list] of [...rows].sort(([left], [right]) => left - right)) {
      const demands = this.#demands.get(number) ?? this.#toldBefore(number) ?? nothingDemanded;
      if (!demandsNothing(demands)) this.#demands.set(number, demands);
      const digest = contentDigest(list) + demandsDigest(demands);
      this.#sets.set(number, { digest, keys: keys.get(number) ?? new Map() });
      this.#numbers.add(digest, number);
      if (before.get(number) !== digest) this.#compiled.delete(number);
      this.#next = Math.max(this.#next, number + 1);
    }
    for (const number of this.#demands.keys()) if (!this.#sets.has(number)) this.#demands.delete(number);
    for (const [base, { number }] of this.#named) {
      if (before.get(number) !== this.#sets.get(number)?.digest) this.#disown(base, number);
    }
    const all = new Set([...before.keys(), ...this.#sets.keys()]);
    return [...all].filter((number) => before.get(number) !== this.#sets.get(number)?.digest).length;
  }

  /** Of the sets that are in the kernel. */
  get demands(): DemandsBySet {
    return this.#demands;
  }

  /** Numbers that something else than these maps still remembers are not given again. */
  reserve(number: number): void {
    this.#next = Math.max(this.#next, number + 1);
  }

  /**
   * Writes the sets that are not there yet. A set that could not be written whole is not there at all.
   * @param beforeLess called before addresses are taken away from a set that is in use: `lessened` tells then which
   */
  async write(
    wanted: readonly CompiledSet[],
    beforeLess: () => Promise<void> = async () => undefined,
  ): Promise<readonly EntryFailure[]> {
    const contents = new Map<string, string>();
    const missing = new Map<string, NewSet>();
    const moved = new Map<NamedEntries, CompiledSet>();
    for (const compiled of wanted) {
      const there = compiled.named === undefined ? undefined : this.#named.get(compiled.named.base);
      if (there !== undefined) {
        moved.set(there, compiled);
        this.#compiled.set(there.number, compiled);
        continue;
      }
      const digest = this.#contents.get(compiled.digest) ?? contentOf(compiled);
      contents.set(compiled.digest, digest);
      const number = digest === "" ? 0 : this.#numberFor(digest, compiled);
      const place = compiled.named === undefined ? digest : `${digest} ${compiled.named.base}`;
      if (number !== undefined) this.#holds(number, compiled);
      else if (!missing.has(place)) {
        const demands = demandsOf(compiled);
        missing.set(place, { number: this.#allocate(), compiled, digest, rows: encodeSet(compiled), demands });
      }
    }
    this.#contents = contents;
    const failures: EntryFailure[] = [];
    for (const [entries, compiled] of moved) failures.push(...(await this.#move(entries, compiled, beforeLess)));
    return [...failures, ...(await this.#writeNew([...missing.values()]))];
  }

  /** Whether verdicts that were given under this set may be too generous now, until `forgetLessened`. */
  isLessened(number: number): boolean {
    return this.#lessened.has(number);
  }

  /** Every endpoint has a revision of afterwards. */
  forgetLessened(): void {
    this.#lessened.clear();
  }

  /** The number under which a set's content is in the kernel: 0 if it needs no entries, null if it is not there. */
  numberOf(compiled: CompiledSet): number | null {
    const named = compiled.named === undefined ? undefined : this.#named.get(compiled.named.base);
    if (named !== undefined) return named.number;
    const digest = this.#contents.get(compiled.digest);
    if (digest === "") return 0;
    return digest === undefined || compiled.named !== undefined ? null : (this.#numbers.shared(digest) ?? null);
  }

  /** What the set of a number was compiled from, null for one of an agent before. */
  compiledOf(number: number): CompiledSet | null {
    return number === 0 ? null : (this.#compiled.get(number) ?? null);
  }

  /** Removes sets that no endpoint uses. @returns true if there were some */
  async remove(used: ReadonlySet<number>): Promise<boolean> {
    const gone = [...this.#sets].filter(([number]) => !used.has(number));
    for (const name of policyMaps) {
      const keys = gone.flatMap(([, set]) => [...(set.keys.get(name) ?? [])].map(keyBytes));
      if (keys.length > 0) await this.#delete(name, keys);
      this.counters.writes += keys.length;
    }
    for (const [base, { number }] of this.#named) {
      if (!used.has(number)) this.#disown(base, number);
    }
    for (const [number, { digest }] of gone) {
      this.#sets.delete(number);
      this.#demands.delete(number);
      this.#moved.delete(number);
      this.#compiled.delete(number);
      this.#numbers.remove(digest, number);
    }
    return gone.length > 0;
  }

  async #writeNew(sets: readonly NewSet[]): Promise<readonly EntryFailure[]> {
    const failures = await this.#writeTogether(sets);
    if (failures.length === 0 || sets.length === 1) return failures;
    // A set that found no room may have kept out others that fit: those that failed try again, one by one.
    const again: EntryFailure[] = [];
    for (const set of sets.filter(({ number }) => !this.#sets.has(number)))
      again.push(...(await this.#writeTogether([set])));
    return again;
  }

  async #writeTogether(sets: readonly NewSet[]): Promise<readonly EntryFailure[]> {
    const failures: EntryFailure[] = [];
    const failed = new Set<NewSet>();
    for (const name of policyMaps) {
      const map = this.#map(name);
      // What failed in one map needs no entries in the next.
      const entries = sets
        .filter((set) => !failed.has(set))
        .flatMap((set) =>
          set.rows
            .filter((row) => row.map === name)
            .map((row) => ({ set, key: numberedKey(row, set.number), value: row.value })),
        );
      for (const [index, error] of await writeEntries(this.#native, map, entries, () => false)) {
        const set = entries[index]?.set;
        if (set === undefined) continue;
        this.counters.failed(error);
        failed.add(set);
        failures.push({
          map: name,
          entry: `policy of identity ${set.compiled.key}`,
          maxEntries: map.maxEntries,
          error,
        });
      }
    }
    for (const set of sets) {
      const keys = keysOf(set);
      if (failed.has(set)) {
        for (const [name, texts] of keys) await this.#delete(name, [...texts].map(keyBytes));
        continue;
      }
      this.counters.writes += set.rows.length;
      this.#sets.set(set.number, { digest: set.digest, keys });
      if (!demandsNothing(set.demands)) this.#demands.set(set.number, set.demands);
      this.#numbers.add(set.digest, set.number);
      this.#holds(set.number, set.compiled);
    }
    return failures;
  }

  /** The set is in the kernel under this number, with exactly these addresses of names. */
  #holds(number: number, compiled: CompiledSet): void {
    this.#compiled.set(number, compiled);
    const { named } = compiled;
    if (named === undefined || number === 0) return;
    this.#named.set(named.base, new NamedEntries(number, compiled, named));
    this.#numbers.own(number, named.base);
  }

  #disown(base: string, number: number): void {
    this.#named.delete(base);
    this.#numbers.disown(number);
  }

  /** What is in the kernel with this content, and may be this set's. */
  #numberFor(digest: string, { named }: CompiledSet): number | undefined {
    return named === undefined
      ? this.#numbers.shared(digest)
      : this.#numbers.free(digest, (number) => this.#compiled.has(number));
  }

  /** From the addresses that are there to those that should be: new before old is removed. */
  async #move(
    entries: NamedEntries,
    { key, named }: CompiledSet,
    beforeLess: () => Promise<void>,
  ): Promise<readonly EntryFailure[]> {
    if (named === undefined) return [];
    const changes = entries.changes(named.entries);
    if (changes.length === 0) {
      entries.written(named.entries, [], new Set());
      return [];
    }
    const { number } = entries;
    if (changes.some(({ takesAway }) => takesAway)) {
      await beforeLess();
      this.#lessened.add(number);
    }
    const failures: EntryFailure[] = [];
    const failed = new Set<NamedChange>();
    const keys = this.#sets.get(number)?.keys;
    const fail = (change: NamedChange, map: MapInfo, error: unknown) => {
      this.counters.failed(error);
      failed.add(change);
      const entry = `${change.address}, an address of a name, for the policy of identity ${key}`;
      failures.push({ map: map.name, entry, maxEntries: map.maxEntries, error });
    };
    for (const name of namedMaps) {
      const map = this.#map(name);
      const [gone, come] = [true, false].map((isRemoval) =>
        changes.filter((change) => change.row.map === name && change.isRemoval === isRemoval),
      ) as [NamedChange[], NamedChange[]];
      const known = keys?.get(name);
      const rows = come.map(({ row }) => ({ key: numberedKey(row, number), value: row.value }));
      const written = await writeEntries(this.#native, map, rows, (each) => known?.has(keyText(each)) === true);
      for (const [at, change] of come.entries()) {
        if (written.has(at)) fail(change, map, written.get(at));
        else known?.add(keyText(numberedKey(change.row, number)));
      }
      try {
        await this.#delete(
          name,
          gone.map(({ row }) => numberedKey(row, number)),
        );
        for (const { row } of gone) known?.delete(keyText(numberedKey(row, number)));
      } catch (error) {
        for (const change of gone) fail(change, map, error);
      }
    }
    this.counters.writes += changes.length - failed.size;
    entries.written(named.entries, changes, failed);
    this.#moved.add(number);
    return failures;
  }

  /** Of sets whose addresses moved: what the kernel should have under their numbers now. */
  #renewDigests(): void {
    for (const entries of this.#named.values()) {
      const set = this.#sets.get(entries.number);
      if (set === undefined || !this.#moved.has(entries.number)) continue;
      this.#numbers.remove(set.digest, entries.number);
      set.digest = contentDigest(entries.rows()) + demandsDigest(this.#demands.get(entries.number) ?? nothingDemanded);
      this.#numbers.add(set.digest, entries.number);
    }
    this.#moved.clear();
  }

  async #delete(name: PolicyMap, keys: readonly Buffer[]): Promise<void> {
    await deleteEntries(this.#native, this.#map(name), keys);
  }

  #allocate(): number {
    if (this.#next > maxNumber) this.#next = 1;
    while (this.#sets.has(this.#next)) this.#next++;
    return this.#next++;
  }

  #map(name: PolicyMap): MapInfo {
    const map = this.#maps.get(name);
    if (map === undefined) throw new Error(`no map ${name}`);
    return map;
  }
}

function contentOf(compiled: CompiledSet): string {
  const rows = encodeSet(compiled);
  return rows.length === 0 ? "" : contentDigest(rows) + demandsDigest(demandsOf(compiled));
}

/** Those of names may come later: there is a place for them. */
function noKeys(): Map<PolicyMap, Set<string>> {
  return new Map(namedMaps.map((name) => [name, new Set()]));
}

function keysOf({ rows, number }: NewSet): ReadonlyMap<PolicyMap, Set<string>> {
  const keys = noKeys();
  for (const row of rows) getOrCreate(keys, row.map, () => new Set<string>()).add(keyText(numberedKey(row, number)));
  return keys;
}

function getOrCreate<K, V>(map: Map<K, V>, key: K, create: () => V): V {
  const there = map.get(key);
  if (there !== undefined) return there;
  const fresh = create();
  map.set(key, fresh);
  return fresh;
}

function append<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  getOrCreate(map, key, () => []).push(value);
}
