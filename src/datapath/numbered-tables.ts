/** Tables that lie in a map piece by piece, under (number of the table, place in it): two u32, as `service_backend` and `maglev` have them. */
import { setImmediate } from "node:timers/promises";
import type { MapInfo } from "../native/bpf-contract.ts";
import type { MapNative } from "./map-table.ts";

/** Pieces that are looked at before others get their turn: less than a millisecond. */
const slicePieces = 8192;

export interface FoundTables {
  /** Pieces end to end, by number. A piece that is missing is all ones, which makes the table unlike any that is wanted. */
  readonly tables: ReadonlyMap<number, Buffer>;
  /** How many were not as they were believed to be. */
  readonly differing: number;
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
