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

/** Work that can be left after each of its steps, and gives its result with the last one. */
export type Steps<R> = Generator<void, R>;

export function atOnce<R>(steps: Steps<R>): R {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

export async function inTurns<R>(steps: Steps<R>, clock: Pick<Clock, "monotonicMs">): Promise<R> {
  const turns = new Turns(clock);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    if (turns.isOver) await turns.next();
  }
}
