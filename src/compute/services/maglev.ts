/**
 * Which backend a hash of a client picks: a table of slots that follows from the backends alone, in whatever order they came, so that every node
 * has the same one; where a backend comes or goes nearly all slots keep theirs (Maglev: Eisenbud et al., NSDI 2016, section 3.4).
 *
 * As there each backend has a sequence of its own that visits all slots of a table of prime size. But the backends do not take one slot a round each:
 * in round j every backend looks at slot j of its sequence alone, and takes it if it is free, until it has its share. A slot that somebody
 * loses or gains then changes nothing else until shares are full, and half as many slots move that need not
 * (docs/decisions/0009).
 */
import { type Address, compareAddresses } from "../../model/ip.ts";

export interface MaglevBackend {
  readonly address: Address;
  readonly port: number;
  /** Its share against the others', 1-65535. Not set: 1. */
  readonly weight?: number;
}

/** By slot: position in the list of backends that was given. */
export type MaglevTable = Uint16Array;

const mostWeight = 65_535;

/**
 * Primes, so that any step visits all slots. A class holds backends up to a hundredth of its slots (the last one more: from 1,310 on shares are
 * coarser). Few classes, as nearly every slot changes hands at their borders; but a service with two backends does not pay for one with a thousand.
 */
const sizes = [
  { backends: 1, slots: 0 },
  { backends: 2, slots: 251 },
  { backends: 10, slots: 1021 },
  { backends: 40, slots: 4093 },
  { backends: 327, slots: 32_749 },
  { backends: 65_536, slots: 131_071 },
] as const;

/** How many slots the table of so many backends has. 0: it needs none, or they are more than a slot can tell apart. */
export function maglevSlots(backends: number): number {
  return sizes.find((size) => backends <= size.backends)?.slots ?? 0;
}

/**
 * Each backend has its share of the slots, by weight, rounded down or up.
 * @returns null: `maglevSlots` says 0
 * @throws RangeError for a weight that is none
 */
export function maglevTable(backends: readonly MaglevBackend[]): MaglevTable | null {
  const slots = maglevSlots(backends.length);
  return slots === 0 ? null : fill(contendersOf(backends, slots), slots);
}

/** The backends while the table fills, in an order of their own. Parallel arrays: they are looked at for every slot of every service. */
interface Contenders {
  /** Position in the caller's list. */
  readonly given: Uint16Array;
  /** Where it looks next, and the step to the one after. */
  readonly next: Uint32Array;
  readonly step: Uint32Array;
  /** Slots until it has its share, rounded down. */
  readonly left: Uint32Array;
  readonly weight: Uint32Array;
}

function contendersOf(backends: readonly MaglevBackend[], slots: number): Contenders {
  const count = backends.length;
  const weights = backends.map(({ weight = 1 }) => checked(weight));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const keyed = backends.map((backend, position) => ({
    backend,
    position,
    start: hashOf(backend, 0x2545f491),
    step: hashOf(backend, 0x9e3779b9),
  }));
  // Who looks first in a round must not depend on the order of arrival. Hashes that are equal are one in a billion: then addresses tell.
  keyed.sort(
    (a, b) =>
      a.start - b.start ||
      a.step - b.step ||
      compareAddresses(a.backend.address, b.backend.address) ||
      a.backend.port - b.backend.port,
  );
  const contenders: Contenders = {
    given: new Uint16Array(count),
    next: new Uint32Array(count),
    step: new Uint32Array(count),
    left: new Uint32Array(count),
    weight: new Uint32Array(count),
  };
  for (const [at, { position, start, step }] of keyed.entries()) {
    const weight = weights[position] ?? 1;
    contenders.given[at] = position;
    contenders.next[at] = start % slots;
    contenders.step[at] = (step % (slots - 1)) + 1;
    contenders.left[at] = Math.floor((slots * weight) / total);
    contenders.weight[at] = weight;
  }
  return contenders;
}

function fill({ given, next, step, left, weight }: Contenders, slots: number): MaglevTable {
  const table = new Uint16Array(slots);
  const taken = new Uint8Array(slots);
  /** Those who look for slots yet, in order. */
  const looking = Uint16Array.from(given.keys());
  const pace = new Uint32Array(looking.length);
  let fastest = weight.reduce((most, each) => Math.max(most, each), 1);
  const weighted = weight.some((each) => each !== fastest);
  let count = looking.length;
  let free = slots;
  /** What rounding down leaves: one more for as many. */
  let extra = left.reduce((rest, share) => rest - share, slots);
  for (;;) {
    let still = 0;
    let slower = false;
    for (let at = 0; at < count; at++) {
      const who = looking[at] ?? 0;
      const rest = left[who] ?? 0;
      if (rest === 0 && extra === 0) {
        slower ||= weight[who] === fastest;
        continue;
      }
      if (weighted) {
        // Whoever has half of the greatest weight looks every second round.
        const due = (pace[who] ?? 0) + (weight[who] ?? 0);
        pace[who] = due < fastest ? due : due - fastest;
        if (due < fastest) {
          looking[still++] = who;
          continue;
        }
      }
      const slot = next[who] ?? 0;
      const after = slot + (step[who] ?? 0);
      next[who] = after < slots ? after : after - slots;
      if (taken[slot] === 0) {
        taken[slot] = 1;
        table[slot] = given[who] ?? 0;
        if (--free === 0) return table;
        if (rest === 0) {
          extra--;
          slower ||= weight[who] === fastest;
          continue;
        }
        left[who] = rest - 1;
      }
      looking[still++] = who;
    }
    count = still;
    // Without the fastest there would be rounds in which nobody looks.
    if (weighted && slower) {
      fastest = looking.subarray(0, count).reduce((most, who) => Math.max(most, weight[who] ?? 0), 1);
    }
  }
}

function checked(weight: number): number {
  if (Number.isInteger(weight) && weight >= 1 && weight <= mostWeight) return weight;
  throw new RangeError(`weight ${weight} of a backend is no integer from 1 to ${mostWeight}`);
}

/** 32 bits. FNV-1a, then Murmur3's finalizer: addresses that follow each other must not have sequences that do. */
function hashOf({ address, port }: MaglevBackend, seed: number): number {
  let hash = seed;
  // By index: an iterator would cost more than all the rest here.
  const { bytes } = address;
  for (let at = 0; at < bytes.length; at++) hash = Math.imul(hash ^ (bytes[at] ?? 0), 0x01000193);
  hash = Math.imul(hash ^ (port >> 8), 0x01000193);
  hash = Math.imul(hash ^ (port & 255), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
