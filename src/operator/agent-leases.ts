/**
 * What the agents of the cluster say of themselves, in their Leases, and which of them live: those that are renewed, by this process' own clock. The
 * times in the objects are of other clocks, and only tell at the first look which leases are long forgotten.
 *
 * While Leases are not followed nobody is taken for gone; and after that everybody has time again to renew, since an API server that was
 * away for us was so for them.
 */
import type { Clock } from "../lib/clock.ts";
import { agentLabels, type AgentReport, decodeReport, reportAnnotation } from "../kube-objects/index.ts";
import { type KubeClient, kinds, type KubeObject, type Lease } from "../kube/index.ts";
import type { Logger } from "../model/logging.ts";
import type { ConditionSink } from "../model/status.ts";
import { Following } from "./following.ts";

/** ms without a byte after which the watch is dead: agents renew more often, and it has to be known before they count as gone. */
const silenceMs = 25_000;
/** How often a lease must have run out at the first look, by its own time, to be forgotten. */
const forgottenAfter = 3;

export interface AgentLeasesOptions {
  readonly client: Pick<KubeClient, "list" | "watch" | "history" | "get">;
  readonly clock: Clock;
  readonly log: Logger;
  readonly conditions: ConditionSink;
  /** Of the agents. */
  readonly namespace: string;
  /** An agent came or says something else, or agents are followed again. */
  readonly onChange: () => void;
}

interface ViewedLease {
  readonly report: AgentReport;
  readonly durationMs: number;
  /** ms since the epoch; NaN: it does not say. */
  readonly renewedAt: number;
}

interface Known extends ViewedLease {
  /** When it was seen to be renewed, monotonic ms. */
  readonly seenAt: number;
}

export interface Agent {
  readonly report: AgentReport;
  /** It renews its lease. */
  readonly live: boolean;
}

export class AgentLeases {
  readonly #options: AgentLeasesOptions;
  readonly #following: Following;
  /** By key of the Lease. */
  readonly #known = new Map<string, Known>();
  #first = true;
  #staleSince: number | null = null;

  constructor(options: AgentLeasesOptions) {
    this.#options = options;
    this.#following = new Following({ ...options, topic: "agents", onStatus: () => this.#followed() });
    const labelSelector = Object.entries(agentLabels)
      .map(([name, value]) => `${name}=${value}`)
      .join(",");
    this.#following.add<ViewedLease>(
      kinds.leases,
      readLease,
      ({ added, updated, deleted }) => {
        let news = deleted.length > 0;
        for (const key of deleted) this.#known.delete(key);
        for (const [key, lease] of [...added, ...updated]) news = this.#see(key, lease) || news;
        this.#first = false;
        if (news) options.onChange();
      },
      { namespace: options.namespace, labelSelector, silenceMs },
    );
  }

  run(signal: AbortSignal): Promise<void> {
    return this.#following.run(signal);
  }

  /** Whether they are followed at the moment. */
  followed(): boolean {
    return this.#following.stale().length === 0;
  }

  /** By node, those whose lease is there. */
  agents(): ReadonlyMap<string, Agent> {
    const now = this.#options.clock.monotonicMs();
    const agents = new Map<string, Agent>();
    for (const { report, seenAt, durationMs } of this.#known.values()) {
      const live = now - seenAt < durationMs;
      if (live || !agents.has(report.node)) agents.set(report.node, { report, live });
    }
    return agents;
  }

  /** @returns whether there is anything new but the time */
  #see(key: string, lease: ViewedLease): boolean {
    const { clock } = this.#options;
    const before = this.#known.get(key);
    const forgotten =
      this.#first && clock.now() - lease.renewedAt >= forgottenAfter * lease.durationMs
        ? Number.NEGATIVE_INFINITY
        : clock.monotonicMs();
    const renewed = before === undefined || before.renewedAt !== lease.renewedAt;
    this.#known.set(key, { ...lease, seenAt: renewed ? forgotten : before.seenAt });
    return before === undefined || JSON.stringify(before.report) !== JSON.stringify(lease.report);
  }

  #followed(): void {
    const now = this.#options.clock.monotonicMs();
    if (!this.followed()) {
      this.#staleSince ??= now;
      return;
    }
    const since = this.#staleSince;
    this.#staleSince = null;
    if (since !== null) {
      for (const [key, lease] of this.#known)
        if (since - lease.seenAt < lease.durationMs) this.#known.set(key, { ...lease, seenAt: now });
    }
    this.#options.onChange();
  }
}

function readLease({ metadata, spec }: KubeObject): ViewedLease | null {
  const report = decodeReport(metadata.annotations?.[reportAnnotation]);
  if (report === null) return null;
  const { leaseDurationSeconds, renewTime } = (spec ?? {}) as NonNullable<Lease["spec"]>;
  return { report, durationMs: (leaseDurationSeconds ?? 0) * 1_000, renewedAt: Date.parse(renewTime ?? "") };
}
