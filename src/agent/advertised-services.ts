/**
 * Tells of service addresses that this node announces by BGP and does not serve. kube-router follows endpoints some 100 ms later than Tandem, and a
 * route server may take longer: only what stands for a few seconds is told. It looks on a timer, and computes only when a table has changed.
 */
import type { ComputeResult } from "../compute/result.ts";
import type { Clock } from "../lib/clock.ts";
import { BoundedFrequencyRunner } from "../lib/runner.ts";
import type { ConditionSink, Problem } from "../model/status.ts";
import type { TableStore } from "../model/store.ts";
import { advertisementProblems } from "../observe/advertisements.ts";
import type { BgpKnowledge } from "../observe/route-reasons.ts";

/** ms between two looks. */
const intervalMs = 1_000;
/** ms that an address may be announced without being served. */
const graceMs = 3_000;

export interface AdvertisedServicesOptions {
  readonly nodeName: string;
  readonly store: Pick<TableStore, "snapshot">;
  readonly bgp: { readonly state: BgpKnowledge["state"] };
  readonly loop: { readonly result: ComputeResult | null };
  readonly conditions: ConditionSink;
  readonly clock: Clock;
}

interface Standing {
  readonly problem: Problem;
  /** ms of the monotonic clock. */
  readonly sinceMs: number;
}

export class AdvertisedServices {
  readonly #options: AdvertisedServicesOptions;
  readonly #runner: BoundedFrequencyRunner;
  /** What the last look was at, referred to weakly: an old table keeps all that changed since. */
  #seen: readonly (WeakRef<object> | string)[] = [];
  #standing: ReadonlyMap<string, Standing> = new Map();
  #told = 0;

  constructor(options: AdvertisedServicesOptions) {
    this.#options = options;
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
    const { nodeName, store, bgp, loop, conditions, clock } = this.#options;
    const { result } = loop;
    if (result === null) return;
    const tables = store.snapshot();
    const { services, endpointSlices, pods, nodes, bgpPaths } = tables;
    const now = clock.monotonicMs();
    if (this.#isNew([services, endpointSlices, pods, nodes, bgpPaths, result, bgp.state])) {
      const problems = advertisementProblems(result.desired.frontends, tables, { nodeName, bgp: bgp.state });
      this.#standing = new Map(
        problems.map((problem) => {
          const key = `${problem.object} ${problem.message}`;
          return [key, { problem, sinceMs: this.#standing.get(key)?.sinceMs ?? now }];
        }),
      );
    }
    const told = [...this.#standing.values()].filter(({ sinceMs }) => now - sinceMs >= graceMs);
    if (told.length > 0 || this.#told > 0) {
      conditions.report(
        "advertised-services",
        told.map(({ problem }) => problem),
      );
    }
    this.#told = told.length;
  }

  #isNew(looked: readonly (object | string)[]): boolean {
    const isSame = looked.every((each, at) => {
      const seen = this.#seen[at];
      return each === (typeof seen === "object" ? seen.deref() : seen);
    });
    if (!isSame) this.#seen = looked.map((each) => (typeof each === "string" ? each : new WeakRef(each)));
    return !isSame;
  }
}
