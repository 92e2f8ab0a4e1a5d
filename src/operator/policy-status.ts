/**
 * Writes the status of policies: whether each is valid, and how many nodes have it in their kernel.
 *
 * Every write is heard by all agents, so there are few: that a policy is valid is said at once, how far it has come every few seconds at most,
 * and that the number of nodes is another, where all have it, after a while. A thousand policies that are new at once are told
 * one after the other. What was said is not said again, even where somebody else says something else of the same, or the definition of
 * the kind drops fields: two operators must not write in turns.
 */
import type { Clock } from "../lib/clock.ts";
import { isStatus, type KubeClient, objectTitle } from "../kube/index.ts";
import type { Logger } from "../model/logging.ts";
import type { AgentLeases } from "./agent-leases.ts";
import type { Counters } from "./metrics.ts";
import { type StatusChange, statusChange, wantedStatus } from "./policy-status-conditions.ts";
import type { PolicyShelf, PolicyView, ViewedPolicy } from "./policy-status-view.ts";
import type { Term } from "./term.ts";

/** ms between two writes to one policy; for mere counts, as a node that joins changes those of all, longer the more policies there are. */
const pauses = { validity: 1_000, progress: 5_000, count: { each: 500, least: 30_000, most: 600_000 } } as const;
/** The first goes first. */
const urgency: Readonly<Record<StatusChange["kind"], number>> = { validity: 0, progress: 1, count: 2 };
/** Writes of one round, and of them at once: rounds are a second apart. */
const most = { round: 20, together: 4 } as const;
/** ms after which something is said again that the object does not say. */
const insistMs = 600_000;

export interface PolicyStatusOptions {
  readonly client: Pick<KubeClient, "patch">;
  readonly view: PolicyView;
  readonly agents: AgentLeases;
  readonly clock: Clock;
  readonly log: Logger;
  readonly counters: Counters;
}

/** What was written last. */
interface Written {
  readonly uid: string;
  readonly at: number;
  /** Of it, but times of changes. */
  readonly text: string;
  /** Not null: there is no such policy or status, as of this version of the object. */
  readonly missingAt: string | null;
}

interface Pending {
  readonly shelf: PolicyShelf;
  readonly policy: ViewedPolicy;
  readonly change: StatusChange;
  readonly text: string;
  readonly writtenAt: number;
}

export class PolicyStatusWriter {
  readonly #options: PolicyStatusOptions;
  /** By kind and key. */
  readonly #written = new Map<string, Written>();

  constructor(options: PolicyStatusOptions) {
    this.#options = options;
  }

  /** @returns whether there is more to write soon. @throws what the client throws, when each of a few was tried */
  async round(term: Term): Promise<boolean> {
    const pending = this.#pending();
    const now = pending.slice(0, most.round);
    const failures: unknown[] = [];
    for (let at = 0; at < now.length && failures.length === 0; at += most.together) {
      if (!term.held()) return false;
      const together = now.slice(at, at + most.together);
      await Promise.all(
        together.map((each) => this.#write(each, term.signal).catch((error: unknown) => failures.push(error))),
      );
    }
    if (failures.length > 0) throw failures[0];
    return pending.length > now.length;
  }

  /** What may be written now, the most urgent first. */
  #pending(): readonly Pending[] {
    const { view, agents, clock } = this.#options;
    const now = clock.monotonicMs();
    const live = agents.followed() ? [...agents.agents()].filter(([, agent]) => agent.live) : null;
    const pending: Pending[] = [];
    const present = new Set<string>();
    for (const shelf of view.shelves) {
      const { name, policies, progress } = shelf;
      if (live !== null) {
        progress.look(new Map(live.map(([node, { report }]) => [node, report.policies?.[name] ?? null])), now);
      }
      for (const policy of policies.values()) {
        present.add(keyOf(shelf, policy));
        const wanted = wantedStatus(policy, live === null ? null : progress.counts(policy));
        const change = statusChange(policy, wanted, clock.now());
        if (change === null) continue;
        const text = JSON.stringify(wanted);
        const writtenAt = this.#mayWrite(shelf, policy, change, text, now);
        if (writtenAt !== null) pending.push({ shelf, policy, change, text, writtenAt });
      }
    }
    for (const key of this.#written.keys()) if (!present.has(key)) this.#written.delete(key);
    return pending.sort((a, b) => urgency[a.change.kind] - urgency[b.change.kind] || a.writtenAt - b.writtenAt);
  }

  /** @returns when it was written last; null: not to be written now */
  #mayWrite(shelf: PolicyShelf, policy: ViewedPolicy, { kind }: StatusChange, text: string, now: number) {
    const before = this.#written.get(keyOf(shelf, policy));
    if (before === undefined || before.uid !== policy.uid) return Number.NEGATIVE_INFINITY;
    if (before.missingAt === policy.resourceVersion) return null;
    const pause = before.text === text ? insistMs : kind === "count" ? this.#countPauseMs() : pauses[kind];
    return now - before.at >= pause ? before.at : null;
  }

  #countPauseMs(): number {
    const { each, least, most: longest } = pauses.count;
    const policies = this.#options.view.shelves.reduce((sum, shelf) => sum + shelf.policies.size, 0);
    return Math.min(longest, Math.max(least, each * policies));
  }

  async #write({ shelf, policy, change, text }: Pending, signal: AbortSignal): Promise<void> {
    const { client, clock, log, counters } = this.#options;
    const { name, namespace, uid, resourceVersion } = policy;
    const path = { name, ...(namespace === "" ? {} : { namespace }) };
    const at = clock.monotonicMs();
    let missingAt: string | null = null;
    try {
      // Conditions are a list, which a patch replaces: as it was read, or not at all.
      const patch = { metadata: { resourceVersion }, status: change.patch };
      await client.patch(shelf.kind, path, patch, { subresource: "status", signal });
      counters.add("policy_statuses_written_total");
    } catch (error) {
      // Somebody wrote to it meanwhile: the view will tell.
      if (isStatus(error, 409)) return;
      if (!isStatus(error, 404)) throw error;
      // It was deleted meanwhile, or the kind is of somebody else and has no status of its own.
      log.debug({ policy: objectTitle(shelf.kind, path) }, "it has no status to be written");
      missingAt = resourceVersion;
    }
    this.#written.set(keyOf(shelf, policy), { uid, at, text, missingAt });
  }
}

function keyOf({ name }: PolicyShelf, { key }: ViewedPolicy): string {
  return `${name} ${key}`;
}
