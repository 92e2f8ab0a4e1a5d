/**
 * Runs an action when asked, but not too often and never twice at once: requests that come while it runs or rests are one
 * request. A failed run is tried again with growing pauses; one that ran once runs anyway after a long quiet while.
 */
import { Backoff } from "./backoff.ts";
import type { Clock, Timer } from "./clock.ts";

export interface RunnerOptions {
  readonly clock: Clock;
  /** Least ms between the ends of runs and the next start. */
  readonly minIntervalMs: number;
  /** It runs after this many ms even if nobody asked; null: never. Counted from the end of a run: the first has to be asked for. */
  readonly maxIntervalMs: number | null;
  readonly action: () => Promise<void>;
  /** Pauses after failures; 100 ms to 10 s if not given. */
  readonly retry?: { readonly firstMs: number; readonly maxMs: number };
}

export class BoundedFrequencyRunner {
  readonly #options: RunnerOptions;
  readonly #backoff: Backoff;
  #timer: Timer | null = null;
  #due = Number.POSITIVE_INFINITY;
  #restUntil = 0;
  #running: Promise<void> | null = null;
  #wanted = false;
  #stopped = false;

  constructor(options: RunnerOptions) {
    this.#options = options;
    this.#backoff = new Backoff(options.retry ?? { firstMs: 100, maxMs: 10_000 });
  }

  /** Asks for a run as soon as the interval allows. */
  trigger(): void {
    if (this.#stopped) return;
    this.#wanted = true;
    if (this.#running === null) this.#schedule(this.#restUntil);
  }

  /** Runs as soon as a run that is under way has ended; settles as that run does. */
  async runNow(): Promise<void> {
    while (this.#running !== null) await this.#running.catch(() => undefined);
    if (!this.#stopped) await this.#run();
  }

  /** No further runs; resolves when the one under way has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = null;
    await this.#running?.catch(() => undefined);
  }

  #schedule(at: number): void {
    if (this.#stopped || (this.#timer !== null && this.#due <= at)) return;
    this.#timer?.cancel();
    this.#due = at;
    this.#timer = this.#options.clock.setTimer(Math.max(0, at - this.#options.clock.monotonicMs()), () => {
      this.#timer = null;
      // What it throws was counted by the back-off and is the action's to report.
      if (this.#running === null && !this.#stopped) void this.#run().catch(() => undefined);
    });
  }

  #run(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = null;
    this.#wanted = false;
    const { clock, minIntervalMs, maxIntervalMs, action } = this.#options;
    let pause = minIntervalMs;
    let again = false;
    const run = action().then(
      () => this.#backoff.reset(),
      (error: unknown) => {
        pause = Math.max(minIntervalMs, this.#backoff.next());
        again = true;
        throw error;
      },
    );
    this.#running = run.finally(() => {
      this.#running = null;
      const now = clock.monotonicMs();
      this.#restUntil = now + pause;
      if (this.#wanted || again) this.#schedule(this.#restUntil);
      else if (maxIntervalMs !== null) this.#schedule(now + maxIntervalMs);
    });
    return this.#running;
  }
}
