/**
 * Services in the kernel: service4/6 (address, port, protocol, kind of client -> table) and service_backend (table, slot -> backend). All entries are ours. A
 * change of backends fills a new table under a fresh id, and what a hash picks from it (`service-maglev.ts`), switches the service with one
 * write, and removes the old table last, so a reader never sees half of a table. A service without backends has table 0. One whose Maglev table
 * found no room goes without, and says so. Which clients outside may use it (`source-ranges.ts`) is there before the service says that it is not
 * for all, and goes after that.
 *
 * A restarted agent reads all of it and keeps the id of a table whose content is still wanted, so that clients' choices, which conntrack
 * keeps under that id, stay. While the agent is away services go on as they are; a half-written table is used by nobody and removed.
 */
import type { DesiredFrontend } from "../compute/desired.ts";
import type { MapInfo } from "../native/bpf-contract.ts";
import { type MapName, SERVICE_MAGLEV_SHIFT, type Service, service, serviceBackendKey } from "../native/layouts.gen.ts";
import { type Doubt, firstDoubt } from "./comparison.ts";
import { Counters, deletePacked, MapTable, writePacked } from "./map-table.ts";
import { lookAtTables, readTables } from "./numbered-tables.ts";
import { type EntryFailure, isFull } from "./problems.ts";
import { type FrontendChanges, type RowChanges, rowChanges } from "./row-changes.ts";
import {
  type Encoded,
  encodeFrontend,
  frontendAddress,
  frontendText,
  hasMaglev,
  restrictedAs,
  restrictedOf,
  serviceValue,
  slotBytes,
  slotKeys,
} from "./service-encode.ts";
import { MaglevTables, type ServiceNative } from "./service-maglev.ts";
import { SourceRangeReconciler } from "./source-ranges.ts";

/** A table that is to be written under an id of its own. */
interface NewTable {
  readonly id: number;
  readonly encoded: Encoded;
}

/** Up to so many changed frontends are written by themselves; of more, all are looked at. */
const fewFrontends = 256;

const isEmpty = ({ gone, come }: RowChanges<unknown>) => gone.length + come.length === 0;

const placeOf = ({ family, key }: Encoded) => `${family}${key}`;

export class ServiceReconciler {
  readonly counters = new Counters();
  readonly #native: ServiceNative;
  readonly #changes: FrontendChanges;
  readonly #backends: MapInfo;
  readonly #frontends: { readonly 4: MapTable; readonly 6: MapTable };
  readonly sourceRanges: SourceRangeReconciler;
  readonly #maglev: MaglevTables;
  /** Table id -> slots end to end, as they are in the kernel. */
  #tables = new Map<number, Buffer>();
  readonly #encoded = new WeakMap<DesiredFrontend, readonly Encoded[]>();
  /** What the kernel has, whole and without failures; null: not known. */
  #last: readonly DesiredFrontend[] | null = null;
  /** Two of the last frontends wanted one place. */
  #contested = false;
  #slots = 0;
  #next = 1;

  constructor(native: ServiceNative, map: (name: MapName) => MapInfo, changes: FrontendChanges = rowChanges) {
    this.#native = native;
    this.#changes = changes;
    this.#backends = map("service_backend");
    this.#frontends = {
      4: new MapTable(native, map("service4"), this.counters, frontendText),
      6: new MapTable(native, map("service6"), this.counters, frontendText),
    };
    this.sourceRanges = new SourceRangeReconciler(native, map, this.counters, frontendText);
    this.#maglev = new MaglevTables(native, map("maglev"), this.counters);
  }

  get tables(): readonly MapTable[] {
    return [this.#frontends[4], this.#frontends[6]];
  }

  get backendSlots(): number {
    return this.#slots;
  }

  get maglevEntries(): number {
    return this.#maglev.entries;
  }

  /** Conntrack remembers tables; a number that it knows is not given to another one. */
  reserve(id: number): void {
    this.#next = Math.max(this.#next, id + 1);
  }

  /** @returns how many entries and tables were not as they were believed to be */
  async read(): Promise<number> {
    let differing = (await this.#frontends[4].read()) + (await this.#frontends[6].read());
    differing += await this.sourceRanges.read();
    differing += await this.#maglev.read();
    const found = await readTables(this.#native, this.#backends, this.#tables);
    differing += found.differing;
    // All is as it was left: the next change costs what it changes.
    if (differing === 0 && this.#last !== null) return 0;
    this.#tables = new Map(found.tables);
    this.#slots = 0;
    for (const table of this.#tables.values()) this.#slots += table.length / slotBytes;
    for (const ids of [this.#maglev.ids, this.#tables.keys()]) for (const id of ids) this.reserve(id);
    for (const { id } of this.#known()) this.reserve(id);
    this.#last = null;
    return differing;
  }

  /** Of all but the source ranges. */
  look(): Promise<Doubt | null> {
    return firstDoubt([
      ...this.tables.map((table) => () => table.look()),
      () => lookAtTables(this.#native, this.#backends, () => this.#tables),
      () => this.#maglev.look(),
    ]);
  }

  /** These alone: they are few. @returns as `read` does */
  async readSourceRanges(): Promise<number> {
    const differing = await this.sourceRanges.read();
    if (differing > 0) this.#last = null;
    return differing;
  }

  async apply(desired: readonly DesiredFrontend[]): Promise<readonly EntryFailure[]> {
    const changes = this.#last === null ? null : this.#changes(this.#last, desired);
    if (changes !== null && (desired === this.#last || (isEmpty(changes) && !this.#contested))) {
      this.#last = desired;
      return [];
    }
    this.#last = null;
    if (changes !== null && (await this.#applyFew(changes))) {
      this.#last = desired;
      return [];
    }
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
    let contested = false;
    for (const frontend of desired) {
      for (const encoded of this.#encode(frontend)) {
        // Two services of one address and port: the first one has it, whatever order they came in.
        const place = placeOf(encoded);
        if (wanted.has(place)) contested = true;
        else wanted.set(place, encoded);
      }
    }
    this.#contested = contested;
    const ids = new Map<Encoded, number>();
    const fresh: NewTable[] = [];
    for (const encoded of wanted.values()) {
      const kept = this.#keptTable(encoded);
      if (kept === null) fresh.push({ id: this.#next++, encoded });
      else ids.set(encoded, kept);
    }
    const failures: EntryFailure[] = [...ofServices(await this.sourceRanges.write(restrictedOf(wanted.values())))];
    failures.push(...(await this.#writeTables(fresh, ids)));
    const tables = [...ids].flatMap(([encoded, id]) => (hasMaglev(encoded) ? [{ id, encoded }] : []));
    const withoutTable = await this.#maglev.write(tables);
    failures.push(...withoutTable.values());

    const entries = { 4: new Map<string, Buffer>(), 6: new Map<string, Buffer>() };
    for (const encoded of wanted.values()) {
      const id = ids.get(encoded);
      const before = this.#frontends[encoded.family].actual.get(encoded.key);
      const slots = withoutTable.has(encoded) ? 0 : (encoded.maglev?.slots ?? 0);
      if (id !== undefined) entries[encoded.family].set(encoded.key, serviceValue(encoded, id, slots));
      // Its new table found no room: it goes on with the one that it has, for those who may use it now.
      else if (before !== undefined) entries[encoded.family].set(encoded.key, restrictedAs(before, encoded));
    }
    for (const family of [4, 6] as const) {
      this.#frontends[family].replaceDesired(entries[family]);
      failures.push(...ofServices(await this.#frontends[family].sync()));
    }
    failures.push(...(await this.sourceRanges.remove()));
    return { failures, removed: await this.#removeUnused() };
  }

  /**
   * A change of a few frontends costs what they have, not what there is: the common case, as endpoints come and go one by one.
   * @returns false: it is not so simple, or something failed; all have to be looked at, which mends whatever was left half done
   */
  async #applyFew({ gone, come }: RowChanges<DesiredFrontend>): Promise<boolean> {
    if (this.#contested || gone.length + come.length > fewFrontends) return false;
    const before = new Map(gone.flatMap((each) => this.#encode(each)).map((encoded) => [placeOf(encoded), encoded]));
    const after = come.flatMap((each) => this.#encode(each));
    const places = new Set(after.map(placeOf));
    const isTaken = (encoded: Encoded) =>
      !before.has(placeOf(encoded)) && this.#frontends[encoded.family].actual.has(encoded.key);
    if (places.size < after.length || after.some(isTaken)) return false;
    // Lists are shared among services.
    if ([...before.values(), ...after].some(({ sources }) => sources !== null)) return false;

    const ids = new Map<Encoded, number>();
    const fresh: NewTable[] = [];
    for (const encoded of after) {
      const kept = this.#keptTable(encoded);
      if (kept === null) fresh.push({ id: this.#next++, encoded });
      else ids.set(encoded, kept);
    }
    if ((await this.#writeTogether(fresh, ids)).length > 0) return false;
    const tables = [...ids].flatMap(([encoded, id]) => (hasMaglev(encoded) ? [{ id, encoded }] : []));
    if ((await this.#maglev.add(tables)).size > 0) return false;

    const replaced = [...before.values(), ...after].flatMap(({ family, key }) => {
      const value = this.#frontends[family].actual.get(key);
      return value === undefined ? [] : [service.decode(value).id];
    });
    for (const [place, { family, key }] of before) if (!places.has(place)) this.#frontends[family].deleteDesired(key);
    for (const [encoded, id] of ids) {
      const slots = encoded.maglev?.slots ?? 0;
      this.#frontends[encoded.family].setDesired(encoded.key, serviceValue(encoded, id, slots));
    }
    for (const family of [4, 6] as const) if ((await this.#frontends[family].sync()).length > 0) return false;
    const hashed = new Set(tables.map(({ id }) => id));
    const used = new Set(ids.values());
    const left = [...new Set(replaced)];
    await this.#removeTables(left.filter((id) => !used.has(id)));
    await this.#maglev.remove(left.filter((id) => !hashed.has(id)));
    return true;
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
    const keys = Buffer.concat(tables.map(({ id, encoded }) => slotKeys(id, encoded.count)));
    const values = Buffer.concat(tables.map(({ encoded }) => encoded.table));
    const failed = new Map<number, unknown>();
    for (const [at, error] of await writePacked(this.#native, this.#backends, keys, values)) {
      this.counters.failed(error);
      failed.set(serviceBackendKey.decode(keys, at * serviceBackendKey.size).service, error);
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
      await deletePacked(this.#native, this.#backends, slotKeys(id, encoded.count));
      const { name, maxEntries } = this.#backends;
      const key = Buffer.from(encoded.key, "latin1");
      failures.push({
        map: name,
        entry: `backends of ${frontendText(key)}`,
        service: frontendAddress(key),
        maxEntries,
        error,
      });
    }
    return failures;
  }

  async #removeUnused(): Promise<boolean> {
    const services = this.#known();
    const used = new Set(services.map(({ id }) => id));
    const unused = [...this.#tables.keys()].filter((id) => !used.has(id));
    await this.#removeTables(unused);
    const hashed = services.filter(({ flags }) => flags >>> SERVICE_MAGLEV_SHIFT > 0);
    const maglev = await this.#maglev.removeOthers(new Set(hashed.map(({ id }) => id)));
    return unused.length > 0 || maglev;
  }

  async #removeTables(ids: readonly number[]): Promise<void> {
    const keys = Buffer.concat(ids.map((id) => slotKeys(id, (this.#tables.get(id)?.length ?? 0) / slotBytes)));
    await deletePacked(this.#native, this.#backends, keys);
    for (const id of ids) this.#tables.delete(id);
    const count = keys.length / serviceBackendKey.size;
    this.#slots -= count;
    this.counters.writes += count;
  }

  #known(): readonly Service[] {
    return this.tables.flatMap(({ actual }) => [...actual.values()].map((value) => service.decode(value)));
  }

  /** Rows that are the same object are encoded once. */
  #encode(frontend: DesiredFrontend): readonly Encoded[] {
    const known = this.#encoded.get(frontend);
    if (known !== undefined) return known;
    const encoded = encodeFrontend(frontend);
    this.#encoded.set(frontend, encoded);
    return encoded;
  }
}

const frontendMaps: ReadonlySet<string> = new Set(["service4", "service6", "source_rule4", "source_rule6"]);

/** Of maps by frontend it is known whose clients are concerned. */
function ofServices(failures: readonly EntryFailure[]): readonly EntryFailure[] {
  return failures.map((failure) =>
    failure.key !== undefined && frontendMaps.has(failure.map)
      ? { ...failure, service: frontendAddress(Buffer.from(failure.key, "latin1")) }
      : failure,
  );
}
