/**
 * Whether packets of the size that the route claims reach another node, and if not, which size does. The claim is tried rarely; where it fails while
 * small packets pass, the largest that passes is searched for by halving, beginning with what a router said. Pure: time is handed in.
 */
import type { MtuMismatch } from "../../model/node-health.ts";
import type { Moment } from "./path-probe.ts";

/** ms between two looks while all is well, or the mismatch is known. */
export const mtuIntervalMs = 30_000;
/** Without knowing whether small ones pass, nothing is learnt from a large one: it is tried again after this. */
const unsureMs = 5_000;
/** Without an answer they are a failure of that size. */
const triesOfClaim = 3;
const triesOfSearch = 2;
/** What every host takes (RFC 791, RFC 8200). */
const least = { 4: 576, 6: 1280 } as const;

interface Search {
  /** The largest that is known to pass, and the least that is known not to. */
  low: number;
  high: number;
  size: number;
}

export class MtuProbe {
  readonly #family: 4 | 6;
  readonly #paceMs: number;
  #claimed: number;
  #dueMs: number;
  #misses = 0;
  #search: Search | null = null;
  #failed = false;
  /** The claim was tried, and passed. */
  #passed = false;
  #carried: number | null = null;
  /** What a router said with the last failure, and the number of one that is being tried; 0: none. */
  #hint = 0;
  #tried = 0;

  /** @param first ms until the first question @param pace ms between two: hosts answer with one ICMP error a second, and a burst of six */
  constructor(
    family: 4 | 6,
    claimed: number,
    now: Moment,
    { first, pace }: { readonly first: number; readonly pace: number },
  ) {
    this.#family = family;
    this.#paceMs = pace;
    this.#claimed = claimed;
    this.#dueMs = now.monotonicMs + first;
  }

  /** Null: all that was tried passes. */
  get mismatch(): MtuMismatch | null {
    return this.#failed ? { family: this.#family, claimed: this.#claimed, carried: this.#carried } : null;
  }

  /** Nothing is in doubt: packets of the size pass, and no question waits for its answer. */
  get isCalm(): boolean {
    return this.#passed && this.#misses === 0 && this.#search === null && this.#dueMs !== Number.POSITIVE_INFINITY;
  }

  get claimed(): number {
    return this.#claimed;
  }

  /**
   * ms of the monotonic clock when it has something to ask; infinite while it waits for an answer. The addon goes on from there while it asks, and says nothing
   * when it did: where it is asked from here again that is done once more, so that a path that comes and goes is tried all the same.
   */
  get wakeMs(): number {
    return this.#dueMs;
  }

  /** The route claims another size: all is open again. */
  claim(bytes: number, { monotonicMs }: Moment): void {
    if (bytes === this.#claimed) return;
    this.#claimed = bytes;
    this.#dueMs = monotonicMs;
    this.#misses = 0;
    this.#search = null;
    this.#failed = false;
    this.#passed = false;
    this.#carried = null;
  }

  /** The addon has tried it, and got no answer. */
  retry({ monotonicMs }: Moment): void {
    this.#dueMs = monotonicMs;
  }

  /** Bytes of the packet to send now; null: none. */
  next({ monotonicMs }: Moment): number | null {
    if (monotonicMs < this.#dueMs) return null;
    // Until it is told how that went.
    this.#dueMs = Number.POSITIVE_INFINITY;
    return this.#search?.size ?? this.#claimed;
  }

  /** @param size of the question that was answered */
  answered(size: number, now: Moment): void {
    if (size >= this.#claimed) {
      this.#failed = false;
      this.#passed = true;
      this.#carried = null;
      this.#end(now);
    } else if (this.#search !== null && size >= this.#search.size) {
      this.#search.low = size;
      this.#step(now);
    }
  }

  /** Small packets were lost meanwhile, too. */
  unsure({ monotonicMs }: Moment): void {
    this.#passed = false;
    this.#dueMs = monotonicMs + unsureMs;
  }

  /** @param hint what a router said that it takes; 0: nobody said anything */
  missed(size: number, hint: number, now: Moment): void {
    if (size !== (this.#search?.size ?? this.#claimed)) return;
    if (hint > 0) this.#hint = hint;
    this.#passed = false;
    this.#dueMs = now.monotonicMs + this.#paceMs;
    this.#misses++;
    if (hint === 0 && this.#misses < (this.#search === null ? triesOfClaim : triesOfSearch)) return;
    if (this.#search !== null) {
      this.#search.high = size;
      this.#step(now);
    } else if (this.#failed && this.#carried !== null) {
      // As before: it is not searched for again each minute.
      this.#end(now);
    } else {
      this.#failed = true;
      this.#search = { low: least[this.#family], high: this.#claimed, size: 0 };
      this.#step(now);
    }
  }

  /** The next size of the search, or its end. A router's number that passes is the answer. */
  #step(now: Moment): void {
    const search = this.#search;
    if (search === null) return;
    const { low, high } = search;
    if (high - low <= 1 || low === this.#tried) {
      this.#carried = low;
      this.#search = null;
      this.#end(now);
      return;
    }
    this.#tried = this.#hint > low && this.#hint < high ? this.#hint : 0;
    search.size = this.#tried > 0 ? this.#tried : Math.floor((low + high) / 2);
    this.#hint = 0;
    this.#misses = 0;
    this.#dueMs = now.monotonicMs + this.#paceMs;
  }

  #end({ monotonicMs }: Moment): void {
    this.#misses = 0;
    this.#hint = 0;
    this.#tried = 0;
    this.#dueMs = monotonicMs + mtuIntervalMs;
  }
}
