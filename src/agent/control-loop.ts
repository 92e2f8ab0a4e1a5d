/**
 * Facts to kernel: whenever the tables changed, compute what should hold, write down new identity numbers, apply. Changes that come
 * together are computed together; a failure is retried with a growing pause and shown until it is mended.
 */
import type { ComputeResult } from "../compute/result.ts";
import type { DesiredState } from "../compute/desired.ts";
import type { RecordedAllocator } from "../identities/index.ts";
import type { Clock } from "../lib/clock.ts";
import { BoundedFrequencyRunner } from "../lib/runner.ts";
import type { PendingChanges } from "../model/endpoint-state.ts";
import type { LastGood } from "../model/last-good.ts";
import type { Logger } from "../model/logging.ts";
import type { ConditionSink, Problem } from "../model/status.ts";
import type { TableSnapshot, TableStore } from "../model/store.ts";
import type { PolicyRow, TableName } from "../model/tables.ts";
import type { IdentityFile } from "./identity-file.ts";

/** ms between two computations: long enough to take a burst of changes as one, short against a pod's start. */
const minIntervalMs = 5;
/** ms after which it all is compared again although nothing changed. */
const maxIntervalMs = 60_000;

/** ms of rest after the dearest computations. */
const longestRestMs = 1_000;

/** ms from a change to the kernel after which it counts as on its way: most take a hundredth of that. */
const lateMs = 1_000;

/** Changes of policies whose way to the kernel is timed at once. */
const mostTimed = 1_024;

/** Compute does not read these: they are for reports. */
const reportTables: ReadonlySet<TableName> = new Set<TableName>(["bgpPeers", "bgpPaths"]);

export interface ControlLoopOptions {
  readonly store: TableStore;
  readonly compute: (snapshot: TableSnapshot) => ComputeResult;
  readonly apply: (desired: DesiredState) => Promise<void>;
  /** Called with what is in the kernel from now on. */
  readonly applied?: (result: ComputeResult, tables: TableSnapshot) => void;
  /** Called when it could not be computed or written; it is tried again. */
  readonly failed?: () => void;
  readonly allocator: RecordedAllocator;
  readonly identityFile: Pick<IdentityFile, "write">;
  /** Of policies, by their keys. */
  readonly lastValid: Pick<LastGood<PolicyRow>, "keep">;
  /** Further tables that computing does not read. Not set: none. */
  readonly unread?: ReadonlySet<TableName>;
  readonly conditions: ConditionSink;
  /** Is told how long things took. */
  readonly durations?: {
    round(loop: "compute" | "apply", ms: number): void;
    policyChange(ms: number): void;
  };
  readonly log: Logger;
  readonly clock: Clock;
}

export class ControlLoop {
  readonly #options: ControlLoopOptions;
  readonly #runner: BoundedFrequencyRunner;
  #unsubscribe: () => void = () => undefined;
  #result: ComputeResult | null = null;
  #facts = 0;
  #applied = 0;
  /** ms of the monotonic clock of the first change that is not in the kernel; null: all are. */
  #behindSince: number | null = null;
  /** Changes of policies that are not in the kernel: their revision, and when they were seen. */
  #policyChanges: { readonly revision: number; readonly since: number }[] = [];
  #isRunning = false;
  #started = false;
  #settle: () => void = () => undefined;
  readonly #stopping = new AbortController();

  constructor(options: ControlLoopOptions) {
    this.#options = options;
    this.#runner = new BoundedFrequencyRunner({
      clock: options.clock,
      minIntervalMs,
      maxIntervalMs,
      action: () => this.#supervised(),
    });
  }

  /** Of the last computation; null before the first. */
  get result(): ComputeResult | null {
    return this.#result;
  }

  /** Revision of the last change of tables, and of the tables that the kernel was given last. */
  get revision(): { readonly facts: number; readonly applied: number } {
    return { facts: this.#facts, applied: this.#applied };
  }

  /** Whether changes have been on their way into the kernel for longer than usual. */
  get pending(): PendingChanges {
    if (this.#behindSince === null || this.#options.clock.monotonicMs() - this.#behindSince < lateMs) return "none";
    return this.#isRunning ? "running" : "waiting";
  }

  /** Follows the tables from now on. Resolves when a computation was applied for the first time, or with `stop`. */
  async start(): Promise<void> {
    const settled = new Promise<void>((resolve) => {
      this.#settle = resolve;
    });
    this.#unsubscribe = this.#options.store.onChange(({ table, revision }) => {
      if (reportTables.has(table) || this.#options.unread?.has(table) === true) return;
      this.#facts = revision;
      const since = this.#options.clock.monotonicMs();
      this.#behindSince ??= since;
      // While nothing can be applied those that came first tell how long it takes.
      const { length } = this.#policyChanges;
      if (table === "policies" && length < mostTimed) this.#policyChanges.push({ revision, since });
      this.#runner.trigger();
    });
    this.#facts = this.#options.store.revision;
    this.#started = true;
    this.#runner.trigger();
    await settled;
  }

  /** Computes again although no table changed: something that computing asks for has another answer. Nothing before `start`. */
  recompute(): void {
    if (this.#started) this.#runner.trigger();
  }

  async stop(): Promise<void> {
    this.#unsubscribe();
    this.#settle();
    this.#stopping.abort();
    await this.#runner.stop();
  }

  /** The runner retries what rejects. */
  async #supervised(): Promise<void> {
    const { conditions } = this.#options;
    let computeMs = 0;
    this.#isRunning = true;
    try {
      computeMs = await this.#run();
      conditions.report("control", []);
      this.#settle();
    } catch (error) {
      conditions.report("control", [failure(error)]);
      this.#options.failed?.();
      throw error;
    } finally {
      this.#isRunning = false;
    }
    await this.#rest(computeMs);
  }

  /** Computing blocks the event loop: at most half of the time goes there, so that the API and pods' starts are served in a storm of changes. */
  async #rest(computeMs: number): Promise<void> {
    if (computeMs <= minIntervalMs) return;
    // Rejected by stop() only.
    await this.#options.clock.sleep(Math.min(computeMs, longestRestMs), this.#stopping.signal).catch(() => undefined);
  }

  /** @returns ms that computing took */
  async #run(): Promise<number> {
    const { store, compute, apply, allocator, identityFile, lastValid, conditions, durations, clock, log } =
      this.#options;
    const start = clock.monotonicMs();
    const { revision } = store;
    const tables = store.snapshot();
    const result = compute(tables);
    const computeMs = clock.monotonicMs() - start;
    durations?.round("compute", computeMs);
    conditions.report("compute", result.problems);
    allocator.retain(result.identitiesInUse);
    // Before the kernel learns of a number: a crash in between must not give it to somebody else.
    const record = allocator.unwritten();
    if (record !== null) {
      if (await identityFile.write(record)) allocator.written();
    }
    lastValid.keep(result.lastValid);
    this.#result = result;
    const applyStart = clock.monotonicMs();
    await apply(result.desired);
    durations?.round("apply", clock.monotonicMs() - applyStart);
    this.#applied = revision;
    this.#tellPolicyChanges(revision);
    this.#behindSince = this.#facts > revision ? start : null;
    this.#options.applied?.(result, tables);
    const applyMs = clock.monotonicMs() - start - computeMs;
    log.debug({ revision, computeMs: Math.round(computeMs), applyMs: Math.round(applyMs) }, "applied");
    return computeMs;
  }

  /** @param applied what the kernel has now */
  #tellPolicyChanges(applied: number): void {
    const now = this.#options.clock.monotonicMs();
    for (const { revision, since } of this.#policyChanges) {
      if (revision <= applied) this.#options.durations?.policyChange(now - since);
    }
    this.#policyChanges = this.#policyChanges.filter(({ revision }) => revision > applied);
  }
}

function failure(error: unknown): Problem {
  const known = error as { readonly code?: unknown; readonly object?: unknown; readonly remedy?: unknown };
  return {
    code: typeof known.code === "string" ? known.code : "APPLY_FAILED",
    severity: "error",
    object: typeof known.object === "string" ? known.object : "datapath",
    field: "",
    message: error instanceof Error ? error.message : String(error),
    remedy: typeof known.remedy === "string" ? known.remedy : "it is tried again; the kernel goes on with what it has",
  };
}
