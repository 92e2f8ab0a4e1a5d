/** Tables that lie in a map piece by piece, under (number of the table, place in it): two u32, as `service_backend` and `maglev` have them. */
import { setImmediate } from "node:timers/promises";
import type { MapInfo } from "../native/bpf-contract.ts";
import type { Doubt } from "./comparison.ts";
import type { MapNative } from "./map-table.ts";

/** Pieces that are looked at before others get their turn: less than a millisecond. */
const slicePieces = 1024;

export interface FoundTables {
  /** Pieces end to end, by number. A piece that is missing is all ones, which makes the table unlike any that is wanted. */
  readonly tables: ReadonlyMap<number, Buffer>;
  /** How many were not as they were believed to be. */
  readonly differing: number;
}

/**
 * As `comparison.ts` says.
 * @param known is asked again and again: tables come and go meanwhile
 */
export async function lookAtTables(
  native: Pick<MapNative, "mapDump" | "mapLookup">,
  map: MapInfo,
  known: () => ReadonlyMap<number, Buffer>,
): Promise<Doubt | null> {
  const { handle, valueSize: size } = map;
  const { keys, values, count } = await native.mapDump(handle);
  /** Bytes of tables that are not seen to be right yet: what was left there and is in the dump makes 0. */
  const left = new Map([...known()].map(([number, table]) => [number, table.length]));
  /** One more than the last place seen of a table that looks different. */
  const odd = new Map<number, number>();
  for (let entry = 0; entry < count; entry++) {
    if (entry % slicePieces === slicePieces - 1) await setImmediate();
    const number = keys.readUInt32LE(entry * 8);
    const place = keys.readUInt32LE(entry * 8 + 4);
    const table = known().get(number);
    const start = place * size;
    const isRight =
      table !== undefined &&
      start + size <= table.length &&
      values.compare(table, start, start + size, entry * size, (entry + 1) * size) === 0;
    if (isRight) left.set(number, (left.get(number) ?? 0) - size);
    else odd.set(number, Math.max(odd.get(number) ?? 0, place + 1));
  }
  for (const [number, bytes] of left) if (bytes !== 0 && !odd.has(number)) odd.set(number, 0);
  if (odd.size === 0) return null;
  const isAsLeft = ([number, seen]: readonly [number, number]) => {
    const table = known().get(number) ?? Buffer.alloc(0);
    for (let place = 0; place < Math.max(seen, table.length / size); place++) {
      const key = Buffer.alloc(8);
      key.writeUInt32LE(number, 0);
      key.writeUInt32LE(place, 4);
      const there = native.mapLookup(handle, key) ?? Buffer.alloc(0);
      if (!there.equals(table.subarray(place * size, (place + 1) * size))) return false;
    }
    return true;
  };
  return () => [...odd].some((each) => !isAsLeft(each));
}

/**
 * Everything that is in the map now. Nearly always that is what was believed: it is compared in place, and only tables that differ are put together.
 * @param known what is believed; its buffers are given back where they are right
 */
export async function readTables(
  native: Pick<MapNative, "mapDump">,
  { handle, valueSize: size }: MapInfo,
  known: ReadonlyMap<number, Buffer>,
): Promise<FoundTables> {
  const { keys, values, count } = await native.mapDump(handle);
  const numberAt = (entry: number) => keys.readUInt32LE(entry * 8);
  const placeAt = (entry: number) => keys.readUInt32LE(entry * 8 + 4);
  /** Pieces that are as believed, by number. */
  const right = new Map<number, number>();
  const odd = new Set<number>();
  for (let entry = 0; entry < count; entry++) {
    if (entry % slicePieces === slicePieces - 1) await setImmediate();
    const number = numberAt(entry);
    const table = known.get(number);
    const start = placeAt(entry) * size;
    const isRight =
      table !== undefined &&
      start + size <= table.length &&
      values.compare(table, start, start + size, entry * size, (entry + 1) * size) === 0;
    if (isRight) right.set(number, (right.get(number) ?? 0) + size);
    else odd.add(number);
  }
  const tables = new Map<number, Buffer>();
  let differing = 0;
  for (const [number, table] of known) {
    if (!odd.has(number) && right.get(number) === table.length) tables.set(number, table);
    else if (right.has(number)) odd.add(number);
    else if (!odd.has(number)) differing++;
  }
  const pieces = new Map<number, Map<number, Buffer>>();
  for (let entry = 0; odd.size > 0 && entry < count; entry++) {
    if (entry % slicePieces === slicePieces - 1) await setImmediate();
    const number = numberAt(entry);
    if (!odd.has(number)) continue;
    const found = pieces.get(number) ?? new Map<number, Buffer>();
    found.set(placeAt(entry), values.subarray(entry * size, (entry + 1) * size));
    pieces.set(number, found);
  }
  const hole = Buffer.alloc(size, 0xff);
  for (const [number, found] of pieces) {
    const length = Math.max(...found.keys()) + 1;
    tables.set(number, Buffer.concat(Array.from({ length }, (_, place) => found.get(place) ?? hole)));
    differing++;
  }
  return { tables, differing };
}
