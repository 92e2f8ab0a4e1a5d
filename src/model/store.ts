/**
 * Holds the tables of facts and says what changed. Rows are immutable: a write replaces a row, a write of an equal row
 * changes nothing. In a snapshot, a table that did not change since the last one is the same object, and one that did shares with it
 * all that is equal (`lib/versioned-map.ts`), so that a snapshot costs what changed.
 */
import { VersionedMap } from "../lib/versioned-map.ts";
import type { TableName, TableRows } from "./tables.ts";

export type Table<K extends TableName> = ReadonlyMap<string, TableRows[K]>;

export type TableSnapshot = { readonly [K in TableName]: Table<K> };

export interface TableChange {
  readonly table: TableName;
  readonly key: string;
  readonly before: unknown;
  readonly after: unknown;
  readonly revision: number;
}

export const tableNames: readonly TableName[] = [
  "namespaces",
  "nodes",
  "pods",
  "services",
  "endpointSlices",
  "policies",
  "cidrGroups",
  "names",
  "localEndpoints",
  "uplinks",
  "localAddresses",
  "deviceAddresses",
  "routes",
  "nonMasquerade",
  "bgpPeers",
  "bgpPaths",
  "nodeHealth",
];

type Tables = { [K in TableName]: Map<string, TableRows[K]> };

export class TableStore {
  readonly #tables: Tables = {
    namespaces: new Map(),
    nodes: new Map(),
    pods: new Map(),
    services: new Map(),
    endpointSlices: new Map(),
    policies: new Map(),
    cidrGroups: new Map(),
    names: new Map(),
    localEndpoints: new Map(),
    uplinks: new Map(),
    localAddresses: new Map(),
    deviceAddresses: new Map(),
    routes: new Map(),
    nonMasquerade: new Map(),
    bgpPeers: new Map(),
    bgpPaths: new Map(),
    nodeHealth: new Map(),
  };
  readonly #versions: { [K in TableName]?: VersionedMap<string, TableRows[K]> } = {};
  /** Since the version; undefined: the row is gone. */
  readonly #unversioned = new Map<TableName, Map<string, unknown>>();
  readonly #listeners = new Set<(change: TableChange) => void>();
  readonly #owners = new Map<string, Set<string>>();
  #revision = 0;

  /** Grows by one with each change. */
  get revision(): number {
    return this.#revision;
  }

  table<K extends TableName>(name: K): Table<K> {
    return this.#tables[name];
  }

  snapshot(): TableSnapshot {
    return Object.fromEntries(tableNames.map((name) => [name, this.#version(name)])) as unknown as TableSnapshot;
  }

  upsert<K extends TableName>(name: K, key: string, row: TableRows[K]): void {
    const table = this.#tables[name];
    const before = table.get(key);
    if (before !== undefined && equalRows(before, row)) return;
    table.set(key, row);
    this.#changed(name, key, before, row);
  }

  delete(name: TableName, key: string): void {
    const before = this.#tables[name].get(key);
    if (before === undefined) return;
    this.#tables[name].delete(key);
    this.#changed(name, key, before, undefined);
  }

  /**
   * Makes the table hold these rows. With `owner`, only rows that this owner wrote before and no longer has are removed, so
   * that several sources can fill one table.
   */
  replaceAll<K extends TableName>(name: K, rows: ReadonlyMap<string, TableRows[K]>, owner?: string): void {
    const topic = `${name} ${owner ?? ""}`;
    const mine = owner === undefined ? this.#tables[name].keys() : (this.#owners.get(topic) ?? new Set<string>());
    for (const key of [...mine]) if (!rows.has(key)) this.delete(name, key);
    if (owner !== undefined) this.#owners.set(topic, new Set(rows.keys()));
    for (const [key, row] of rows) this.upsert(name, key, row);
  }

  /** Calls back after each change; returns the end of it. */
  onChange(listener: (change: TableChange) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #version<K extends TableName>(name: K): Table<K> {
    const changes = this.#unversioned.get(name) as ReadonlyMap<string, TableRows[K] | undefined> | undefined;
    const known = this.#versions[name] as VersionedMap<string, TableRows[K]> | undefined;
    if (known !== undefined && changes === undefined) return known;
    const version = known?.with(changes ?? []) ?? VersionedMap.from<string, TableRows[K]>(this.#tables[name]);
    this.#unversioned.delete(name);
    (this.#versions as Record<string, unknown>)[name] = version;
    return version;
  }

  #changed(table: TableName, key: string, before: unknown, after: unknown): void {
    if (this.#versions[table] !== undefined) {
      const changes = this.#unversioned.get(table) ?? new Map<string, unknown>();
      changes.set(key, after);
      this.#unversioned.set(table, changes);
    }
    const change = { table, key, before, after, revision: ++this.#revision };
    for (const listener of this.#listeners) listener(change);
  }
}

/** Deep equality of plain data: objects, arrays, byte arrays and primitives. */
export function equalRows(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (a instanceof Uint8Array || b instanceof Uint8Array)
    return (
      a instanceof Uint8Array && b instanceof Uint8Array && a.length === b.length && a.every((byte, i) => byte === b[i])
    );
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return false;
  return keys.every(
    (key) =>
      Object.hasOwn(b, key) && equalRows((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]),
  );
}
