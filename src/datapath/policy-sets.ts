/**
 * Policy sets in the kernel: policy_set, policy_peer, policy_prefix4/6, policy_port. All entries of these maps are ours. A set is never
 * changed in place: other content is another number, written whole before any endpoint is switched to it, and the old one goes when no
 * endpoint uses it any more. So a reader sees one set or the other, never half.
 *
 * A restarted agent reads all entries, groups them by set number, and knows a set by its content: one that is still wanted keeps its
 * number. While the agent is away the sets stay as they are; a set that was half written when it ended is used by nobody and removed.
 */
import { setImmediate } from "node:timers/promises";
import type { CompiledSet } from "../compute/desired.ts";
import type { MapInfo } from "../native/contract.ts";
import type { MapName } from "../native/layouts.gen.ts";
import { Counters, deleteEntries, type MapNative, readEntries, writeEntries } from "./map-table.ts";
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

/** What is in the kernel under one number; the keys, to remove it again. */
interface KernelSet {
  readonly digest: string;
  readonly keys: ReadonlyMap<PolicyMap, readonly Buffer[]>;
}

/** A set that is to be written under a number of its own. */
interface NewSet {
  readonly number: number;
  readonly compiled: CompiledSet;
  readonly digest: string;
  readonly rows: readonly PolicyRow[];
}

/** Entries that are read before others get their turn. */
const sliceEntries = 4096;

/** set_direction is 32 bits, one of them the direction. */
const maxNumber = 2 ** 31 - 1;

export class PolicySetReconciler {
  readonly counters = new Counters();
  readonly #native: MapNative;
  readonly #maps: ReadonlyMap<PolicyMap, MapInfo>;
  readonly #sets = new Map<number, KernelSet>();
  readonly #numbers = new Map<string, number>();
  /** Digest of compute -> digest of the content; an empty text for a set without entries. */
  #contents = new Map<string, string>();
  readonly #compiled = new Map<number, CompiledSet>();
  /** Numbers go up, so that one is not used again while some packet still reads under it. */
  #next = 1;

  constructor(native: MapNative, map: (name: MapName) => MapInfo) {
    this.#native = native;
    this.#maps = new Map(policyMaps.map((name) => [name, map(name)]));
  }

  /** Entries of a map as this agent knows them. */
  entries(name: PolicyMap): number {
    let count = 0;
    for (const { keys } of this.#sets.values()) count += keys.get(name)?.length ?? 0;
    return count;
  }

  /** @returns how many sets were not as they were believed to be */
  async read(): Promise<number> {
    const rows = new Map<number, PolicyRow[]>();
    const keys = new Map<number, Map<PolicyMap, Buffer[]>>();
    for (const [name, map] of this.#maps) {
      for (const [index, { key, value }] of (await readEntries(this.#native, map)).entries()) {
        if (index % sliceEntries === sliceEntries - 1) await setImmediate();
        const { set, row } = rowOf(name, key, value);
        append(rows, set, row);
        append(
          getOrCreate(keys, set, () => new Map()),
          name,
          Buffer.from(key),
        );
      }
    }
    const before = new Map([...this.#sets].map(([number, { digest }]) => [number, digest]));
    this.#sets.clear();
    this.#numbers.clear();
    for (const [number, list] of [...rows].sort(([left], [right]) => left - right)) {
      const digest = contentDigest(list);
      this.#sets.set(number, { digest, keys: keys.get(number) ?? new Map() });
      if (!this.#numbers.has(digest)) this.#numbers.set(digest, number);
      if (before.get(number) !== digest) this.#compiled.delete(number);
      this.#next = Math.max(this.#next, number + 1);
    }
    const all = new Set([...before.keys(), ...this.#sets.keys()]);
    return [...all].filter((number) => before.get(number) !== this.#sets.get(number)?.digest).length;
  }

  /** Numbers that something else than these maps still remembers are not given again. */
  reserve(number: number): void {
    this.#next = Math.max(this.#next, number + 1);
  }

  /** Writes the sets that are not there yet. A set that could not be written whole is not there at all. */
  async write(wanted: readonly CompiledSet[]): Promise<readonly EntryFailure[]> {
    const contents = new Map<string, string>();
    const missing = new Map<string, NewSet>();
    for (const compiled of wanted) {
      const digest = this.#contents.get(compiled.digest) ?? contentOf(compiled);
      contents.set(compiled.digest, digest);
      const number = digest === "" ? 0 : this.#numbers.get(digest);
      if (number !== undefined) this.#compiled.set(number, compiled);
      else if (!missing.has(digest)) {
        missing.set(digest, { number: this.#allocate(), compiled, digest, rows: encodeSet(compiled) });
      }
    }
    this.#contents = contents;
    return this.#writeNew([...missing.values()]);
  }

  /** The number under which a set's content is in the kernel: 0 if it needs no entries, null if it is not there. */
  numberOf(compiled: CompiledSet): number | null {
    const digest = this.#contents.get(compiled.digest);
    if (digest === "") return 0;
    return digest === undefined ? null : (this.#numbers.get(digest) ?? null);
  }

  /** What the set of a number was compiled from, null for one of an agent before. */
  compiledOf(number: number): CompiledSet | null {
    return number === 0 ? null : (this.#compiled.get(number) ?? null);
  }

  /** Removes sets that no endpoint uses. @returns true if there were some */
  async remove(used: ReadonlySet<number>): Promise<boolean> {
    const gone = [...this.#sets].filter(([number]) => !used.has(number));
    for (const name of policyMaps) {
      const keys = gone.flatMap(([, set]) => set.keys.get(name) ?? []);
      if (keys.length > 0) await this.#delete(name, keys);
      this.counters.writes += keys.length;
    }
    for (const [number, { digest }] of gone) {
      this.#sets.delete(number);
      this.#compiled.delete(number);
      if (this.#numbers.get(digest) === number) this.#numbers.delete(digest);
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
        for (const [name, list] of keys) await this.#delete(name, list);
        continue;
      }
      this.counters.writes += set.rows.length;
      this.#sets.set(set.number, { digest: set.digest, keys });
      this.#numbers.set(set.digest, set.number);
      this.#compiled.set(set.number, set.compiled);
    }
    return failures;
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
  return rows.length === 0 ? "" : contentDigest(rows);
}

function keysOf({ rows, number }: NewSet): ReadonlyMap<PolicyMap, readonly Buffer[]> {
  const keys = new Map<PolicyMap, Buffer[]>();
  for (const row of rows) append(keys, row.map, numberedKey(row, number));
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
