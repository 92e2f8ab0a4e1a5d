/**
 * Sets of labels that wait for a number: asks for each in the background, a few at a time, with growing pauses after failures.
 *
 * Every node meets every set of the cluster, but the node that has a pod of it needs the number first: the others wait some seconds for
 * that one, and ask only if nothing came (its agent may be down).
 */
import { setMaxListeners } from "node:events";
import { identityDelayed, identityPending } from "../compute/result.ts";
import { Backoff } from "../lib/backoff.ts";
import type { Clock, Timer } from "../lib/clock.ts";
import { messageOf, TandemError } from "../lib/errors.ts";

const atOnce = 8;
/** ms that a node waits for the one that has the pods; drawn anew for each, so that not all ask then. */
const others = { least: 3_000, most: 10_000 } as const;
const retry = { firstMs: 500, maxMs: 20_000 } as const;
/** ms after which not having a number is worth a warning, if there is a reason. */
const patienceMs = 5_000;

export interface NumberRequestsOptions {
  readonly clock: Clock;
  /** 0..1 */
  readonly random: () => number;
  /** Resolves when the key has a number that can be asked for. */
  readonly obtain: (key: string, preferred: number | null, signal: AbortSignal) => Promise<void>;
  /** Why nobody can be asked yet. */
  readonly obstacle: () => string;
  /** Something new is to be said of a key. */
  readonly onNews: () => void;
}

interface Wanted {
  readonly key: string;
  readonly preferred: number | null;
  readonly since: number;
  readonly backoff: Backoff;
  own: boolean;
  due: number;
  running: boolean;
  failure: unknown;
  /** Its delay was reported. */
  told: boolean;
}

export class NumberRequests {
  readonly #options: NumberRequestsOptions;
  readonly #wanted = new Map<string, Wanted>();
  readonly #running = new Set<Promise<void>>();
  readonly #stopping = new AbortController();
  #open = false;
  #next: Timer | null = null;
  #telling: Timer | null = null;

  constructor(options: NumberRequestsOptions) {
    this.#options = options;
    // Every request listens to it.
    setMaxListeners(0, this.#stopping.signal);
  }

  /** Until now it was not known which sets have a number already. */
  open(): void {
    this.#open = true;
    this.#pump();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#next?.cancel();
    this.#telling?.cancel();
    await Promise.all(this.#running);
  }

  /** @param own a pod of this node has these labels */
  want(key: string, own: boolean, preferred: number | null = null): void {
    const now = this.#options.clock.monotonicMs();
    const known = this.#wanted.get(key);
    if (known === undefined) {
      const { random } = this.#options;
      const patience = own ? 0 : others.least + random() * (others.most - others.least);
      const backoff = new Backoff({ ...retry, random });
      const fresh = { running: false, failure: null, told: false };
      this.#wanted.set(key, { key, preferred, since: now, backoff, own, due: now + patience, ...fresh });
      this.#telling ??= this.#options.clock.setTimer(patienceMs, () => this.#tell());
    } else if (own && !known.own) {
      known.own = true;
      if (known.backoff.failures === 0) known.due = now;
    } else return;
    this.#pump();
  }

  done(key: string): boolean {
    return this.#wanted.delete(key);
  }

  /** Forgets those that nobody waits for, and returns them. */
  keep(isWanted: (key: string) => boolean): readonly string[] {
    const forgotten = [...this.#wanted.keys()].filter((key) => !isWanted(key));
    for (const key of forgotten) this.#wanted.delete(key);
    return forgotten;
  }

  /** Numbers became free: whoever found none looks again. */
  retryExhausted(): void {
    for (const wanted of this.#wanted.values()) {
      if (isExhaustion(wanted.failure)) wanted.due = this.#options.clock.monotonicMs();
    }
    this.#pump();
  }

  /** Some found no number that is free. */
  get exhausted(): boolean {
    return [...this.#wanted.values()].some(({ failure }) => isExhaustion(failure));
  }

  /** What is to be said of a key that has no number. */
  reasonOf(key: string): TandemError {
    const { clock, obstacle } = this.#options;
    const wanted = this.#wanted.get(key);
    if (wanted !== undefined && isExhaustion(wanted.failure)) {
      wanted.told = true;
      return wanted.failure;
    }
    const waitedMs = clock.monotonicMs() - (wanted?.since ?? clock.monotonicMs());
    const reason = this.#open ? wanted?.failure : obstacle();
    if (wanted === undefined || waitedMs < patienceMs || reason === null || reason === undefined) {
      const message = "its labels are new in the cluster and their number is on its way";
      return new TandemError({ code: identityPending, object: key, message, remedy: "none needed" });
    }
    wanted.told = true;
    return new TandemError({
      code: identityDelayed,
      object: key,
      message: `its labels are new in the cluster and there is no number for them: ${messageOf(reason)}`,
      remedy:
        "none needed if the API server comes back: it is tried again. Until then a new pod stays closed, and one whose labels changed goes on with its old ones",
    });
  }

  #pump(): void {
    this.#next?.cancel();
    this.#next = null;
    if (!this.#open || this.#stopping.signal.aborted) return;
    const now = this.#options.clock.monotonicMs();
    let next = Number.POSITIVE_INFINITY;
    for (const wanted of this.#wanted.values()) {
      // What ends looks again.
      if (this.#running.size >= atOnce) return;
      if (wanted.running) continue;
      if (wanted.due <= now) this.#start(wanted);
      else next = Math.min(next, wanted.due);
    }
    if (next < Number.POSITIVE_INFINITY) {
      this.#next = this.#options.clock.setTimer(next - now, () => this.#pump());
    }
  }

  #start(wanted: Wanted): void {
    wanted.running = true;
    const running = this.#ask(wanted).finally(() => {
      wanted.running = false;
      this.#running.delete(running);
      this.#pump();
    });
    this.#running.add(running);
  }

  async #ask(wanted: Wanted): Promise<void> {
    const { obtain, onNews, clock } = this.#options;
    const { signal } = this.#stopping;
    try {
      await obtain(wanted.key, wanted.preferred, signal);
      if (this.#wanted.get(wanted.key) === wanted) this.#wanted.delete(wanted.key);
    } catch (error) {
      if (signal.aborted) return;
      const news = isExhaustion(error) && !wanted.told;
      wanted.failure = error;
      wanted.due = clock.monotonicMs() + wanted.backoff.next();
      if (news) onNews();
    }
  }

  /** What fails for a while is news once. */
  #tell(): void {
    this.#telling = null;
    const untold = [...this.#wanted.values()].filter(({ told }) => !told);
    if (untold.length === 0) return;
    this.#telling = this.#options.clock.setTimer(patienceMs, () => this.#tell());
    const now = this.#options.clock.monotonicMs();
    const late = ({ since, failure }: Wanted) => now - since >= patienceMs && (!this.#open || failure !== null);
    if (untold.some(late)) this.#options.onNews();
  }
}

function isExhaustion(error: unknown): error is TandemError {
  return error instanceof TandemError && error.code === "IDENTITIES_EXHAUSTED";
}
