/**
 * Gives others a turn in long work. What is read from a stream that has much to say comes without a pause: an await on what is there already
 * is no turn of the event loop, and timers and sockets wait for as long as there is more. Counting what was done says little of how long it took.
 */
import type { Clock } from "./clock.ts";

/** ms of work in one go. */
const mostMs = 4;

export class Turns {
  readonly #clock: Pick<Clock, "monotonicMs">;
  #since: number;

  constructor(clock: Pick<Clock, "monotonicMs">) {
    this.#clock = clock;
    this.#since = clock.monotonicMs();
  }

  /** To be asked between two pieces, and if it says so `next` to be awaited: an await for each piece would cost more than small pieces do. */
  get isOver(): boolean {
    return this.#clock.monotonicMs() - this.#since >= mostMs;
  }

  async next(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    this.#since = this.#clock.monotonicMs();
  }
}
