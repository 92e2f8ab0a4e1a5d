/**
 * How far policies of a kind have come, in nodes: where each agent is among the states that the policies went through. Pure but for its memory: an agent
 * whose state is not known stays where it was, and while that cannot be said it is undetermined for a while, so that nothing that was
 * written before is taken back for a moment's ignorance.
 */
import type { KindReport, PolicyVersion } from "../kube-objects/index.ts";
import type { PolicyStates } from "./policy-status-states.ts";

/** ms for which an agent may say something unknown before it counts as one that has not come so far. */
const patienceMs = 60_000;

export interface ReadPolicy extends PolicyVersion {
  readonly key: string;
  readonly valid: boolean;
}

export interface PolicyCounts {
  /** Agents that tell of policies. */
  readonly wanted: number;
  /** Have this generation in their kernel. */
  readonly enforcing: number;
  /** Could not take it. */
  readonly failing: readonly string[];
  /** It cannot be said now. */
  readonly undetermined: number;
}

interface Place {
  /** Number of its state; 0: before all. */
  readonly state: number;
  /** Monotonic ms; null: its state is known. */
  readonly unknownSince: number | null;
  readonly failing: KindReport["failing"];
  /** Exactly those policies fail that are not valid here. */
  readonly sameFailing: boolean;
}

const unknown: Place = {
  state: 0,
  unknownSince: null,
  failing: { count: 0, digest: "", keys: [] },
  sameFailing: false,
};

export class PolicyProgress {
  readonly #states: PolicyStates;
  /** By node. */
  readonly #places = new Map<string, Place>();
  #now = 0;

  constructor(states: PolicyStates) {
    this.#states = states;
  }

  /**
   * @param agents that live, by node; null: one that does not tell of policies now
   * @param now monotonic ms
   */
  look(agents: ReadonlyMap<string, KindReport | null>, now: number): void {
    this.#now = now;
    for (const node of this.#places.keys()) if (!agents.has(node)) this.#places.delete(node);
    for (const [node, report] of agents) {
      if (report === null) continue;
      this.#places.set(node, this.#placeOf(report, this.#places.get(node) ?? unknown));
    }
  }

  counts(policy: ReadPolicy): PolicyCounts {
    const since = this.#states.since(policy.key, policy) ?? Number.POSITIVE_INFINITY;
    const failing: string[] = [];
    let enforcing = 0;
    let undetermined = 0;
    for (const [node, place] of this.#places) {
      const verdict = this.#verdict(policy, since, place);
      if (verdict === "enforcing") enforcing++;
      else if (verdict === "failing") failing.push(node);
      else if (verdict === "undetermined") undetermined++;
    }
    return { wanted: this.#places.size, enforcing, failing: failing.sort(), undetermined };
  }

  /** One that is not recognised stays where it was, with what failed there. */
  #placeOf({ digest, failing }: KindReport, before: Place): Place {
    const state = this.#states.find(digest);
    if (state === null) return { ...before, unknownSince: before.unknownSince ?? this.#now };
    return { state: state.number, unknownSince: null, failing, sameFailing: failing.digest === state.invalid };
  }

  #verdict({ key, valid }: ReadPolicy, since: number, { state, unknownSince, failing, sameFailing }: Place) {
    if (state < since) {
      return unknownSince !== null && this.#now - unknownSince < patienceMs ? "undetermined" : "missing";
    }
    if (sameFailing) return valid ? "enforcing" : "failing";
    if (failing.keys.includes(key)) return "failing";
    // More of them fail than are named.
    return failing.keys.length < failing.count ? "undetermined" : "enforcing";
  }
}
