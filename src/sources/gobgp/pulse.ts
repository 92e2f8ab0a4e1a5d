/**
 * Whether gobgpd still answers on a connection that stands. It is asked the least that it can be asked, when it has said nothing for a while. All that
 * it is asked goes through one queue of its own, so a daemon that hangs is silent here, too, which a ping of HTTP/2 would not tell. Who is slow
 * is told as silent and not given up: a connection ends by the time limit of a call.
 */
import type { Clock } from "../../lib/clock.ts";

/** ms without a word before it is asked, and ms that it may then be silent: together less than the 2 s in which a status has to tell. */
export const pulseMs = { quiet: 800, patience: 1_000 } as const;

export interface PulseOptions {
  readonly ask: (signal: AbortSignal) => Promise<unknown>;
  readonly clock: Clock;
  readonly onSilent: () => void;
  /** After `onSilent`. */
  readonly onAnswer: () => void;
}

export class Pulse {
  readonly #options: PulseOptions;
  /** On the monotonic clock. */
  #heardAt = 0;

  constructor(options: PulseOptions) {
    this.#options = options;
  }

  /** It said something by itself. */
  heard(): void {
    this.#heardAt = this.#options.clock.monotonicMs();
  }

  /** Rejects with the error of a question, or with the signal's reason. */
  async run(signal: AbortSignal): Promise<never> {
    const { clock } = this.#options;
    this.heard();
    for (;;) {
      const left = this.#heardAt + pulseMs.quiet - clock.monotonicMs();
      if (left > 0) await clock.sleep(left, signal);
      else await this.#ask(signal);
    }
  }

  async #ask(signal: AbortSignal): Promise<void> {
    const { ask, clock, onSilent, onAnswer } = this.#options;
    const asked = clock.monotonicMs();
    let [isOver, isSilent] = [false, false];
    const look = () => {
      const left = Math.max(asked, this.#heardAt) + pulseMs.patience - clock.monotonicMs();
      if (left > 0) {
        timer = clock.setTimer(left, look);
        return;
      }
      // A late timer comes before the answer that waited as long as it did: that is heard first.
      setImmediate(() => {
        if (isOver || signal.aborted) return;
        isSilent = true;
        onSilent();
      });
    };
    let timer = clock.setTimer(pulseMs.patience, look);
    try {
      await ask(signal);
    } finally {
      isOver = true;
      timer.cancel();
    }
    this.heard();
    if (isSilent) onAnswer();
  }
}
