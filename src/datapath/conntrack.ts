/**
 * Housekeeping of conntrack: entries of flows that timed out are removed, on a timer and off the event loop; nothing else of these maps is
 * written from here. The programs treat timed-out entries as absent by themselves, so without an agent only memory grows, and the
 * maps, being LRU, bound that.
 */
import { setImmediate } from "node:timers/promises";
import { type Address, addressFromBytes, fromMappedBytes } from "../model/ip.ts";
import type { ConntrackTimeouts, MapInfo } from "../native/bpf-contract.ts";
import type { NativeBinding } from "../native/contract.ts";
import { affinity, type CtEntry, CtFlags, ct4Key, ct6Key, ctEntry, mapLayouts } from "../native/layouts.gen.ts";
import { addressOfNumber } from "./addresses.ts";
import { isEnding, stateOf } from "./flow-state.ts";
import { readEntries } from "./map-table.ts";
import type { Endpoint, KernelFlow } from "./report.ts";

type ConntrackNative = Pick<NativeBinding, "mapDump" | "sweepConntrack">;

const [egressOffset, ingressOffset, tableOffset] = (["egress_revision", "ingress_revision", "nat_id"] as const).map(
  (name) => {
    const member = mapLayouts.ct4.layout.members.find((each) => each.of === "value" && each.name === name);
    if (member === undefined) throw new Error(`struct ct_entry has no ${name}`);
    return member.offsetBits / 8;
  },
) as [number, number, number];

/** Where a key has its two addresses. */
const addressOffsets = { 4: addressOffsetsOf("ct4"), 6: addressOffsetsOf("ct6") } as const;

function addressOffsetsOf(map: "ct4" | "ct6"): readonly number[] {
  return (["low_address", "high_address"] as const).map((name) => {
    const member = mapLayouts[map].layout.members.find((each) => each.of === "key" && each.name === name);
    if (member === undefined) throw new Error(`the key of ${map} has no ${name}`);
    return member.offsetBits / 8;
  });
}

/** Flows that are looked at before others get their turn. */
const sliceFlows = 16_384;

export class Conntrack {
  readonly #native: ConntrackNative;
  readonly #maps: readonly { readonly family: 4 | 6; readonly map: MapInfo }[];
  readonly #affinity: MapInfo;
  readonly #timeouts: ConntrackTimeouts;
  readonly #nowSeconds: () => number;
  /** Entries after the last sweep, by map name. */
  readonly entries = new Map<string, number>();

  /** @param nowSeconds CLOCK_MONOTONIC, as the programs use it */
  constructor(
    native: ConntrackNative,
    maps: { readonly ct4: MapInfo; readonly ct6: MapInfo; readonly affinity: MapInfo },
    timeouts: ConntrackTimeouts,
    nowSeconds: () => number,
  ) {
    this.#native = native;
    this.#maps = [
      { family: 4, map: maps.ct4 },
      { family: 6, map: maps.ct6 },
    ];
    this.#affinity = maps.affinity;
    this.#timeouts = timeouts;
    this.#nowSeconds = nowSeconds;
  }

  async sweep(): Promise<void> {
    for (const { map } of this.#maps) {
      const { seen, deleted } = await this.#native.sweepConntrack(map.handle, this.#timeouts);
      this.entries.set(map.name, seen - deleted);
    }
  }

  /** The highest policy revision and service table that some flow or client remembers: neither may be given again with another meaning. */
  async highest(): Promise<{ readonly revision: number; readonly table: number }> {
    let revision = 0;
    let table = 0;
    for (const { map } of this.#maps) {
      const { values, count } = await this.#native.mapDump(map.handle);
      this.entries.set(map.name, count);
      for (let index = 0; index < count; index++) {
        // Hundreds of thousands: only these three fields, and without an object for each.
        const offset = index * ctEntry.size;
        const egress = values.readUInt32LE(offset + egressOffset);
        const ingress = values.readUInt32LE(offset + ingressOffset);
        revision = Math.max(revision, egress, ingress);
        table = Math.max(table, values.readUInt32LE(offset + tableOffset));
      }
    }
    for (const { value } of await readEntries(this.#native, this.#affinity)) {
      table = Math.max(table, affinity.decode(value).service);
    }
    return { revision, table };
  }

  /**
   * Those of the addresses (by their texts) that a flow has which is not ending. Only what is asked for is looked at closely, as there may be
   * hundreds of thousands of flows.
   */
  async inUse(addresses: readonly Address[]): Promise<ReadonlySet<string>> {
    const found = new Set<string>();
    for (const { family, map } of this.#maps) {
      const wanted = new Map(
        addresses.flatMap((each) =>
          each.family === family ? [[Buffer.from(each.bytes).toString("latin1"), each.text]] : [],
        ),
      );
      if (wanted.size === 0) continue;
      const { keys, values, count } = await this.#native.mapDump(map.handle);
      const size = family === 4 ? 4 : 16;
      for (let index = 0; index < count; index++) {
        if (index % sliceFlows === sliceFlows - 1) await setImmediate();
        const start = index * map.keySize;
        for (const offset of addressOffsets[family]) {
          const text = wanted.get(keys.toString("latin1", start + offset, start + offset + size));
          if (text === undefined || found.has(text)) continue;
          const { flags } = ctEntry.decode(values, index * ctEntry.size);
          if (!isEnding(flags)) found.add(text);
        }
      }
    }
    return found;
  }

  async flows(): Promise<readonly KernelFlow[]> {
    const now = this.#nowSeconds();
    const flows: KernelFlow[] = [];
    for (const { family, map } of this.#maps) {
      const { keys, values, count } = await this.#native.mapDump(map.handle);
      for (let index = 0; index < count; index++) {
        const entry = ctEntry.decode(values, index * ctEntry.size);
        flows.push(flowOf(family, keys, index * map.keySize, entry, now));
      }
    }
    return flows;
  }
}

function flowOf(family: 4 | 6, keys: Buffer, offset: number, entry: CtEntry, now: number): KernelFlow {
  const { low, high, protocol } = family === 4 ? ends4(keys, offset) : ends6(keys, offset);
  const initiatorLow = (entry.flags & CtFlags.initiatorLow) !== 0;
  const translated = (entry.flags & (CtFlags.nat | CtFlags.service)) !== 0;
  return {
    family,
    protocol,
    source: initiatorLow ? low : high,
    destination: initiatorLow ? high : low,
    state: stateOf(entry.flags, protocol),
    idleSeconds: Math.max(0, now - entry.lastUsed),
    ageSeconds: Math.max(0, now - entry.created),
    nat: translated ? { address: natAddress(family, entry), port: entry.natPort } : null,
    egressRevision: entry.egressRevision,
    ingressRevision: entry.ingressRevision,
  };
}

type Ends = { readonly low: Endpoint; readonly high: Endpoint; readonly protocol: number };

function ends4(keys: Buffer, offset: number): Ends {
  const key = ct4Key.decode(keys, offset);
  return {
    low: { address: addressOfNumber(key.lowAddress), port: key.lowPort },
    high: { address: addressOfNumber(key.highAddress), port: key.highPort },
    protocol: key.protocol,
  };
}

function ends6(keys: Buffer, offset: number): Ends {
  const key = ct6Key.decode(keys, offset);
  return {
    low: { address: addressFromBytes(key.lowAddress), port: key.lowPort },
    high: { address: addressFromBytes(key.highAddress), port: key.highPort },
    protocol: key.protocol,
  };
}

/** The last four bytes are the address of an IPv4 flow, whether or not the rest says so. */
function natAddress(family: 4 | 6, { natAddress: bytes }: CtEntry): Address {
  return family === 4 ? addressFromBytes(bytes.subarray(12)) : fromMappedBytes(bytes);
}
