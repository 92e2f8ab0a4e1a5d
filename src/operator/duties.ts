/**
 * What the leader does during its term: definitions first, as the rest lives on them; then it follows the cluster, and when it has seen everything
 * once, each duty has its rounds. A duty that decides by what is missing has none while something is not followed.
 */
import type { NumberRange } from "../identities/index.ts";
import type { Clock } from "../lib/clock.ts";
import { messageOf } from "../lib/errors.ts";
import { BoundedFrequencyRunner } from "../lib/runner.ts";
import type { KubeClient } from "../kube/index.ts";
import type { Logger } from "../model/logging.ts";
import type { ConditionSink } from "../model/status.ts";
import { CiliumNodes } from "./cilium-nodes.ts";
import { ClusterView } from "./cluster-view.ts";
import { Definitions } from "./definitions.ts";
import { EndpointGc } from "./endpoint-gc.ts";
import { IdentityGc } from "./identity-gc.ts";
import type { Counters } from "./metrics.ts";
import type { Term } from "./term.ts";

/** ms between two looks at the definitions, and at all nodes although nothing was heard of them. */
const definitionsMs = 300_000;
const nodesMs = 600_000;
/** ms between rounds of a duty at least. */
const restMs = 1_000;

export interface DutiesOptions {
  readonly client: Pick<KubeClient, "get" | "create" | "update" | "patch" | "delete" | "list" | "watch">;
  readonly range: NumberRange;
  /** ms between rounds of garbage collection. */
  readonly gcIntervalMs: number;
  /** ms that an identity stays after its last use. */
  readonly identityGraceMs: number;
  readonly conditions: ConditionSink;
  readonly counters: Counters;
  readonly clock: Clock;
  readonly log: Logger;
}

export class Duties {
  readonly #options: DutiesOptions;

  constructor(options: DutiesOptions) {
    this.#options = options;
  }

  /** Until the term is over; resolves when nothing is under way any more. */
  async run(term: Term): Promise<void> {
    const { client, clock, log, counters, conditions, range, identityGraceMs, gcIntervalMs } = this.#options;
    const { signal } = term;
    const definitions = new Definitions({ client, conditions, log });
    const view: ClusterView = new ClusterView({ client, clock, log, range, onNodes: () => nodeRounds.trigger() });
    const shared = { client, view, clock, log, counters };
    const identities = new IdentityGc({ ...shared, range, graceMs: identityGraceMs });
    const endpoints = new EndpointGc(shared);
    const nodes = new CiliumNodes(shared);
    const definitionRounds = this.#rounds("definitions", definitionsMs, term, () => definitions.round(term));
    const nodeRounds = this.#rounds("nodes", nodesMs, term, async () => {
      if (this.#complete("nodes", view)) await nodes.round(term);
    });
    const gcRounds = this.#rounds("garbage", gcIntervalMs, term, async () => {
      if (!this.#complete("garbage", view)) return;
      // Endpoints first: they keep identities in use.
      await endpoints.round(term);
      await identities.round(term);
    });
    // What it throws is reported, and repeated.
    await definitionRounds.runNow().catch(() => undefined);
    const following = view.run(signal);
    await view.whenSynced(signal);
    if (!signal.aborted) {
      nodeRounds.trigger();
      gcRounds.trigger();
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    }
    await Promise.all([following, ...[definitionRounds, nodeRounds, gcRounds].map((rounds) => rounds.stop())]);
    for (const topic of ["definitions", "duty-nodes", "duty-garbage", "duty-definitions"]) conditions.report(topic, []);
  }

  /** A round that fails is a condition until one succeeds, and is repeated with growing pauses. */
  #rounds(name: string, maxIntervalMs: number, { signal }: Term, round: () => Promise<void>) {
    const { clock, conditions, counters } = this.#options;
    const action = async () => {
      try {
        await round();
        conditions.report(`duty-${name}`, []);
      } catch (error) {
        if (signal.aborted) return;
        counters.add("rounds_failed_total");
        const message = `a round failed: ${messageOf(error)}`;
        const remedy = "it is repeated; see that the API server is there and that the operator has its role";
        const about = { severity: "warning", object: `operator, ${name}`, field: "" } as const;
        conditions.report(`duty-${name}`, [{ ...about, code: "DUTY_FAILED", message, remedy }]);
        throw error;
      }
    };
    const retry = { firstMs: 1_000, maxMs: 60_000 };
    return new BoundedFrequencyRunner({ clock, minIntervalMs: restMs, maxIntervalMs, action, retry });
  }

  #complete(name: string, view: ClusterView): boolean {
    const stale = view.stale();
    if (stale.length > 0) this.#options.log.debug({ duty: name, stale }, "not now: not everything is followed");
    return stale.length === 0;
  }
}
