/**
 * The time for which this process may act for the whole cluster. It ends by itself unless it is extended, well before anybody else may take the
 * lease, and it is measured from when a renewal was sent: how long the answer took is nobody's business.
 *
 * Timers of a process that was held up fire late: whoever is about to write asks `held` first, which looks at the clocks.
 */
import { setMaxListeners } from "node:events";
import type { Clock, Timer } from "../lib/clock.ts";

/** A moment, by both clocks. */
interface Moment {
  readonly monotonicMs: number;
  readonly wallMs: number;
}

export function moment(clock: Clock): Moment {
  return { monotonicMs: clock.monotonicMs(), wallMs: clock.now() };
}

export class Term {
  readonly #clock: Clock;
  readonly #lengthMs: number;
  readonly #ending = new AbortController();
  #since: Moment;
  #timer: Timer;

  /** @param lengthMs after which it is over; @param since when what began it was sent */
  constructor(clock: Clock, lengthMs: number, since: Moment) {
    this.#clock = clock;
    this.#lengthMs = lengthMs;
    this.#since = since;
    this.#timer = this.#expiry();
    // Every request and watch of the term listens to it.
    setMaxListeners(0, this.#ending.signal);
  }

  /** Aborted when the term is over. */
  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  get leftMs(): number {
    const now = moment(this.#clock);
    // A machine that slept may have stopped one of the clocks: the one that went further counts. A wall clock that was set forward ends
    // a term for nothing, and the next one begins at once.
    const passed = Math.max(now.monotonicMs - this.#since.monotonicMs, now.wallMs - this.#since.wallMs);
    return this.#lengthMs - passed;
  }

  held(): boolean {
    if (this.leftMs <= 0) this.end();
    return !this.signal.aborted;
  }

  extend(since: Moment): void {
    if (!this.held()) return;
    this.#since = since;
    this.#timer.cancel();
    this.#timer = this.#expiry();
  }

  end(): void {
    this.#timer.cancel();
    this.#ending.abort();
  }

  #expiry(): Timer {
    return this.#clock.setTimer(Math.max(0, this.leftMs), () => this.end());
  }
}
