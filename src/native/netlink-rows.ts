/**
 * Rows and events of netlink from the bytes that the addon packs off the event loop (`addon/src/netlink/packed.cc`: the same
 * fields in the same order). 20,000 routes become objects here in some ms; long lists are read in slices between which
 * other work runs.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type {
  AddressRow,
  LinkRow,
  NeighbourRow,
  NetlinkEvent,
  NextHopRow,
  RouteRow,
  RuleRow,
} from "./netlink-contract.ts";
import { WireReader } from "./wire.ts";

/** Rows that are read before other work gets its turn: about 1 ms. */
const sliceRows = 2048;
/** Events of a monitor that are told at once: about 1 ms with what their listener does. */
const sliceEvents = 256;

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

/** Neighbouring routes mostly leave by the same next hops: these are one object then, which is quick to make and to compare. */
export class RouteReader {
  #last: { readonly bytes: Buffer; readonly nextHops: readonly NextHopRow[] } | null = null;

  read(from: WireReader): RouteRow {
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
    const nextHops = this.#nextHops(from);
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

  #nextHops(from: WireReader): readonly NextHopRow[] {
    if (this.#last !== null && from.take(this.#last.bytes)) return this.#last.nextHops;
    const start = from.at;
    const nextHops: NextHopRow[] = [];
    for (let left = from.u16(); left > 0; left--) {
      const gateway = from.bytesOrNull();
      const index = from.u32();
      nextHops.push({ gateway, index, weight: from.u32() });
    }
    this.#last = { bytes: from.since(start), nextHops };
    return nextHops;
  }
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

/**
 * Batches of a monitor, told in slices and in their order: a batch may hold some thousand events, and each costs its listener more than being
 * read.
 */
export class EventSlices {
  readonly #onEvents: (events: readonly NetlinkEvent[]) => void;
  readonly #waiting: { readonly from: WireReader; left: number }[] = [];
  readonly #routes = new RouteReader();
  #isTurnAsked = false;
  #ended = false;

  constructor(onEvents: (events: readonly NetlinkEvent[]) => void) {
    this.#onEvents = onEvents;
  }

  take(bytes: Buffer): void {
    const from = new WireReader(bytes);
    this.#waiting.push({ from, left: from.u32() });
    if (!this.#isTurnAsked) this.#tell();
  }

  /** What waits is told no more. */
  end(): void {
    this.#ended = true;
  }

  #tell(): void {
    const [batch] = this.#waiting;
    if (batch === undefined || this.#ended) return;
    const count = Math.min(batch.left, sliceEvents);
    const events = Array.from({ length: count }, () => readEvent(batch.from, this.#routes));
    batch.left -= count;
    if (batch.left === 0) this.#waiting.shift();
    // Before the listener, which may fail: what waits is told all the same.
    if (this.#waiting.length > 0) {
      this.#isTurnAsked = true;
      setImmediate(() => {
        this.#isTurnAsked = false;
        this.#tell();
      });
    }
    this.#onEvents(events);
  }
}

function readEvent(from: WireReader, routes: RouteReader): NetlinkEvent {
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
      return { kind: "route", gone, row: routes.read(from) };
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
