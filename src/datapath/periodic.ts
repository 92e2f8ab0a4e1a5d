/** Does something again and again, with a pause between the end of one time and the start of the next. */
import type { Clock, Timer } from "../lib/clock.ts";

export class Periodic {
  readonly #clock: Clock;
  readonly #intervalMs: number;
  readonly #action: () => Promise<void>;
  #timer: Timer | null = null;
  #running: Promise<void> | null = null;
  #stopped = true;

  /** @param action must not reject */
  constructor(clock: Clock, intervalMs: number, action: () => Promise<void>) {
    this.#clock = clock;
    this.#intervalMs = intervalMs;
    this.#action = action;
  }

  start(): void {
    this.#stopped = false;
    this.#schedule();
  }

  /** Resolves when what is under way has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = null;
    await this.#running;
  }

  #schedule(): void {
    if (this.#stopped) return;
    this.#timer = this.#clock.setTimer(this.#intervalMs, () => {
      this.#running = this.#action().finally(() => {
        this.#running = null;
        this.#schedule();
      });
    });
  }
}
