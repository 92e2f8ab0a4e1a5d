/**
 * How what is in the kernel is compared with what was left there without keeping a change waiting: a large map is read while changes go on, and what
 * looks different then, as an entry does that was written meanwhile, is asked about once more in a turn in which nothing is written. Only
 * where that confirms it the map is read again as a whole, in a turn of its own too.
 */

/** Runs a step while nothing else writes to the kernel. */
export type Turn = <T>(step: () => Promise<T>) => Promise<T>;

/** In a turn: whether what looked different is so. */
export type Doubt = () => boolean;

/** null: all is as it was left. */
export type Look = () => Promise<Doubt | null>;

/** Those that have doubts, one after the other: each look takes memory for the whole map. */
export async function firstDoubt(looks: readonly Look[]): Promise<Doubt | null> {
  const doubts: Doubt[] = [];
  for (const look of looks) {
    const doubt = await look();
    if (doubt !== null) doubts.push(doubt);
  }
  return doubts.length === 0 ? null : () => doubts.some((doubt) => doubt());
}
