/**
 * One path to another node: when it is asked next, and what its answers and silence mean. Asked rarely while it answers; after a first miss at once
 * again, so that three misses, which are silence, take less than two seconds; and rarely again while it is silent. Pure: time is handed in.
 */
import type { NodePath, PathReport } from "../../model/node-health.ts";
import type { ProbeAnswer, WatchCount } from "../../native/probe-contract.ts";
import { Latencies } from "./latencies.ts";
import type { Totals } from "./totals.ts";

/** ms without an answer that are a miss. An answer that comes later counts all the same. */
export const missMs = 600;
/** Misses in a row that are silence. */
const missesOfSilence = 3;

export interface Moment {
  readonly monotonicMs: number;
  /** ms since the epoch. */
  readonly wallMs: number;
}

export interface Pace {
  /** ms between two questions while all is well. */
  readonly intervalMs: () => number;
  /** 0..1 */
  readonly random: () => number;
  readonly totals: Totals;
}

/** What a path says when all is well. */
export type Expected = Pick<ProbeAnswer, "event" | "from">;

export class PathProbe {
  readonly path: NodePath;
  /** Of its last answer to a question to its own address; null: there was none. */
  expected: Expected | null = null;
  /** By which the addon asks it; null: it is asked from here. */
  watch: number | null = null;
  readonly #pace: Pace;
  readonly #latencies = new Latencies();
  #state: PathReport["state"] = "unknown";
  #sinceMs: number;
  #answeredMs: number | null = null;
  #dueMs: number;
  /** Of the question that waits for its answer; null: none does. */
  #askedMs: number | null = null;
  #sequence: number | null = null;
  #misses = 0;
  #sent = 0;
  #lost = 0;
  #told: string | null = null;

  /** @param firstMs ms until it is asked for the first time */
  constructor(path: NodePath, pace: Pace, now: Moment, firstMs: number) {
    this.path = path;
    this.#pace = pace;
    this.#sinceMs = now.wallMs;
    this.#dueMs = now.monotonicMs + firstMs;
  }

  get state(): PathReport["state"] {
    return this.#state;
  }

  /** Misses in a row. */
  get misses(): number {
    return this.#misses;
  }

  /** ms since the epoch of the last answer; null: none yet. */
  get answeredMs(): number | null {
    return this.#answeredMs;
  }

  /** This question was neither answered nor given up. */
  waitsFor(sequence: number): boolean {
    return this.#askedMs !== null && this.#sequence === sequence;
  }

  /** A question waits for its answer. */
  get isWaiting(): boolean {
    return this.#askedMs !== null;
  }

  /** ms between two questions while all is well. */
  get intervalMs(): number {
    return this.#pace.intervalMs();
  }

  /** ms of the monotonic clock when it is due or overdue. */
  get wakeMs(): number {
    if (this.watch !== null) return Number.POSITIVE_INFINITY;
    return this.#askedMs === null ? this.#dueMs : this.#askedMs + missMs;
  }

  isDue({ monotonicMs }: Moment): boolean {
    return this.watch === null && this.#askedMs === null && monotonicMs >= this.#dueMs;
  }

  isOverdue({ monotonicMs }: Moment): boolean {
    return this.#askedMs !== null && monotonicMs - this.#askedMs >= missMs;
  }

  /** @param sequence of the question */
  asked({ monotonicMs }: Moment, sequence: number): void {
    this.#askedMs = monotonicMs;
    this.#sequence = sequence;
    this.#sent++;
    this.#pace.totals.sent(this.path.kind, 1);
  }

  /** Something is odd about the node: it is asked now, unless it is known to be silent anyhow. */
  hurry({ monotonicMs }: Moment): void {
    if (this.#state !== "silent" && this.#askedMs === null) this.#dueMs = Math.min(this.#dueMs, monotonicMs);
  }

  /** Another path of the node answers again. */
  revive({ monotonicMs }: Moment): void {
    if (this.#askedMs === null) this.#dueMs = Math.min(this.#dueMs, monotonicMs);
  }

  /** What the addon found of it meanwhile. */
  account({ sent, answeredAgoMs, timesUs }: WatchCount, { wallMs }: Moment): void {
    this.#sent += sent;
    this.#pace.totals.sent(this.path.kind, sent);
    for (const us of timesUs) this.#took(us);
    if (answeredAgoMs !== null) this.#answeredMs = wallMs - answeredAgoMs;
  }

  /** It is not watched any more. */
  recalled({ monotonicMs }: Moment): void {
    this.watch = null;
    this.#dueMs = monotonicMs + this.#interval();
  }

  /** The addon has asked in vain. */
  lapsed({ monotonicMs }: Moment): void {
    this.#askedMs = monotonicMs - missMs;
  }

  /** @returns whether it begins to answer */
  answered(now: Moment, rttUs: number, told: string | null): boolean {
    this.#took(rttUs);
    this.#askedMs = null;
    this.#misses = 0;
    this.#told = told;
    this.#answeredMs = now.wallMs;
    this.#dueMs = now.monotonicMs + this.#interval();
    return this.#become("answers", now);
  }

  /** @param told by whom and what, if somebody said why @returns whether it becomes silent */
  missed(now: Moment, told: string | null): boolean {
    const asked = this.#askedMs ?? now.monotonicMs;
    this.#askedMs = null;
    this.#misses++;
    this.#lost++;
    this.#pace.totals.lost(this.path.kind);
    this.#told = told;
    const isSilent = this.#misses >= missesOfSilence;
    // A refusal comes at once: three of them must not be the matter of a moment.
    this.#dueMs = isSilent ? now.monotonicMs + this.#interval() : Math.max(now.monotonicMs, asked + missMs);
    return isSilent && this.#become("silent", now);
  }

  report(): PathReport {
    return {
      ...this.path,
      state: this.#state,
      since: this.#sinceMs,
      answered: this.#answeredMs,
      p50Us: this.#latencies.percentile(0.5),
      p99Us: this.#latencies.percentile(0.99),
      sent: this.#sent,
      lost: this.#lost,
      told: this.#told,
    };
  }

  #took(us: number): void {
    this.#latencies.add(us);
    this.#pace.totals.took(this.path.kind, us);
  }

  #become(state: PathReport["state"], { wallMs }: Moment): boolean {
    if (this.#state === state) return false;
    this.#state = state;
    this.#sinceMs = wallMs;
    return true;
  }

  /** Nodes that started together do not ask in step. */
  #interval(): number {
    return this.#pace.intervalMs() * (0.8 + 0.4 * this.#pace.random());
  }
}
