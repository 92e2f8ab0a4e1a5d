/**
 * What people ask about a computation: made when they do, as it costs a look at everything. It is about the moment of the computation,
 * whatever was computed since.
 */
import { compareText } from "../model/labels.ts";
import type { Problem } from "../model/status.ts";
import type { PodIdentities } from "./identity/pods.ts";
import { reservedIdentities } from "./identity/reserved.ts";
import type { PolicyInForce } from "./policy/book.ts";
import type { HostSet } from "./policy/host-sets.ts";
import { SelectorIndex } from "./policy/selector-index.ts";
import type { ComputedIdentity, ComputedPolicy } from "./result.ts";

export interface ReportFacts {
  readonly policies: readonly PolicyInForce[];
  readonly identities: PodIdentities;
  readonly missing: ReadonlyMap<PolicyInForce, readonly Problem[]>;
  readonly host: HostSet | null;
}

export class Reports {
  readonly #facts: ReportFacts;
  #identities: readonly ComputedIdentity[] | null = null;
  #policies: readonly ComputedPolicy[] | null = null;

  constructor(facts: ReportFacts) {
    this.#facts = facts;
  }

  /** In use, and the reserved ones; sorted by number. */
  get identities(): readonly ComputedIdentity[] {
    this.#identities ??= identityReports(this.#facts.identities.identities);
    return this.#identities;
  }

  /** In order of their keys. */
  get policies(): readonly ComputedPolicy[] {
    this.#policies ??= policyReports(this.#facts);
    return this.#policies;
  }
}

function identityReports(identities: PodIdentities["identities"]): readonly ComputedIdentity[] {
  const reserved = reservedIdentities.map(({ id, labels }) => ({ id, labels, references: 0, reserved: true }));
  const used = [...identities.values()].map(({ id, texts, pods }) => {
    return { id, labels: texts, references: pods.length, reserved: false };
  });
  return [...reserved, ...used].sort((a, b) => a.id - b.id);
}

function policyReports({ policies, identities, missing, host }: ReportFacts): readonly ComputedPolicy[] {
  const selectors = new SelectorIndex();
  selectors.update(identities.identities);
  const guarded = new Map(host?.problems);
  const selectingNode = new Set(host?.policies);
  return policies.map((policy) => {
    const ids = new Set(policy.specs.flatMap(({ subject }) => selectors.find(subject)));
    const pods = [...ids].flatMap((id) => identities.identities.get(id)?.pods ?? []).map(({ key }) => key);
    const { kind, namespace, name } = policy.row;
    return {
      kind,
      namespace,
      name,
      valid: policy.valid,
      pods: pods.sort(compareText),
      ownNode: selectingNode.has(policy),
      problems: [...policy.problems, ...(missing.get(policy) ?? []), ...(guarded.get(policy) ?? [])],
    };
  });
}
