/**
 * Who has which address: ipcache4/6 (pods and nodes of the cluster) and cluster_prefix4/6 (prefixes inside of which an unknown address
 * is a pod that is not known yet). All entries of these maps are ours. While the agent is away the kernel goes on with them.
 *
 * Order: prefixes come before the addresses inside of them and go after them, so that an address of the cluster is never taken for the
 * outside. Entries of addresses that nobody has are removed at once, not at the end of an update: the next pod may get the address.
 */
import type { DesiredIdentity } from "../compute/desired.ts";
import { mapChanges } from "../lib/map-diff.ts";
import { type Address, addressFromBytes, makePrefix, type Prefix } from "../model/ip.ts";
import type { MapName } from "../native/layouts.gen.ts";
import {
  IdentityNumber,
  IpcacheFlags,
  ipcache4Key,
  ipcache6Key,
  ipcacheValue,
  prefix4Key,
  prefix6Key,
} from "../native/layouts.gen.ts";
import { addressNumber } from "./addresses.ts";
import { Counters, keyText, type MapNative, MapTable, sameRows, type WrittenChange } from "./map-table.ts";
import type { MapInfo } from "../native/bpf-contract.ts";
import type { EntryFailure } from "./problems.ts";

/** Values that are remembered at most. */
const valuesKnown = 4096;

/** The identity that the kernel sees behind an address is another one than before. */
export interface IdentityChange {
  readonly before: number;
  readonly after: number;
}

export interface IdentityChanges {
  readonly addresses: readonly IdentityChange[];
  /** Prefixes of the cluster changed: any address may be another one's now. */
  readonly prefixes: boolean;
  readonly failures: readonly EntryFailure[];
}

export class IdentityReconciler {
  readonly counters = new Counters();
  readonly #addresses: { readonly 4: MapTable; readonly 6: MapTable };
  readonly #prefixes: { readonly 4: MapTable; readonly 6: MapTable };
  #lastIdentities: ReadonlyMap<string, DesiredIdentity> = new Map();
  #lastPrefixes: readonly Prefix[] | null = null;
  readonly #values = new Values();

  constructor(native: MapNative, map: (name: MapName) => MapInfo) {
    const table = (name: MapName, describe: (key: Buffer) => string) =>
      new MapTable(native, map(name), this.counters, describe);
    const address = (key: Buffer) => `address ${addressFromBytes(key).text}`;
    const prefix = (key: Buffer) => `prefix ${addressFromBytes(key.subarray(4)).text}/${key.readUInt32LE(0)}`;
    this.#addresses = { 4: table("ipcache4", address), 6: table("ipcache6", address) };
    this.#prefixes = { 4: table("cluster_prefix4", prefix), 6: table("cluster_prefix6", prefix) };
  }

  get tables(): readonly MapTable[] {
    return [...this.addressTables, ...this.prefixTables];
  }

  get addressTables(): readonly MapTable[] {
    return [this.#addresses[4], this.#addresses[6]];
  }

  get prefixTables(): readonly MapTable[] {
    return [this.#prefixes[4], this.#prefixes[6]];
  }

  /**
   * @param identities by the address's text
   * @returns true if something is to be written
   */
  want(identities: ReadonlyMap<string, DesiredIdentity>, prefixes: readonly Prefix[]): boolean {
    // The same rows again mean the same entries: nothing to encode.
    for (const { before, after } of mapChanges(this.#lastIdentities, identities)) this.#wantAddress(before, after);
    if (!sameRows(prefixes, this.#lastPrefixes)) this.#wantPrefixes(prefixes);
    this.#lastIdentities = identities;
    this.#lastPrefixes = prefixes;
    return this.tables.some(({ isClean }) => !isClean);
  }

  async write(): Promise<IdentityChanges> {
    const failures: EntryFailure[] = [];
    const written: WrittenChange[] = [];
    const prefixChanges: WrittenChange[] = [];
    for (const family of [4, 6] as const) {
      failures.push(...(await this.#prefixes[family].write(prefixChanges)));
      failures.push(...(await this.#addresses[family].sync(written)));
      failures.push(...(await this.#prefixes[family].remove(prefixChanges)));
    }
    const index = new PrefixIndex(this.#lastPrefixes ?? []);
    const addresses = written
      .map(({ key, before, after }) => ({
        before: seenIdentity(key, before, index),
        after: seenIdentity(key, after, index),
      }))
      .filter(({ before, after }) => before !== after);
    return { addresses, prefixes: prefixChanges.length > 0, failures };
  }

  #wantAddress(before: DesiredIdentity | undefined, after: DesiredIdentity | undefined): void {
    if (after !== undefined) {
      const { address, identity, localNode, node } = after;
      const flags = (localNode ? IpcacheFlags.localNode : 0) | (node ? IpcacheFlags.node : 0);
      this.#addresses[address.family].setDesired(entryKey(address), this.#values.of(identity, flags));
    } else if (before !== undefined) {
      this.#addresses[before.address.family].deleteDesired(entryKey(before.address));
    }
  }

  #wantPrefixes(prefixes: readonly Prefix[]): void {
    const value = ipcacheValue.encode({ identity: IdentityNumber.unmanaged, flags: 0 });
    const entries = { 4: new Map<string, Buffer>(), 6: new Map<string, Buffer>() };
    for (const { family, address, length } of prefixes) {
      const key =
        family === 4
          ? prefix4Key.encode({ prefixlen: length, address: addressNumber(address) })
          : prefix6Key.encode({ prefixlen: length, address: address.bytes });
      entries[family].set(keyText(key), value);
    }
    for (const family of [4, 6] as const) this.#prefixes[family].replaceDesired(entries[family]);
  }
}

/** Values of which many entries are the same, once each: an identity has as many addresses as its pods, and a Buffer takes 200 bytes. */
class Values {
  /** By identity and flags. */
  readonly #known = new Map<string, Buffer>();

  of(identity: number, flags: number): Buffer {
    const name = `${identity} ${flags}`;
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    // Identities come and go: those of before are given up from time to time, and entries keep what they have.
    if (this.#known.size >= valuesKnown) this.#known.clear();
    const value = ipcacheValue.encode({ identity, flags });
    this.#known.set(name, value);
    return value;
  }
}

function entryKey(address: Address): string {
  return keyText(
    address.family === 4
      ? ipcache4Key.encode({ address: addressNumber(address) })
      : ipcache6Key.encode({ address: address.bytes }),
  );
}

/** As the programs see it: an address without an entry is unmanaged inside of the cluster's prefixes, else the outside. */
function seenIdentity(key: Buffer, value: Buffer | null, prefixes: PrefixIndex): number {
  if (value !== null) return ipcacheValue.decode(value).identity;
  const address = addressFromBytes(key);
  if (prefixes.contains(address)) return IdentityNumber.unmanaged;
  return address.family === 4 ? IdentityNumber.worldIpv4 : IdentityNumber.worldIpv6;
}

/** Prefixes have few lengths: one look for each is enough. */
class PrefixIndex {
  readonly #texts: ReadonlySet<string>;
  readonly #lengths = { 4: new Set<number>(), 6: new Set<number>() };

  constructor(prefixes: readonly Prefix[]) {
    this.#texts = new Set(prefixes.map(({ text }) => text));
    for (const { family, length } of prefixes) this.#lengths[family].add(length);
  }

  contains(address: Address): boolean {
    for (const length of this.#lengths[address.family]) {
      if (this.#texts.has(makePrefix(address, length).text)) return true;
    }
    return false;
  }
}
