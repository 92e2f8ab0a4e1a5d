/**
 * What the leader does during its term: definitions first, as the rest lives on them; then it follows the cluster, and when it has seen everything
 * that a duty goes by, the duty has its rounds. One that decides by what is missing has none while something is not followed.
 */
import type { NumberRange } from "../identities/index.ts";
import type { Clock } from "../lib/clock.ts";
import { messageOf } from "../lib/errors.ts";
import { BoundedFrequencyRunner } from "../lib/runner.ts";
import type { KubeClient } from "../kube/index.ts";
import type { Logger } from "../model/logging.ts";
import type { ConditionSink } from "../model/status.ts";
import { AgentLeases } from "./agent-leases.ts";
import { CiliumNodes } from "./cilium-nodes.ts";
import { ClusterView } from "./cluster-view.ts";
import { Definitions } from "./definitions.ts";
import { EndpointGc } from "./endpoint-gc.ts";
import { IdentityGc } from "./identity-gc.ts";
import type { Counters } from "./metrics.ts";
import { NodeReadiness } from "./node-readiness.ts";
import { PolicyStatusWriter } from "./policy-status.ts";
import { PolicyView } from "./policy-status-view.ts";
import type { Term } from "./term.ts";

/** ms between two looks at the definitions, and at all nodes although nothing was heard of them. */
const definitionsMs = 300_000;
const nodesMs = 600_000;
/** ms between two looks at which agents live. */
const agentsMs = 5_000;
/** ms between rounds of a duty at least. */
const restMs = 1_000;

export interface DutiesOptions {
  readonly client: Pick<KubeClient, "get" | "create" | "update" | "patch" | "delete" | "list" | "watch" | "history">;
  readonly range: NumberRange;
  /** ms between rounds of garbage collection. */
  readonly gcIntervalMs: number;
  /** ms that an identity stays after its last use. */
  readonly identityGraceMs: number;
  /** Where agents have their Leases. */
  readonly agentNamespace: string;
  /** Key of the taint of nodes whose agent is not ready; "": there is none. */
  readonly nodeTaint: string;
  /** Whether the condition NetworkUnavailable is written. */
  readonly nodeCondition: boolean;
  readonly conditions: ConditionSink;
  readonly counters: Counters;
  readonly clock: Clock;
  readonly log: Logger;
}

const dutyNames = ["definitions", "nodes", "garbage", "policies", "readiness"] as const;
type DutyName = (typeof dutyNames)[number];

/** Whether a round did what it is for; skipped: it could not be decided what is to be done. */
type Outcome = "done" | "more" | "skipped";

export class Duties {
  readonly #options: DutiesOptions;

  constructor(options: DutiesOptions) {
    this.#options = options;
  }

  /** Until the term is over; resolves when nothing is under way any more. */
  async run(term: Term): Promise<void> {
    const { client, clock, log, counters, conditions, range, identityGraceMs, gcIntervalMs } = this.#options;
    const { agentNamespace: namespace, nodeTaint, nodeCondition } = this.#options;
    const { signal } = term;
    const common = { client, clock, log, conditions, counters };
    const definitions = new Definitions(common);
    const definitionRounds = this.#rounds("definitions", definitionsMs, term, async () => {
      await definitions.round(term);
      return "done";
    });

    const view: ClusterView = new ClusterView({
      ...common,
      range,
      onNodes: () => {
        nodeRounds.trigger();
        readinessRounds.trigger();
      },
      onStatus: () => {
        for (const rounds of [nodeRounds, gcRounds, readinessRounds]) rounds.trigger();
      },
    });
    const isComplete = () => view.stale().length === 0;
    const identities = new IdentityGc({ ...common, view, range, graceMs: identityGraceMs });
    const endpoints = new EndpointGc({ ...common, view });
    const nodes = new CiliumNodes({ ...common, view });
    const nodeRounds = this.#rounds("nodes", nodesMs, term, async () => {
      if (!isComplete()) return "skipped";
      await nodes.round(term);
      return "done";
    });
    const gcRounds = this.#rounds("garbage", gcIntervalMs, term, async () => {
      if (!isComplete()) return "skipped";
      // Endpoints first: they keep identities in use.
      await endpoints.round(term);
      await identities.round(term);
      return "done";
    });

    const onChange = () => {
      statusRounds.trigger();
      readinessRounds.trigger();
    };
    const agents = new AgentLeases({ ...common, namespace, onChange });
    const policies = new PolicyView({ ...common, onChange: () => statusRounds.trigger() });
    const statuses = new PolicyStatusWriter({ ...common, view: policies, agents });
    const statusRounds: BoundedFrequencyRunner = this.#rounds("policies", agentsMs, term, async () => {
      if (!policies.followed()) return "skipped";
      return (await statuses.round(term)) ? "more" : "done";
    });
    const readiness = new NodeReadiness({ ...common, view, agents, taint: nodeTaint, condition: nodeCondition });
    const readinessRounds: BoundedFrequencyRunner = this.#rounds("readiness", agentsMs, term, async () => {
      if (!agents.followed() || view.stale().includes("nodes")) return "skipped";
      await readiness.round(term);
      return "done";
    });

    // What it throws is reported, and repeated.
    await definitionRounds.runNow().catch(() => undefined);
    // Each triggers the rounds that go by it.
    await Promise.all([view, agents, policies].map((followed) => followed.run(signal)));
    const all = [definitionRounds, nodeRounds, gcRounds, statusRounds, readinessRounds];
    await Promise.all(all.map((rounds) => rounds.stop()));
    for (const topic of ["definitions", ...dutyNames.map(topicOf)]) conditions.report(topic, []);
  }

  /** A round that fails is a condition until one succeeds, and is repeated with growing pauses; one that is skipped is neither. */
  #rounds(name: DutyName, maxIntervalMs: number, { signal }: Term, round: () => Promise<Outcome>) {
    const { clock, conditions, counters, log } = this.#options;
    const action = async () => {
      try {
        const outcome = await round();
        if (outcome === "skipped") log.debug({ duty: name }, "not now: not everything is followed");
        else conditions.report(topicOf(name), []);
        if (outcome === "more") rounds.trigger();
      } catch (error) {
        if (signal.aborted) return;
        counters.add("rounds_failed_total");
        const message = `a round failed: ${messageOf(error)}`;
        const remedy = "it is repeated; see that the API server is there and that the operator has its role";
        const about = { severity: "warning", object: `operator, ${name}`, field: "" } as const;
        conditions.report(topicOf(name), [{ ...about, code: "DUTY_FAILED", message, remedy }]);
        throw error;
      }
    };
    const retry = { firstMs: 1_000, maxMs: 60_000 };
    const rounds = new BoundedFrequencyRunner({ clock, minIntervalMs: restMs, maxIntervalMs, action, retry });
    return rounds;
  }
}

function topicOf(name: DutyName): string {
  return `duty-${name}`;
}
