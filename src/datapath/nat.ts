/**
 * Housekeeping of flows whose source this node replaces (nat4, nat6): those that timed out are removed, on a timer and off the event
 * loop, with the port that they held; nothing else of these maps is written from here. No entry makes room for another one, as a port cannot be
 * derived again: so without an agent a table may fill up, and one that is nearly full is told.
 */
import { type Address, addressFromBytes } from "../model/ip.ts";
import type { Problem } from "../model/status.ts";
import type { ConntrackTimeouts, MapInfo } from "../native/bpf-contract.ts";
import type { NativeBinding } from "../native/contract.ts";
import { NatFlags, mapLayouts, nat4Entry, nat4Key, nat6Entry, nat6Key } from "../native/layouts.gen.ts";
import { addressOfNumber } from "./addresses.ts";
import { stateOf } from "./flow-state.ts";
import type { Endpoint, KernelRenaming } from "./report.ts";

type NatNative = Pick<NativeBinding, "mapDump" | "sweepNat">;

/** Share of a table from which on it is told. */
const nearlyFull = 0.9;

const offsetOf = (map: "nat4" | "nat6", name: "flags" | "table") => {
  const member = mapLayouts[map].layout.members.find((each) => each.of === "value" && each.name === name);
  if (member === undefined) throw new Error(`an entry of ${map} has no ${name}`);
  return member.offsetBits / 8;
};
const offsets = {
  4: { flags: offsetOf("nat4", "flags"), table: offsetOf("nat4", "table"), size: nat4Entry.size },
  6: { flags: offsetOf("nat6", "flags"), table: offsetOf("nat6", "table"), size: nat6Entry.size },
} as const;

/** Of both families, with addresses as such. */
interface Tuple {
  readonly source: Endpoint;
  readonly destination: Endpoint;
}

interface DecodedEntry extends Tuple {
  readonly flags: number;
  readonly lastUsed: number;
}

export class Nat {
  readonly #native: NatNative;
  readonly #maps: readonly { readonly family: 4 | 6; readonly map: MapInfo }[];
  readonly #timeouts: ConntrackTimeouts;
  readonly #nowSeconds: () => number;
  /** Entries after the last sweep, by map name. */
  readonly entries = new Map<string, number>();

  /** @param nowSeconds CLOCK_MONOTONIC, as the programs use it */
  constructor(
    native: NatNative,
    maps: { readonly nat4: MapInfo; readonly nat6: MapInfo },
    timeouts: ConntrackTimeouts,
    nowSeconds: () => number,
  ) {
    this.#native = native;
    this.#maps = [
      { family: 4, map: maps.nat4 },
      { family: 6, map: maps.nat6 },
    ];
    this.#timeouts = timeouts;
    this.#nowSeconds = nowSeconds;
  }

  /** @returns tables that have little room left */
  async sweep(): Promise<readonly Problem[]> {
    const problems: Problem[] = [];
    for (const { map } of this.#maps) {
      const { seen, deleted } = await this.#native.sweepNat(map.handle, this.#timeouts);
      const left = seen - deleted;
      this.entries.set(map.name, left);
      if (left >= nearlyFull * map.maxEntries) problems.push(fullProblem(map, left));
    }
    return problems;
  }

  /** The highest service table that some flow remembers: it may not be given to another service. */
  async highestTable(): Promise<number> {
    let table = 0;
    for (const { family, map } of this.#maps) {
      const { values, count } = await this.#native.mapDump(map.handle);
      this.entries.set(map.name, count);
      const { size, table: at } = offsets[family];
      for (let index = 0; index < count; index++) table = Math.max(table, values.readUInt32LE(index * size + at));
    }
    return table;
  }

  /** Each flow once, as its initiator has it. */
  async flows(): Promise<readonly KernelRenaming[]> {
    const now = this.#nowSeconds();
    const flows: KernelRenaming[] = [];
    for (const { family, map } of this.#maps) {
      const { keys, values, count } = await this.#native.mapDump(map.handle);
      const { size, flags: flagsAt } = offsets[family];
      for (let index = 0; index < count; index++) {
        if ((values.readUInt16LE(index * size + flagsAt) & NatFlags.back) !== 0) continue;
        flows.push(flowOf(family, keys, index * map.keySize, values, index * size, now));
      }
    }
    return flows;
  }
}

function flowOf(
  family: 4 | 6,
  keys: Buffer,
  keyAt: number,
  values: Buffer,
  valueAt: number,
  now: number,
): KernelRenaming {
  const key = family === 4 ? nat4Key.decode(keys, keyAt) : nat6Key.decode(keys, keyAt);
  const entry = family === 4 ? nat4Entry.decode(values, valueAt) : nat6Entry.decode(values, valueAt);
  const { flags, lastUsed, ...to }: DecodedEntry = { ...tupleOf(entry), flags: entry.flags, lastUsed: entry.lastUsed };
  return {
    family,
    protocol: key.protocol,
    ...tupleOf(key),
    to,
    kind: (flags & NatFlags.service) !== 0 ? "service" : "masquerade",
    state: stateOf(flags, key.protocol),
    idleSeconds: Math.max(0, now - lastUsed),
  };
}

/** As both keys and both entries begin. */
interface EncodedTuple {
  readonly source: number | Uint8Array;
  readonly destination: number | Uint8Array;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

function tupleOf({ source, destination, sourcePort, destinationPort }: EncodedTuple): Tuple {
  return {
    source: { address: addressOf(source), port: sourcePort },
    destination: { address: addressOf(destination), port: destinationPort },
  };
}

function addressOf(encoded: number | Uint8Array): Address {
  return typeof encoded === "number" ? addressOfNumber(encoded) : addressFromBytes(encoded);
}

function fullProblem({ name, maxEntries }: MapInfo, entries: number): Problem {
  return {
    code: "NAT_NEARLY_FULL",
    severity: "warning",
    object: `map ${name}`,
    field: "",
    message: `${entries} of ${maxEntries} entries are taken, two a flow: when there are no more, new flows that need another source are dropped`,
    remedy: `set mapSizes.${name} above ${maxEntries} and restart the agent, or shorten conntrackTimeouts; flows go on meanwhile`,
  };
}
