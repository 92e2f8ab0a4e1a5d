/** Notices that something has been silent for too long. Feeding it is cheap enough for each piece of a stream. */
import type { Clock, Timer } from "../lib/clock.ts";

export class Watchdog {
  readonly #clock: Clock;
  readonly #onSilence: () => void;
  #patienceMs: number;
  #heardAt: number;
  #timer: Timer | null;

  /** @param patienceMs silence that is one too long; measured from now on */
  constructor(clock: Clock, patienceMs: number, onSilence: () => void) {
    this.#clock = clock;
    this.#onSilence = onSilence;
    this.#patienceMs = patienceMs;
    this.#heardAt = clock.monotonicMs();
    this.#timer = this.#arm(patienceMs);
  }

  /** Something was heard. */
  feed(): void {
    this.#heardAt = this.#clock.monotonicMs();
  }

  /** Something was heard, and from now on this much silence is allowed. */
  expect(patienceMs: number): void {
    if (this.#timer === null) return;
    this.#patienceMs = patienceMs;
    this.feed();
    this.#timer.cancel();
    this.#timer = this.#arm(patienceMs);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #arm(ms: number): Timer {
    return this.#clock.setTimer(ms, () => {
      const left = this.#heardAt + this.#patienceMs - this.#clock.monotonicMs();
      if (left > 0) {
        this.#timer = this.#arm(left);
        return;
      }
      this.#timer = null;
      this.#onSilence();
    });
  }
}
