/**
 * How large a table of backends by the hash of a client is. What is in it the addon says (`addon/src/bpf/maglev.cc`): it follows from the
 * backends alone, so that every node has the same one (docs/decisions/0009).
 *
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
