/**
 * The name cache as a text, so that a restart keeps it. Times are of the wall clock, as the other one ends with the machine; but as long as the
 * machine runs, how much time passed is told by that: a wall clock that was set would end all names at once, or keep them for days.
 */
import { normalName } from "../model/dns-names.ts";
import { parseAddress } from "../model/ip.ts";
import { nameKey, ofNameKey } from "../model/name-key.ts";
import type { NameCache } from "./name-cache.ts";

const format = 1;

/** Clocks when it is written or read, in ms. */
export interface Clocks {
  readonly wallMs: number;
  /** That the cache counts by: of the process. */
  readonly monotonicMs: number;
  /** Of the machine, whichever process asks; never set. */
  readonly uptimeMs: number;
  /** Of this boot of the machine, and no other. */
  readonly boot: string;
}

type Written = Pick<Clocks, "wallMs" | "uptimeMs" | "boot">;

export function encodeNames(cache: Pick<NameCache, "names">, clocks: Clocks): string {
  const { wallMs, monotonicMs, uptimeMs, boot } = clocks;
  const names = [...cache.names].map(([key, addresses]) => {
    const { name, endpoint } = ofNameKey(key);
    const times = [...addresses.values()].map(({ address, until }) => [
      address.text,
      Math.round(until - monotonicMs + wallMs),
    ]);
    return endpoint === null ? [name, times] : [name, times, endpoint];
  });
  const written: Written = { wallMs: Math.round(wallMs), uptimeMs: Math.round(uptimeMs), boot };
  return JSON.stringify({ format, written, names });
}

/**
 * What no writer of ours wrote is left out, one by one.
 * @returns false: it is no such text at all, and nothing was restored
 */
export function decodeNames(text: string, cache: Pick<NameCache, "restore">, clocks: Clocks): boolean {
  const record = parsed(text);
  if (record?.format !== format || !Array.isArray(record.names)) return false;
  // What the wall clock would be, had nobody set it since.
  const wallMs = unsetWall(record.written, clocks) ?? clocks.wallMs;
  for (const entry of record.names as readonly unknown[]) {
    if (!Array.isArray(entry) || typeof entry[0] !== "string" || !Array.isArray(entry[1])) continue;
    const key = nameKey(typeof entry[2] === "string" ? entry[2] : null, normalName(entry[0]));
    for (const pair of entry[1] as readonly unknown[]) {
      if (!Array.isArray(pair) || typeof pair[0] !== "string" || !Number.isFinite(pair[1])) continue;
      const address = parseAddress(pair[0]);
      if (address !== null) cache.restore(key, address, (pair[1] as number) - wallMs + clocks.monotonicMs);
    }
  }
  return true;
}

/** null: the machine was started anew since then, or who wrote it did not say (an agent of before). */
function unsetWall(written: unknown, { uptimeMs, boot }: Clocks): number | null {
  const then = (typeof written === "object" ? written : null) as { readonly [name in keyof Written]?: unknown } | null;
  if (typeof then?.wallMs !== "number" || typeof then.uptimeMs !== "number") return null;
  if (boot === "" || then.boot !== boot || uptimeMs < then.uptimeMs) return null;
  return then.wallMs + uptimeMs - then.uptimeMs;
}

interface NameRecord {
  readonly format?: unknown;
  readonly written?: unknown;
  readonly names?: unknown;
}

function parsed(text: string): NameRecord | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}
