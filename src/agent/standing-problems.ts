/**
 * Tells of what is wrong between tables once it has stood for a while: BGP, the kernel's routes and the cluster follow each other within milliseconds
 * to seconds, and what is about to be mended is no problem. It looks on a timer, and computes only when one of its tables has changed. What is found is
 * told at the moment when it has stood as long, and not at the look after it.
 */
import type { ComputeResult } from "../compute/result.ts";
import type { Clock, Timer } from "../lib/clock.ts";
import { BoundedFrequencyRunner } from "../lib/runner.ts";
import { inTurns, type Steps } from "../lib/turns.ts";
import type { ConditionSink, Problem } from "../model/status.ts";
import type { TableSnapshot, TableStore } from "../model/store.ts";
import type { BgpKnowledge } from "../observe/route-reasons.ts";

/** ms between two looks. */
const intervalMs = 1_000;

export interface Check {
  /** Of the conditions. */
  readonly topic: string;
  /** Only what changes in these makes it look again. */
  readonly tables: readonly (keyof TableSnapshot)[];
  /** ms that a problem may stand untold. */
  readonly graceMs: number;
  readonly find: (
    tables: TableSnapshot,
    result: ComputeResult,
    bgp: BgpKnowledge["state"],
  ) => readonly Problem[] | Steps<readonly Problem[]>;
}

export interface StandingProblemsOptions {
  readonly checks: readonly Check[];
  readonly store: Pick<TableStore, "snapshot">;
  readonly bgp: { readonly state: BgpKnowledge["state"] };
  readonly loop: { readonly result: ComputeResult | null };
  readonly conditions: ConditionSink;
  /** Also given what is told now. Not set: nobody else hears of it. */
  readonly onTold?: (topic: string, problems: readonly Problem[]) => void;
  readonly clock: Clock;
}

interface Standing {
  readonly problem: Problem;
  /** ms of the monotonic clock. */
  readonly sinceMs: number;
}

interface Watched {
  readonly check: Check;
  /** What the last look was at, referred to weakly: an old table keeps all that changed since. */
  seen: readonly (WeakRef<object> | string)[];
  standing: ReadonlyMap<string, Standing>;
  told: number;
}

export class StandingProblems {
  readonly #options: StandingProblemsOptions;
  readonly #runner: BoundedFrequencyRunner;
  readonly #watched: readonly Watched[];
  /** For what stands and is told before the next look. */
  #due: Timer | null = null;

  constructor(options: StandingProblemsOptions) {
    this.#options = options;
    this.#watched = options.checks.map((check) => ({ check, seen: [], standing: new Map(), told: 0 }));
    const { clock } = options;
    const action = () => this.#look();
    this.#runner = new BoundedFrequencyRunner({ clock, minIntervalMs: intervalMs, maxIntervalMs: intervalMs, action });
  }

  /** Once everything has been computed for the first time. */
  start(): void {
    this.#runner.trigger();
  }

  async stop(): Promise<void> {
    await this.#runner.stop();
    this.#due?.cancel();
  }

  async #look(): Promise<void> {
    const { store, loop } = this.#options;
    const { result } = loop;
    if (result === null) return;
    const tables = store.snapshot();
    for (const each of this.#watched) await this.#lookAt(each, tables, result);
    this.#tell();
  }

  /** What has stood long enough by now, and when that is so of the next one. */
  #tell(): void {
    const { clock } = this.#options;
    this.#due?.cancel();
    const now = clock.monotonicMs();
    let next = Number.POSITIVE_INFINITY;
    for (const each of this.#watched) next = Math.min(next, this.#tellOf(each, now));
    this.#due = next - now < intervalMs ? clock.setTimer(Math.ceil(next - now), () => this.#tell()) : null;
  }

  async #lookAt(watched: Watched, tables: TableSnapshot, result: ComputeResult): Promise<void> {
    const { bgp, clock } = this.#options;
    const { tables: names, find } = watched.check;
    const looked = [...names.map((name): object => tables[name]), result, bgp.state];
    if (isSeen(watched.seen, looked)) return;
    watched.seen = looked.map((each) => (typeof each === "string" ? each : new WeakRef(each)));
    const now = clock.monotonicMs();
    const before = watched.standing;
    const found = find(tables, result, bgp.state);
    const problems = "next" in found ? await inTurns(found, clock) : found;
    watched.standing = new Map(
      problems.map((problem) => {
        const key = `${problem.code} ${problem.object} ${problem.message}`;
        return [key, { problem, sinceMs: before.get(key)?.sinceMs ?? now }];
      }),
    );
  }

  /** @returns ms of the monotonic clock when the next of them is to be told; infinity: none waits */
  #tellOf(watched: Watched, now: number): number {
    const { conditions, onTold } = this.#options;
    const { topic, graceMs } = watched.check;
    const told: Problem[] = [];
    let next = Number.POSITIVE_INFINITY;
    for (const { problem, sinceMs } of watched.standing.values()) {
      if (now - sinceMs >= graceMs) told.push(problem);
      else next = Math.min(next, sinceMs + graceMs);
    }
    if (told.length > 0 || watched.told > 0) {
      conditions.report(topic, told);
      onTold?.(topic, told);
    }
    watched.told = told.length;
    return next;
  }
}

function isSeen(seen: readonly (WeakRef<object> | string)[], looked: readonly (object | string)[]): boolean {
  return looked.every((each, at) => {
    const before = seen[at];
    return each === (typeof before === "object" ? before.deref() : before);
  });
}
