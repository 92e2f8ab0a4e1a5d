/**
 * Rows and events of netlink from the bytes that the addon packs off the event loop (`addon/src/netlink/packed.cc`: the same
 * fields in the same order). 20,000 routes become objects here in some ms; long lists are read in slices between which
 * other work runs.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { AddressRow, LinkRow, NeighbourRow, NetlinkEvent, NextHopRow, RouteRow, RuleRow } from "./contract.ts";
import { WireReader } from "./wire.ts";

/** Rows that are read before other work gets its turn: about 1 ms. */
const sliceRows = 2048;

export function readLink(from: WireReader): LinkRow {
  const [index, mtu, flags, type] = [from.u32(), from.u32(), from.u32(), from.u32()];
  const [operstate, peerIndex, master] = [from.u32(), from.u32(), from.u32()];
  const [name, kind, alias] = [from.text(), from.text(), from.text()];
  return { index, name, kind, mtu, flags, type, address: from.bytes(), operstate, peerIndex, master, alias };
}

export function readAddress(from: WireReader): AddressRow {
  const index = from.u32();
  const flags = from.u32();
  const family = readFamily(from);
  const prefixLength = from.u8();
  const scope = from.u8();
  return { index, family, address: from.bytes(), prefixLength, scope, flags };
}

export function readRoute(from: WireReader): RouteRow {
  const family = readFamily(from);
  const prefixLength = from.u8();
  const protocol = from.u8();
  const scope = from.u8();
  const type = from.u8();
  const table = from.u32();
  const metric = from.u32();
  const mtu = from.u32();
  const destination = from.bytes();
  const source = from.bytesOrNull();
  const nextHops: NextHopRow[] = [];
  for (let left = from.u16(); left > 0; left--) {
    const gateway = from.bytesOrNull();
    const index = from.u32();
    nextHops.push({ gateway, index, weight: from.u32() });
  }
  return {
    family,
    destination,
    prefixLength,
    table,
    protocol,
    scope,
    type,
    metric,
    source,
    nextHops,
    mtu: mtu === 0 ? null : mtu,
  };
}

export function readRule(from: WireReader): RuleRow {
  const family = readFamily(from);
  const sourceLength = from.u8();
  const action = from.u8();
  const [priority, table, mark, mask] = [from.u32(), from.u32(), from.u32(), from.u32()];
  const source = from.bytesOrNull();
  return { family, priority, table, source, sourceLength, mark, mask, iif: from.text(), action };
}

export function readNeighbour(from: WireReader): NeighbourRow {
  const index = from.u32();
  const state = from.u32();
  const family = readFamily(from);
  const address = from.bytes();
  return { index, family, address, lladdr: from.bytes(), state };
}

/** A whole list. */
export async function readRows<Row>(bytes: Buffer, read: (from: WireReader) => Row): Promise<readonly Row[]> {
  const from = new WireReader(bytes);
  const rows: Row[] = [];
  for (let left = from.u32(); left > 0; left--) {
    rows.push(read(from));
    if (rows.length % sliceRows === 0) await nextTurn();
  }
  if (!from.ended) throw new Error("the addon and this program disagree on rows: build both again");
  return rows;
}

/** One batch of a monitor (at most some thousand). */
export function readEvents(bytes: Buffer): readonly NetlinkEvent[] {
  const from = new WireReader(bytes);
  return Array.from({ length: from.u32() }, () => readEvent(from));
}

function readEvent(from: WireReader): NetlinkEvent {
  const kind = from.u8();
  const gone = from.u8() !== 0;
  switch (kind) {
    case 0:
      return { kind: "resync" };
    case 1:
      return { kind: "link", gone, row: readLink(from) };
    case 2:
      return { kind: "address", gone, row: readAddress(from) };
    case 3:
      return { kind: "route", gone, row: readRoute(from) };
    case 4:
      return { kind: "rule", gone, row: readRule(from) };
    case 5:
      return { kind: "neighbour", gone, row: readNeighbour(from) };
    default:
      throw new Error(`the addon sent an event of kind ${kind}: build it again`);
  }
}

function readFamily(from: WireReader): 4 | 6 {
  return from.u8() === 6 ? 6 : 4;
}
