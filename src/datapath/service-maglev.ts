/**
 * Maglev tables in the kernel: maglev (table, chunk -> 128 bytes of slots), under the number of the service's table of backends. All entries are
 * ours, and nobody reads a table before a service's value says how many slots it has. So a table is written before that and removed after it;
 * one that differs (an entry that somebody else changed, or another version's) is written over.
 *
 * A table follows from backends alone, so that those of equal services are computed once, and again only after a restart.
 */
import { setImmediate } from "node:timers/promises";
import type { MapInfo } from "../native/bpf-contract.ts";
import type { NativeBinding } from "../native/contract.ts";
import { MAGLEV_CHUNK, maglevKey } from "../native/layouts.gen.ts";
import type { Doubt } from "./comparison.ts";
import { type Counters, deletePacked, keyBytes, type MapNative, writePacked } from "./map-table.ts";
import { lookAtTables, readTables } from "./numbered-tables.ts";
import type { EntryFailure } from "./problems.ts";
import { type Encoded, frontendText, type Hashed } from "./service-encode.ts";

/** Slots that are filled before others get their turn: some milliseconds. */
const sliceSlots = 262_144;

export type ServiceNative = MapNative & Pick<NativeBinding, "maglevTable">;

/** A table that a service is to have. */
export interface WantedTable {
  readonly id: number;
  readonly encoded: Hashed;
}

interface MissingTable extends WantedTable {
  readonly bytes: Buffer;
}

export class MaglevTables {
  readonly map: MapInfo;
  readonly #native: ServiceNative;
  readonly #counters: Counters;
  /** Number -> chunks end to end, as they are in the kernel. */
  #tables = new Map<number, Buffer>();
  /** By what they follow from; those of the last `write`. */
  #known: ReadonlyMap<string, Buffer> = new Map();

  constructor(native: ServiceNative, map: MapInfo, counters: Counters) {
    this.#native = native;
    this.map = map;
    this.#counters = counters;
  }

  /** Entries of the map. */
  get entries(): number {
    let bytes = 0;
    for (const table of this.#tables.values()) bytes += table.length;
    return bytes / MAGLEV_CHUNK;
  }

  get ids(): Iterable<number> {
    return this.#tables.keys();
  }

  /** @returns how many tables were not as they were believed to be */
  async read(): Promise<number> {
    const { tables, differing } = await readTables(this.#native, this.map, this.#tables);
    this.#tables = new Map(tables);
    return differing;
  }

  look(): Promise<Doubt | null> {
    return lookAtTables(this.#native, this.map, () => this.#tables);
  }

  /**
   * Writes those that are not there. Where the map is full the largest are left out.
   * @returns which are not there, and why
   */
  async write(wanted: readonly WantedTable[]): Promise<ReadonlyMap<Encoded, EntryFailure>> {
    const known = new Map<string, Buffer>();
    const failures = new Map<Encoded, EntryFailure>();
    const smallestFirst = [...wanted].sort((a, b) => a.encoded.maglev.slots - b.encoded.maglev.slots);
    // While a thread writes some tables the next ones are filled here.
    let writing: Promise<ReadonlyMap<Encoded, EntryFailure>> = Promise.resolve(new Map());
    try {
      for (let at = 0; at < smallestFirst.length; ) {
        const missing: MissingTable[] = [];
        for (let filled = 0; filled < sliceSlots && at < smallestFirst.length; at++) {
          const table = smallestFirst[at];
          if (table === undefined) break;
          const { slots, topic } = table.encoded.maglev;
          let bytes = known.get(topic) ?? this.#known.get(topic);
          if (bytes === undefined) {
            filled += slots;
            bytes = this.#fill(table.encoded);
          }
          known.set(topic, bytes);
          if (this.#tables.get(table.id)?.equals(bytes) !== true) missing.push({ ...table, bytes });
        }
        for (const [encoded, failure] of await writing) failures.set(encoded, failure);
        writing = this.#writeMissing(missing);
        await setImmediate();
      }
    } finally {
      for (const [encoded, failure] of await writing) failures.set(encoded, failure);
    }
    this.#known = known;
    return failures;
  }

  /** Some more; those of the last `write` stay as they are. Computed anew for each change, so that nothing piles up. */
  add(wanted: readonly WantedTable[]): Promise<ReadonlyMap<Encoded, EntryFailure>> {
    const fresh = new Map<string, Buffer>();
    const missing = wanted.flatMap(({ id, encoded }): readonly MissingTable[] => {
      const { topic } = encoded.maglev;
      const bytes = this.#known.get(topic) ?? fresh.get(topic) ?? this.#fill(encoded);
      fresh.set(topic, bytes);
      return this.#tables.get(id)?.equals(bytes) === true ? [] : [{ id, encoded, bytes }];
    });
    return this.#writeMissing(missing);
  }

  #fill({ table, maglev: { weights, slots } }: Hashed): Buffer {
    return this.#native.maglevTable(table, weights, slots);
  }

  async #writeMissing(missing: readonly MissingTable[]): Promise<ReadonlyMap<Encoded, EntryFailure>> {
    const keys = Buffer.concat(missing.map(({ id, bytes }) => chunkKeys(id, bytes)));
    const values = Buffer.concat(missing.map(({ bytes }) => bytes));
    const surplus = missing.flatMap(({ id, bytes }) => {
      const before = this.#tables.get(id);
      return before === undefined ? [] : chunkKeys(id, before).subarray(chunkKeys(id, bytes).length);
    });
    const failed = await writePacked(this.#native, this.map, keys, values);
    const errors = new Map<number, unknown>();
    for (const [at, error] of failed) {
      this.#counters.failed(error);
      errors.set(maglevKey.decode(keys, at * maglevKey.size).service, error);
    }
    await deletePacked(this.#native, this.map, Buffer.concat(surplus));
    const failures = new Map<Encoded, EntryFailure>();
    for (const { id, encoded, bytes } of missing) {
      const error = errors.get(id);
      // What was written of it is to go: all ones are slots of no service.
      this.#tables.set(id, error === undefined ? bytes : Buffer.alloc(bytes.length, 0xff));
      if (error === undefined) {
        this.#counters.writes += bytes.length / MAGLEV_CHUNK;
        continue;
      }
      const { name, maxEntries } = this.map;
      const entry = `Maglev table of ${frontendText(keyBytes(encoded.key))}`;
      failures.set(encoded, { map: name, entry, maxEntries, error });
    }
    return failures;
  }

  /** @returns whether there were others than these */
  async removeOthers(used: ReadonlySet<number>): Promise<boolean> {
    const unused = [...this.#tables.keys()].filter((id) => !used.has(id));
    await this.remove(unused);
    return unused.length > 0;
  }

  /** Those of these that are there. */
  async remove(ids: readonly number[]): Promise<void> {
    const keys = Buffer.concat(ids.map((id) => chunkKeys(id, this.#tables.get(id) ?? Buffer.alloc(0))));
    await deletePacked(this.#native, this.map, keys);
    for (const id of ids) this.#tables.delete(id);
    this.#counters.writes += keys.length / maglevKey.size;
  }
}

/** End to end. */
function chunkKeys(service: number, table: Buffer): Buffer {
  const keys = Buffer.allocUnsafe((table.length / MAGLEV_CHUNK) * maglevKey.size);
  for (let chunk = 0; chunk * maglevKey.size < keys.length; chunk++)
    maglevKey.encodeInto(keys, chunk * maglevKey.size, { service, chunk });
  return keys;
}
