/**
 * Tells of what is wrong between tables once it has stood for a while: BGP, the kernel's routes and the cluster follow each other within milliseconds
 * to seconds, and what is about to be mended is no problem. It looks on a timer, and computes only when one of its tables has changed.
 */
import type { ComputeResult } from "../compute/result.ts";
import type { Clock } from "../lib/clock.ts";
import { BoundedFrequencyRunner } from "../lib/runner.ts";
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
  readonly find: (tables: TableSnapshot, result: ComputeResult, bgp: BgpKnowledge["state"]) => readonly Problem[];
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

  constructor(options: StandingProblemsOptions) {
    this.#options = options;
    this.#watched = options.checks.map((check) => ({ check, seen: [], standing: new Map(), told: 0 }));
    const { clock } = options;
    const action = async () => this.#look();
    this.#runner = new BoundedFrequencyRunner({ clock, minIntervalMs: intervalMs, maxIntervalMs: intervalMs, action });
  }

  /** Once everything has been computed for the first time. */
  start(): void {
    this.#runner.trigger();
  }

  stop(): Promise<void> {
    return this.#runner.stop();
  }

  #look(): void {
    const { store, loop } = this.#options;
    const { result } = loop;
    if (result === null) return;
    const tables = store.snapshot();
    for (const each of this.#watched) this.#lookAt(each, tables, result);
  }

  #lookAt(watched: Watched, tables: TableSnapshot, result: ComputeResult): void {
    const { bgp, conditions, clock } = this.#options;
    const { topic, tables: names, graceMs, find } = watched.check;
    const now = clock.monotonicMs();
    const looked = [...names.map((name): object => tables[name]), result, bgp.state];
    if (!isSeen(watched.seen, looked)) {
      watched.seen = looked.map((each) => (typeof each === "string" ? each : new WeakRef(each)));
      const before = watched.standing;
      watched.standing = new Map(
        find(tables, result, bgp.state).map((problem) => {
          const key = `${problem.code} ${problem.object} ${problem.message}`;
          return [key, { problem, sinceMs: before.get(key)?.sinceMs ?? now }];
        }),
      );
    }
    const told = [...watched.standing.values()].flatMap(({ problem, sinceMs }) =>
      now - sinceMs >= graceMs ? problem : [],
    );
    if (told.length > 0 || watched.told > 0) {
      conditions.report(topic, told);
      this.#options.onTold?.(topic, told);
    }
    watched.told = told.length;
  }
}

function isSeen(seen: readonly (WeakRef<object> | string)[], looked: readonly (object | string)[]): boolean {
  return looked.every((each, at) => {
    const before = seen[at];
    return each === (typeof before === "object" ? before.deref() : before);
  });
}
