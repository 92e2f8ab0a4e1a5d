/**
 * One map of the kernel that the agent alone writes: what should be in it, what is in it, and the way from one to the other in
 * batches. An entry that cannot be written stays dirty for the next try, and the others are written all the same.
 */
import { setImmediate } from "node:timers/promises";
import { DeltaTracker } from "../lib/delta-tracker.ts";
import { messageOf } from "../lib/errors.ts";
import type { MapInfo } from "../native/bpf-contract.ts";
import type { NativeBinding } from "../native/contract.ts";
import type { Doubt } from "./comparison.ts";
import { type EntryFailure, isFull } from "./problems.ts";

/** Entries of one native call: large enough to be worth it, small enough to not hold megabytes twice. */
const batchEntries = 8192;
/** Entries that are compared before others get their turn: less than a millisecond. */
const sliceEntries = 1024;
/** Up to so many entries are written on the spot; a thread's turn costs more than they do. */
const directEntries = 16;

export type MapNative = Pick<
  NativeBinding,
  "mapDump" | "mapUpdate" | "mapUpdateBatch" | "mapDelete" | "mapDeleteBatch" | "mapLookup"
>;

/** Writes, failures and repairs since the start, of one reconciler. */
export class Counters {
  writes = 0;
  repaired = 0;
  failures = 0;
  lastError: string | null = null;

  failed(error: unknown): void {
    this.failures++;
    this.lastError = messageOf(error);
  }
}

/** Keys are bytes as latin1 text, so that a Map can hold them. */
export const keyText = (bytes: Buffer): string => bytes.toString("latin1");
export const keyBytes = (text: string): Buffer => Buffer.from(text, "latin1");

/** The same objects in the same order: nothing can differ. */
export function sameRows<T>(rows: readonly T[], before: readonly T[] | null): boolean {
  if (rows === before) return true;
  return before !== null && rows.length === before.length && rows.every((row, index) => row === before[index]);
}

export interface Entry {
  readonly key: Buffer;
  readonly value: Buffer;
}

/**
 * Writes all entries that it can. When the map is full, entries that are new are not tried any more, but those that overwrite
 * still are.
 * @returns the failures by position in `entries`
 */
export async function writeEntries(
  native: MapNative,
  map: MapInfo,
  entries: readonly Entry[],
  exists: (key: Buffer) => boolean,
): Promise<ReadonlyMap<number, unknown>> {
  const failures = new Map<number, unknown>();
  let full: unknown = null;
  let at = 0;
  while (at < entries.length) {
    const entry = entries[at];
    if (entry === undefined) break;
    if (full !== null && !exists(entry.key)) {
      failures.set(at++, full);
      continue;
    }
    try {
      if (full !== null || entries.length - at <= directEntries) {
        native.mapUpdate(map.handle, entry.key, entry.value, 0);
        at++;
      } else {
        const slice = entries.slice(at, at + batchEntries);
        const keys = Buffer.concat(slice.map(({ key }) => key));
        const values = Buffer.concat(slice.map(({ value }) => value));
        at += (await native.mapUpdateBatch(map.handle, keys, values, slice.length)).done;
      }
    } catch (error) {
      failures.set(at++, error);
      if (isFull(error)) full = error;
    }
  }
  return failures;
}

/**
 * The same for entries end to end of which none is there yet: a hundred thousand of them are no hundred thousand objects.
 * @returns the failures by position
 */
export async function writePacked(
  native: MapNative,
  map: MapInfo,
  keys: Buffer,
  values: Buffer,
): Promise<ReadonlyMap<number, unknown>> {
  const { handle, keySize, valueSize } = map;
  const count = keys.length / keySize;
  const failures = new Map<number, unknown>();
  const part = (at: number, to: number) =>
    [keys.subarray(at * keySize, to * keySize), values.subarray(at * valueSize, to * valueSize)] as const;
  for (let at = 0; at < count; ) {
    try {
      if (count - at <= directEntries) {
        native.mapUpdate(handle, ...part(at, at + 1), 0);
        at++;
      } else {
        const to = Math.min(at + batchEntries, count);
        at += (await native.mapUpdateBatch(handle, ...part(at, to), to - at)).done;
      }
    } catch (error) {
      failures.set(at++, error);
      if (!isFull(error)) continue;
      // No other one fits, either.
      while (at < count) failures.set(at++, error);
    }
  }
  return failures;
}

/** Removes entries; missing ones are fine. */
export function deleteEntries(native: MapNative, map: MapInfo, keys: readonly Buffer[]): Promise<void> {
  return deletePacked(native, map, Buffer.concat(keys));
}

/** The same for keys end to end. */
export async function deletePacked(native: MapNative, map: MapInfo, keys: Buffer): Promise<void> {
  const { handle, keySize } = map;
  const count = keys.length / keySize;
  const part = (at: number, to: number) => keys.subarray(at * keySize, to * keySize);
  if (count <= directEntries) {
    for (let at = 0; at < count; at++) native.mapDelete(handle, part(at, at + 1));
    return;
  }
  for (let at = 0; at < count; at += batchEntries) {
    const to = Math.min(at + batchEntries, count);
    await native.mapDeleteBatch(handle, part(at, to), to - at);
  }
}

/** Everything that is in the map now. The buffers are views into one dump. */
export async function readEntries(native: Pick<NativeBinding, "mapDump">, map: MapInfo): Promise<readonly Entry[]> {
  const { keys, values, count } = await native.mapDump(map.handle);
  const size = count === 0 ? 0 : values.length / count;
  return Array.from({ length: count }, (_, index) => ({
    key: keys.subarray(index * map.keySize, (index + 1) * map.keySize),
    value: values.subarray(index * size, (index + 1) * size),
  }));
}

/** A change that reached the kernel. null: no entry. */
export interface WrittenChange {
  readonly key: Buffer;
  readonly before: Buffer | null;
  readonly after: Buffer | null;
}

export class MapTable {
  readonly map: MapInfo;
  readonly #native: MapNative;
  readonly #counters: Counters;
  readonly #describe: (key: Buffer) => string;
  readonly #tracker = new DeltaTracker<Buffer>((left, right) => left === right || left.equals(right));

  /** @param describe what an entry is about, for messages */
  constructor(native: MapNative, map: MapInfo, counters: Counters, describe: (key: Buffer) => string) {
    this.#native = native;
    this.map = map;
    this.#counters = counters;
    this.#describe = describe;
  }

  /** What is in the kernel, by key text. */
  get actual(): ReadonlyMap<string, Buffer> {
    return this.#tracker.actual;
  }

  get isClean(): boolean {
    return this.#tracker.isClean;
  }

  /** Takes what the kernel has as what is there. @returns how many entries were not as they were believed to be */
  async read(): Promise<number> {
    const { keys, values, count } = await this.#native.mapDump(this.map.handle);
    const { keySize } = this.map;
    const valueSize = count === 0 ? 0 : values.length / count;
    const there = new Set<string>();
    let differing = 0;
    for (let index = 0; index < count; index++) {
      if (index % sliceEntries === sliceEntries - 1) await setImmediate();
      const key = keys.toString("latin1", index * keySize, (index + 1) * keySize);
      const start = index * valueSize;
      there.add(key);
      const known = this.#tracker.actual.get(key);
      if (known !== undefined && values.compare(known, 0, known.length, start, start + valueSize) === 0) continue;
      this.#tracker.setActual(key, Buffer.from(values.subarray(start, start + valueSize)));
      differing++;
    }
    for (const key of [...this.#tracker.actual.keys()]) {
      if (there.has(key)) continue;
      this.#tracker.deleteActual(key);
      differing++;
    }
    return differing;
  }

  /** As `comparison.ts` says. Not for maps of prefixes, where a look-up finds a shorter one, too. */
  async look(): Promise<Doubt | null> {
    const { keys, values, count } = await this.#native.mapDump(this.map.handle);
    const { keySize } = this.map;
    const valueSize = count === 0 ? 0 : values.length / count;
    const suspects = new Set(this.#tracker.actual.keys());
    for (let index = 0; index < count; index++) {
      if (index % sliceEntries === sliceEntries - 1) await setImmediate();
      const key = keys.toString("latin1", index * keySize, (index + 1) * keySize);
      const known = this.#tracker.actual.get(key);
      const start = index * valueSize;
      if (known !== undefined && values.compare(known, 0, known.length, start, start + valueSize) === 0)
        suspects.delete(key);
      else suspects.add(key);
    }
    return suspects.size === 0 ? null : () => [...suspects].some((key) => !this.#isAsLeft(key));
  }

  #isAsLeft(key: string): boolean {
    const there = this.#native.mapLookup(this.map.handle, keyBytes(key));
    const known = this.#tracker.actual.get(key);
    return there === null || known === undefined ? there === null && known === undefined : there.equals(known);
  }

  setDesired(key: string, value: Buffer): void {
    this.#tracker.setDesired(key, value);
    this.#share(key, value);
  }

  deleteDesired(key: string): void {
    this.#tracker.deleteDesired(key);
  }

  replaceDesired(entries: ReadonlyMap<string, Buffer>): void {
    this.#tracker.replaceDesired(entries);
    for (const [key, value] of entries) this.#share(key, value);
  }

  /** Writes what is missing or differs. @param changes is given what was written */
  async write(changes?: WrittenChange[]): Promise<readonly EntryFailure[]> {
    const pending = this.#tracker.pendingUpdates();
    if (pending.length === 0) return [];
    const entries = pending.map(([key, value]) => ({ key: keyBytes(key), value }));
    const { actual } = this.#tracker;
    const failed = await writeEntries(this.#native, this.map, entries, (key) => actual.has(keyText(key)));
    const failures: EntryFailure[] = [];
    for (const [index, [text, value]] of pending.entries()) {
      const error = failed.get(index);
      if (error === undefined) {
        changes?.push({ key: keyBytes(text), before: actual.get(text) ?? null, after: value });
        this.#tracker.setActual(text, value);
        this.#counters.writes++;
      } else {
        this.#counters.failed(error);
        failures.push(this.#failure(text, error));
      }
    }
    return failures;
  }

  /** Removes what should not be there. */
  async remove(changes?: WrittenChange[]): Promise<readonly EntryFailure[]> {
    const pending = this.#tracker.pendingDeletions();
    try {
      await deleteEntries(
        this.#native,
        this.map,
        pending.map((text) => keyBytes(text)),
      );
    } catch (error) {
      this.#counters.failed(error);
      return pending.map((text) => this.#failure(text, error));
    }
    for (const text of pending) {
      changes?.push({ key: keyBytes(text), before: this.#tracker.actual.get(text) ?? null, after: null });
      this.#tracker.deleteActual(text);
      this.#counters.writes++;
    }
    return [];
  }

  /** New before old is removed; where there was no room for the new, once more after the old has gone. */
  async sync(changes?: WrittenChange[]): Promise<readonly EntryFailure[]> {
    const failures = await this.write(changes);
    const room = this.#tracker.pendingDeletions().length > 0;
    const left = await this.remove(changes);
    if (!room || !failures.some(({ error }) => isFull(error))) return [...failures, ...left];
    return [...(await this.write(changes)), ...left];
  }

  /** What was read has a Buffer for each entry, what is wanted may have one for many. */
  #share(key: string, value: Buffer): void {
    const there = this.#tracker.actual.get(key);
    if (there !== undefined && there !== value && there.equals(value)) this.#tracker.setActual(key, value);
  }

  #failure(text: string, error: unknown): EntryFailure {
    const { name, maxEntries } = this.map;
    return { map: name, entry: this.#describe(keyBytes(text)), key: text, maxEntries, error };
  }
}
