/** The name cache as a text, so that a restart keeps it. Times are of the wall clock, as the monotonic one ends with the machine. */
import { normalName } from "../model/dns-names.ts";
import { parseAddress } from "../model/ip.ts";
import { nameKey, ofNameKey } from "../model/name-key.ts";
import type { NameCache } from "./name-cache.ts";

const format = 1;

/** Clocks when it is written or read, in ms. */
export interface Clocks {
  readonly wallMs: number;
  readonly monotonicMs: number;
}

export function encodeNames(cache: Pick<NameCache, "names">, { wallMs, monotonicMs }: Clocks): string {
  const names = [...cache.names].map(([key, addresses]) => {
    const { name, endpoint } = ofNameKey(key);
    const times = [...addresses.values()].map(({ address, until }) => [
      address.text,
      Math.round(until - monotonicMs + wallMs),
    ]);
    return endpoint === null ? [name, times] : [name, times, endpoint];
  });
  return JSON.stringify({ format, names });
}

/**
 * What no writer of ours wrote is left out, one by one.
 * @returns false: it is no such text at all, and nothing was restored
 */
export function decodeNames(text: string, cache: Pick<NameCache, "restore">, { wallMs, monotonicMs }: Clocks): boolean {
  const record = parsed(text);
  if (record?.format !== format || !Array.isArray(record.names)) return false;
  for (const entry of record.names as readonly unknown[]) {
    if (!Array.isArray(entry) || typeof entry[0] !== "string" || !Array.isArray(entry[1])) continue;
    const key = nameKey(typeof entry[2] === "string" ? entry[2] : null, normalName(entry[0]));
    for (const pair of entry[1] as readonly unknown[]) {
      if (!Array.isArray(pair) || typeof pair[0] !== "string" || !Number.isFinite(pair[1])) continue;
      const address = parseAddress(pair[0]);
      if (address !== null) cache.restore(key, address, (pair[1] as number) - wallMs + monotonicMs);
    }
  }
  return true;
}

function parsed(text: string): { readonly format?: unknown; readonly names?: unknown } | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}
