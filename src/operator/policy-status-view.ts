/** The policies whose status the leader writes, read as agents read them; of each only what its status is made of is kept. */
import { parsePolicy } from "../compute/policy/parse.ts";
import type { Clock } from "../lib/clock.ts";
import { type Batch, isRecord, type KubeClient, kinds, type KubeKind, type KubeObject } from "../kube/index.ts";
import type { Logger } from "../model/logging.ts";
import type { ConditionSink, Problem } from "../model/status.ts";
import type { PolicyRow } from "../model/tables.ts";
import { readObject } from "../sources/files/index.ts";
import { Following } from "./following.ts";
import { PolicyProgress, type ReadPolicy } from "./policy-status-progress.ts";
import { PolicyStates } from "./policy-status-states.ts";

export interface ViewedPolicy extends ReadPolicy {
  readonly name: string;
  /** "": it has none. */
  readonly namespace: string;
  readonly resourceVersion: string;
  /** Errors, and of one that is valid what is to be known about it. */
  readonly problems: readonly Problem[];
  /** Agents cannot even take it as a policy: they stay with the object as it was before. */
  readonly unreadable: boolean;
  /** As it is at the API server. */
  readonly status: Readonly<Record<string, unknown>>;
}

/** Policies of a kind. */
export interface PolicyShelf {
  readonly kind: KubeKind;
  readonly name: "CiliumNetworkPolicy" | "CiliumClusterwideNetworkPolicy";
  readonly policies: Map<string, ViewedPolicy>;
  readonly states: PolicyStates;
  readonly progress: PolicyProgress;
}

export interface PolicyViewOptions {
  readonly client: Pick<KubeClient, "list" | "watch" | "history" | "get">;
  readonly clock: Clock;
  readonly log: Logger;
  readonly conditions: ConditionSink;
  readonly onChange: () => void;
}

export class PolicyView {
  readonly shelves: readonly PolicyShelf[] = [
    shelfOf(kinds.ciliumNetworkPolicies, "CiliumNetworkPolicy"),
    shelfOf(kinds.ciliumClusterwideNetworkPolicies, "CiliumClusterwideNetworkPolicy"),
  ];
  readonly #following: Following;

  constructor(options: PolicyViewOptions) {
    const { onChange } = options;
    this.#following = new Following({ ...options, topic: "policies", onStatus: onChange });
    for (const shelf of this.shelves) {
      this.#following.add<ViewedPolicy>(shelf.kind, readViewedPolicy, (batch) => {
        shelve(shelf, batch);
        onChange();
      });
    }
  }

  run(signal: AbortSignal): Promise<void> {
    return this.#following.run(signal);
  }

  /** Whether all of them are followed at the moment. */
  followed(): boolean {
    return this.#following.stale().length === 0;
  }
}

function shelfOf(kind: KubeKind, name: PolicyShelf["name"]): PolicyShelf {
  const states = new PolicyStates();
  return { kind, name, policies: new Map(), states, progress: new PolicyProgress(states) };
}

/** In the order in which they were written, so that there is a state for each that agents may be at. */
function shelve({ policies, states }: PolicyShelf, { added, updated, deleted }: Batch<ViewedPolicy>): void {
  const written = [...added, ...updated].sort(([, a], [, b]) => compareVersions(a.resourceVersion, b.resourceVersion));
  for (const [key, policy] of written) {
    const before = policies.get(key);
    policies.set(key, policy);
    if (!policy.unreadable) states.put(key, policy, policy.valid);
    else if (before?.uid !== policy.uid) states.remove(key);
  }
  for (const key of deleted) {
    policies.delete(key);
    states.remove(key);
  }
}

/** Decimal, as of every server since etcd 3; otherwise in any order. */
function compareVersions(a: string, b: string): number {
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : a > b ? 1 : 0;
}

export function readViewedPolicy(object: KubeObject): ViewedPolicy {
  const { name, namespace = "", uid = "", generation = 0, resourceVersion = "" } = object.metadata;
  const reading = readObject({ value: object, file: "the Kubernetes API", line: 0 });
  const row = reading.refused ? null : (reading.row as PolicyRow | null);
  const parsed = row === null ? null : parsePolicy(row);
  // Fields that this version does not know of are no problem: API servers are newer.
  const errors = reading.problems.filter(({ severity }) => severity === "error");
  return {
    key: namespace === "" ? name : `${namespace}/${name}`,
    name,
    namespace,
    uid,
    generation,
    resourceVersion,
    valid: parsed?.valid ?? false,
    problems: parsed === null ? errors : parsed.problems,
    unreadable: row === null,
    status: isRecord(object.status) ? object.status : {},
  };
}
