/**
 * Maglev tables as decision 0009 defines them, without any care for time: what the addon's are held to, by any version of it, as nodes of two
 * versions share flows while a cluster is upgraded.
 */
import { maglevSlots } from "../../src/compute/services/maglev.ts";
import { type Address, compareAddresses, toMappedBytes } from "../../src/model/ip.ts";
import { MAGLEV_NARROW, serviceBackend } from "../../src/native/layouts.gen.ts";
import type { NativeBinding } from "../../src/native/contract.ts";

export interface MaglevBackend {
  readonly address: Address;
  readonly port: number;
  /** Its share against the others', 1-65535. Not set: 1. */
  readonly weight?: number;
}

/** By slot: position in the list of backends that was given; empty: `maglevSlots` says 0. */
export type MaglevTable = Uint16Array;

/** The table of the addon, laid out as the kernel has it, as this one is. */
export function addonTable(
  native: Pick<NativeBinding, "maglevTable">,
  backends: readonly MaglevBackend[],
): MaglevTable {
  const slots = maglevSlots(backends.length);
  if (slots === 0) return new Uint16Array(0);
  const packed = Buffer.alloc(backends.length * serviceBackend.size);
  for (const [at, { address, port }] of backends.entries())
    serviceBackend.encodeInto(packed, at * serviceBackend.size, { address: toMappedBytes(address), port });
  const weights = backends.some(({ weight }) => weight !== undefined)
    ? Uint16Array.from(backends, ({ weight = 1 }) => weight)
    : null;
  const laid = native.maglevTable(packed, weights, slots);
  return backends.length > MAGLEV_NARROW
    ? new Uint16Array(Uint8Array.from(laid).buffer).subarray(0, slots)
    : Uint16Array.from(laid.subarray(0, slots));
}

interface Contender {
  readonly position: number;
  readonly weight: number;
  readonly step: number;
  next: number;
  /** Slots until it has its share, rounded down. */
  left: number;
  pace: number;
}

/** In round j every backend looks at slot j of its sequence, and takes it if it is free, until it has its share. */
export function referenceTable(backends: readonly MaglevBackend[]): MaglevTable {
  const slots = maglevSlots(backends.length);
  if (slots === 0) return new Uint16Array(0);
  const total = backends.reduce((sum, { weight = 1 }) => sum + weight, 0);
  let looking = inOrder(backends).map(({ position, start, step, weight }): Contender => {
    const left = Math.floor((slots * weight) / total);
    return { position, weight, step: (step % (slots - 1)) + 1, next: start % slots, left, pace: 0 };
  });
  const table = new Uint16Array(slots);
  const taken = new Set<number>();
  /** What rounding down leaves: one more for as many. */
  let extra = looking.reduce((rest, { left }) => rest - left, slots);
  while (taken.size < slots) {
    // Whoever has half of the greatest weight looks every second round.
    const fastest = Math.max(...looking.map(({ weight }) => weight));
    const still: Contender[] = [];
    for (const who of looking) {
      if (taken.size === slots || (who.left === 0 && extra === 0)) continue;
      who.pace += who.weight;
      let full = false;
      if (who.pace >= fastest) {
        who.pace -= fastest;
        if (!taken.has(who.next)) {
          taken.add(who.next);
          table[who.next] = who.position;
          full = who.left === 0;
          if (full) extra--;
          else who.left--;
        }
        who.next = (who.next + who.step) % slots;
      }
      if (!full) still.push(who);
    }
    looking = still;
  }
  return table;
}

/** Who looks first in a round does not depend on the order of arrival, not even where hashes are equal. */
function inOrder(backends: readonly MaglevBackend[]) {
  return backends
    .map((backend, position) => ({
      backend,
      position,
      weight: backend.weight ?? 1,
      start: hashOf(backend, 0x2545f491),
      step: hashOf(backend, 0x9e3779b9),
    }))
    .sort(
      (a, b) =>
        a.start - b.start ||
        a.step - b.step ||
        compareAddresses(a.backend.address, b.backend.address) ||
        a.backend.port - b.backend.port,
    );
}

/** 32 bits: FNV-1a of address and port, then Murmur3's finalizer. */
function hashOf({ address, port }: MaglevBackend, seed: number): number {
  let hash = seed;
  for (const byte of [...address.bytes, port >> 8, port & 255]) hash = Math.imul(hash ^ byte, 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
