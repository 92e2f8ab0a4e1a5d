/**
 * Where packets of pods keep their source (native_prefix4/6), and the source of those that do not (device_address). All entries of these
 * maps are ours. While the agent is away the kernel goes on with them; flows that run keep what they got, whatever is written here.
 *
 * Order: a prefix that comes is written before one that goes is removed, so that what both hold is native throughout.
 */
import { setImmediate } from "node:timers/promises";
import type { DesiredDeviceSource, DesiredNativePrefix } from "../compute/desired.ts";
import { mapChanges } from "../lib/map-diff.ts";
import { addressFromBytes, type Prefix } from "../model/ip.ts";
import type { MapInfo } from "../native/bpf-contract.ts";
import {
  deviceAddress,
  deviceKey,
  type MapName,
  NativeFlags,
  nativePrefix,
  prefix4Key,
  prefix6Key,
} from "../native/layouts.gen.ts";
import { addressNumber } from "./addresses.ts";
import { Counters, keyText, type MapNative, MapTable } from "./map-table.ts";
import type { EntryFailure } from "./problems.ts";

const sliceEntries = 1024;

const values = {
  keep: nativePrefix.encode({ flags: NativeFlags.keep }),
  leave: nativePrefix.encode({ flags: 0 }),
} as const;

const none = { prefixes: new Map<string, DesiredNativePrefix>(), bytes: new Uint8Array(16) } as const;

export class NativePrefixReconciler {
  readonly counters = new Counters();
  readonly #prefixes: { readonly 4: MapTable; readonly 6: MapTable };
  readonly #sources: MapTable;
  /** For a key while it is made: of thousands each would be a buffer of its own. */
  readonly #key = { 4: Buffer.alloc(prefix4Key.size), 6: Buffer.alloc(prefix6Key.size) } as const;
  #last: ReadonlyMap<string, DesiredNativePrefix> = none.prefixes;

  constructor(native: MapNative, map: (name: MapName) => MapInfo) {
    const table = (name: MapName, describe: (key: Buffer) => string) =>
      new MapTable(native, map(name), this.counters, describe);
    const prefix = (key: Buffer) => `prefix ${addressFromBytes(key.subarray(4)).text}/${key.readUInt32LE(0)}`;
    this.#prefixes = { 4: table("native_prefix4", prefix), 6: table("native_prefix6", prefix) };
    this.#sources = table("device_address", (key) => `ifindex ${deviceKey.decode(key).ifindex}`);
  }

  get tables(): readonly MapTable[] {
    return [this.#prefixes[4], this.#prefixes[6], this.#sources];
  }

  /** @param prefixes by the prefix's text */
  async apply(
    prefixes: ReadonlyMap<string, DesiredNativePrefix> = none.prefixes,
    sources: readonly DesiredDeviceSource[] = [],
  ): Promise<readonly EntryFailure[]> {
    // The same objects again mean the same entries: nothing to encode.
    const changes = mapChanges(this.#last, prefixes);
    for (const [index, { before, after }] of changes.entries()) {
      // Thousands, when a fabric's routes come or go: others get their turn in between.
      if (index % sliceEntries === sliceEntries - 1) await setImmediate();
      if (after !== undefined) {
        const value = after.keep ? values.keep : values.leave;
        this.#prefixes[after.prefix.family].setDesired(this.#entryKey(after.prefix), value);
      } else if (before !== undefined) {
        this.#prefixes[before.prefix.family].deleteDesired(this.#entryKey(before.prefix));
      }
    }
    this.#last = prefixes;
    this.#sources.replaceDesired(new Map(sources.map((source) => [sourceKey(source), sourceValue(source)])));
    const failures: EntryFailure[] = [];
    for (const table of [this.#sources, this.#prefixes[4], this.#prefixes[6]]) failures.push(...(await table.sync()));
    return failures;
  }

  #entryKey({ family, address, length: prefixlen }: Prefix): string {
    const buffer = this.#key[family];
    if (family === 4) prefix4Key.encodeInto(buffer, 0, { prefixlen, address: addressNumber(address) });
    else prefix6Key.encodeInto(buffer, 0, { prefixlen, address: address.bytes });
    return keyText(buffer);
  }
}

function sourceKey({ ifindex }: DesiredDeviceSource): string {
  return keyText(deviceKey.encode({ ifindex }));
}

function sourceValue({ ipv4, ipv6 }: DesiredDeviceSource): Buffer {
  return deviceAddress.encode({ ipv4: ipv4 === null ? 0 : addressNumber(ipv4), ipv6: ipv6?.bytes ?? none.bytes });
}
