/**
 * Services in the kernel: service4/6 (address, port, protocol, kind of client -> table) and service_backend (table, slot -> backend). All entries are ours. A
 * change of backends fills a new table under a fresh id, switches the service with one write, and removes the old table last, so a
 * reader never sees half of a table. A service without backends has table 0. Which clients outside may use it (`source-ranges.ts`) is there
 * before the service says that it is not for all, and goes after that.
 *
 * A restarted agent reads all of it and keeps the id of a table whose content is still wanted, so that clients' choices, which conntrack
 * keeps under that id, stay. While the agent is away services go on as they are; a half-written table is used by nobody and removed.
 */
import { setImmediate } from "node:timers/promises";
import type { DesiredFrontend } from "../compute/desired.ts";
import { addressFromBytes, toMappedBytes } from "../model/ip.ts";
import type { MapInfo } from "../native/contract.ts";
import {
  type MapName,
  ServiceFlags,
  ServiceScope,
  type Service,
  service,
  service4Key,
  service6Key,
  serviceBackend,
  serviceBackendKey,
} from "../native/layouts.gen.ts";
import { addressNumber } from "./addresses.ts";
import {
  Counters,
  deleteEntries,
  keyText,
  type MapNative,
  MapTable,
  readEntries,
  sameRows,
  writeEntries,
} from "./map-table.ts";
import { type EntryFailure, isFull } from "./problems.ts";
import { type Restricted, SourceRangeReconciler } from "./source-ranges.ts";

/** What a frontend needs in the kernel, but for the number of its table. */
interface Encoded {
  readonly family: 4 | 6;
  readonly key: string;
  /** Values of the slots, end to end. */
  readonly table: Buffer;
  readonly count: number;
  readonly flags: number;
  readonly affinitySeconds: number;
  /** Of clients outside those who may use it; null: all. */
  readonly sources: Restricted["sources"] | null;
}

/** A table that is to be written under an id of its own. */
interface NewTable {
  readonly id: number;
  readonly encoded: Encoded;
}

/** Entries that are read before others get their turn. */
const sliceEntries = 4096;
const slotBytes = serviceBackend.size;

export class ServiceReconciler {
  readonly counters = new Counters();
  readonly #native: MapNative;
  readonly #backends: MapInfo;
  readonly #frontends: { readonly 4: MapTable; readonly 6: MapTable };
  readonly sourceRanges: SourceRangeReconciler;
  /** Table id -> slots end to end, as they are in the kernel. */
  readonly #tables = new Map<number, Buffer>();
  readonly #encoded = new WeakMap<DesiredFrontend, readonly Encoded[]>();
  #last: readonly DesiredFrontend[] | null = null;
  #slots = 0;
  #next = 1;

  constructor(native: MapNative, map: (name: MapName) => MapInfo) {
    this.#native = native;
    this.#backends = map("service_backend");
    this.#frontends = {
      4: new MapTable(native, map("service4"), this.counters, frontendText),
      6: new MapTable(native, map("service6"), this.counters, frontendText),
    };
    this.sourceRanges = new SourceRangeReconciler(native, map, this.counters, frontendText);
  }

  get tables(): readonly MapTable[] {
    return [this.#frontends[4], this.#frontends[6]];
  }

  get backendSlots(): number {
    return this.#slots;
  }

  /** Conntrack remembers tables; a number that it knows is not given to another one. */
  reserve(id: number): void {
    this.#next = Math.max(this.#next, id + 1);
  }

  /** @returns how many entries and tables were not as they were believed to be */
  async read(): Promise<number> {
    let differing = (await this.#frontends[4].read()) + (await this.#frontends[6].read());
    differing += await this.sourceRanges.read();
    const slots = new Map<number, Map<number, Buffer>>();
    for (const [index, { key, value }] of (await readEntries(this.#native, this.#backends)).entries()) {
      if (index % sliceEntries === sliceEntries - 1) await setImmediate();
      const { service: id, slot } = serviceBackendKey.decode(key);
      const table = slots.get(id) ?? new Map<number, Buffer>();
      table.set(slot, Buffer.from(value));
      slots.set(id, table);
    }
    const before = new Map(this.#tables);
    this.#tables.clear();
    this.#slots = 0;
    for (const [id, bySlot] of slots) {
      // A hole makes the table unlike any that is wanted, so that it is replaced.
      const length = Math.max(...bySlot.keys()) + 1;
      const table = Buffer.concat(
        Array.from({ length }, (_, slot) => bySlot.get(slot) ?? Buffer.alloc(slotBytes, 0xff)),
      );
      this.#tables.set(id, table);
      this.#slots += length;
      this.reserve(id);
      if (before.get(id)?.equals(table) !== true) differing++;
    }
    for (const id of before.keys()) if (!this.#tables.has(id)) differing++;
    for (const { id } of this.#known()) this.reserve(id);
    this.#last = null;
    return differing;
  }

  async apply(desired: readonly DesiredFrontend[]): Promise<readonly EntryFailure[]> {
    if (sameRows(desired, this.#last)) return [];
    const first = await this.#pass(desired);
    // Old tables went last: where there was no room for new ones, there may be now.
    const failures =
      first.removed && first.failures.some(({ error }) => isFull(error))
        ? (await this.#pass(desired)).failures
        : first.failures;
    this.#last = failures.length === 0 ? desired : null;
    return failures;
  }

  async #pass(desired: readonly DesiredFrontend[]): Promise<{ failures: readonly EntryFailure[]; removed: boolean }> {
    const wanted = new Map<string, Encoded>();
    for (const frontend of desired) {
      for (const encoded of this.#encode(frontend)) {
        // Two services of one address and port: the first one has it, whatever order they came in.
        const place = `${encoded.family}${encoded.key}`;
        if (!wanted.has(place)) wanted.set(place, encoded);
      }
    }
    const ids = new Map<Encoded, number>();
    const fresh: NewTable[] = [];
    for (const encoded of wanted.values()) {
      const kept = this.#keptTable(encoded);
      if (kept === null) fresh.push({ id: this.#next++, encoded });
      else ids.set(encoded, kept);
    }
    const failures: EntryFailure[] = [...(await this.sourceRanges.write(restrictedOf(wanted.values())))];
    failures.push(...(await this.#writeTables(fresh, ids)));

    const entries = { 4: new Map<string, Buffer>(), 6: new Map<string, Buffer>() };
    for (const encoded of wanted.values()) {
      const id = ids.get(encoded);
      const before = this.#frontends[encoded.family].actual.get(encoded.key);
      if (id !== undefined) entries[encoded.family].set(encoded.key, serviceValue(encoded, id));
      // Its new table found no room: it goes on with the one that it has, for those who may use it now.
      else if (before !== undefined) entries[encoded.family].set(encoded.key, restrictedAs(before, encoded));
    }
    for (const family of [4, 6] as const) {
      this.#frontends[family].replaceDesired(entries[family]);
      failures.push(...(await this.#frontends[family].sync()));
    }
    failures.push(...(await this.sourceRanges.remove()));
    return { failures, removed: await this.#removeUnused() };
  }

  /** The table that the service has already, if it is the wanted one. */
  #keptTable({ family, key, table, count }: Encoded): number | null {
    if (count === 0) return 0;
    const before = this.#frontends[family].actual.get(key);
    if (before === undefined) return null;
    const { id } = service.decode(before);
    return this.#tables.get(id)?.equals(table) === true ? id : null;
  }

  async #writeTables(tables: readonly NewTable[], ids: Map<Encoded, number>): Promise<readonly EntryFailure[]> {
    const failures = await this.#writeTogether(tables, ids);
    if (failures.length === 0 || tables.length === 1) return failures;
    // A table that found no room may have kept out others that fit: those that failed try again, one by one.
    const again: EntryFailure[] = [];
    for (const table of tables.filter(({ encoded }) => !ids.has(encoded))) {
      again.push(...(await this.#writeTogether([table], ids)));
    }
    return again;
  }

  async #writeTogether(tables: readonly NewTable[], ids: Map<Encoded, number>): Promise<readonly EntryFailure[]> {
    const entries = tables.flatMap(({ id, encoded }) =>
      Array.from({ length: encoded.count }, (_, slot) => ({
        id,
        key: serviceBackendKey.encode({ service: id, slot }),
        value: encoded.table.subarray(slot * slotBytes, (slot + 1) * slotBytes),
      })),
    );
    const failed = new Map<number, unknown>();
    for (const [index, error] of await writeEntries(this.#native, this.#backends, entries, () => false)) {
      this.counters.failed(error);
      const id = entries[index]?.id;
      if (id !== undefined) failed.set(id, error);
    }
    const failures: EntryFailure[] = [];
    for (const { id, encoded } of tables) {
      const error = failed.get(id);
      if (error === undefined) {
        ids.set(encoded, id);
        this.#tables.set(id, encoded.table);
        this.#slots += encoded.count;
        this.counters.writes += encoded.count;
        continue;
      }
      await deleteEntries(this.#native, this.#backends, slotKeys(id, encoded.count));
      const { name, maxEntries } = this.#backends;
      failures.push({
        map: name,
        entry: `backends of ${frontendText(Buffer.from(encoded.key, "latin1"))}`,
        maxEntries,
        error,
      });
    }
    return failures;
  }

  async #removeUnused(): Promise<boolean> {
    const used = new Set(this.#known().map(({ id }) => id));
    const unused = [...this.#tables].filter(([id]) => !used.has(id));
    const keys = unused.flatMap(([id, table]) => slotKeys(id, table.length / slotBytes));
    await deleteEntries(this.#native, this.#backends, keys);
    for (const [id] of unused) this.#tables.delete(id);
    this.#slots -= keys.length;
    this.counters.writes += keys.length;
    return unused.length > 0;
  }

  #known(): readonly Service[] {
    return this.tables.flatMap(({ actual }) => [...actual.values()].map((value) => service.decode(value)));
  }

  /** An entry for clients of each kind. Rows that are the same object are encoded once. */
  #encode(frontend: DesiredFrontend): readonly Encoded[] {
    const known = this.#encoded.get(frontend);
    if (known !== undefined) return known;
    const { backends, outside } = frontend;
    const inside = encode(frontend, ServiceScope.inside, backends);
    const encoded = outside === undefined ? [inside] : [inside, encode(frontend, ServiceScope.outside, outside)];
    this.#encoded.set(frontend, encoded);
    return encoded;
  }
}

function encode(
  { address, port, protocol, external, affinitySeconds, sources, directReturn = false }: DesiredFrontend,
  scope: number,
  backends: DesiredFrontend["backends"],
): Encoded {
  const place = { port, protocol, scope };
  const key =
    address.family === 4
      ? service4Key.encode({ address: addressNumber(address), ...place })
      : service6Key.encode({ address: address.bytes, ...place });
  const table = Buffer.alloc(backends.length * slotBytes);
  for (const [slot, backend] of backends.entries()) {
    const value = { address: toMappedBytes(backend.address), port: backend.port };
    serviceBackend.encodeInto(table, slot * slotBytes, value);
  }
  return {
    family: address.family,
    key: keyText(key),
    table,
    count: backends.length,
    flags:
      (external ? ServiceFlags.external : 0) |
      (affinitySeconds === null ? 0 : ServiceFlags.affinity) |
      (scope === ServiceScope.outside && sources !== undefined ? ServiceFlags.ranges : 0) |
      (directReturn && scope === ServiceScope.outside ? ServiceFlags.dsr : 0),
    affinitySeconds: affinitySeconds ?? 0,
    sources: scope === ServiceScope.outside ? (sources ?? null) : null,
  };
}

function restrictedOf(encoded: Iterable<Encoded>): readonly Restricted[] {
  const restricted: Restricted[] = [];
  for (const { family, key, sources } of encoded) if (sources !== null) restricted.push({ family, key, sources });
  return restricted;
}

function restrictedAs(value: Buffer, { flags }: Encoded): Buffer {
  const before = service.decode(value);
  return service.encode({ ...before, flags: (before.flags & ~ServiceFlags.ranges) | (flags & ServiceFlags.ranges) });
}

function serviceValue({ count, flags, affinitySeconds }: Encoded, id: number): Buffer {
  return service.encode({ id, backends: count, flags, affinitySeconds });
}

function slotKeys(id: number, count: number): readonly Buffer[] {
  return Array.from({ length: count }, (_, slot) => serviceBackendKey.encode({ service: id, slot }));
}

function frontendText(key: Buffer): string {
  const wide = key.length === service6Key.size;
  const address = addressFromBytes(key.subarray(0, wide ? 16 : 4)).text;
  const { port, protocol } = wide ? service6Key.decode(key) : service4Key.decode(key);
  return `service ${wide ? `[${address}]` : address}:${port}/${protocol}`;
}
