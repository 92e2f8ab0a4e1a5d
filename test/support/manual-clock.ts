/** A clock that goes only when the test says so. */
import type { Clock, Timer } from "../../src/lib/clock.ts";

interface Due {
  readonly at: number;
  readonly callback: () => void;
}

export class ManualClock implements Clock {
  #ms = 1_000;
  readonly #due = new Set<Due>();

  now(): number {
    return 1_700_000_000_000 + this.#ms;
  }

  monotonicMs(): number {
    return this.#ms;
  }

  setTimer(ms: number, callback: () => void): Timer {
    const due = { at: this.#ms + ms, callback };
    this.#due.add(due);
    return { cancel: () => void this.#due.delete(due) };
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const abort = () => {
        timer.cancel();
        reject(signal?.reason);
      };
      const timer = this.setTimer(ms, () => {
        signal?.removeEventListener("abort", abort);
        resolve();
      });
      if (signal?.aborted) abort();
      signal?.addEventListener("abort", abort, { once: true });
    });
  }

  /** Lets `ms` pass: timers fire in order, and what they started goes on until it waits for time or for the world. */
  async advance(ms: number): Promise<void> {
    const end = this.#ms + ms;
    await settle();
    for (;;) {
      const next = [...this.#due].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#due.delete(next);
      this.#ms = Math.max(this.#ms, next.at);
      next.callback();
      await settle();
    }
    this.#ms = end;
  }

  /** Lets `ms` pass as a busy event loop sees it: first all timers that are due, and only then what happened meanwhile. */
  async late(ms: number, happened: () => void): Promise<void> {
    this.#ms += ms;
    for (const due of [...this.#due].filter(({ at }) => at <= this.#ms).sort((a, b) => a.at - b.at)) {
      this.#due.delete(due);
      due.callback();
      await Promise.resolve();
    }
    happened();
    await this.advance(0);
  }
}

/** Promises that wait for nothing but each other are through after some turns of the event loop. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}
