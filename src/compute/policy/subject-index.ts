/**
 * Which policies select a set of labels, kept over time: a new set of labels is compared with the policies that may mean it, a changed
 * policy with the sets that it may mean.
 */
import { put, take } from "../../lib/sorted.ts";
import { compareText, selects } from "../../model/labels.ts";
import type { LabelSet } from "../identity/pods.ts";
import type { PolicyInForce } from "./book.ts";
import type { NamedPort } from "./named-ports.ts";
import { listChanges } from "./policy-changes.ts";
import type { Spec } from "./rules.ts";
import { SelectorBuckets } from "./selector-buckets.ts";

export interface Selecting {
  /** In order of the policies. */
  readonly specs: readonly Spec[];
  /** Port names that their ingress rules use: "6 http" -> port, sorted. */
  readonly named: ReadonlyMap<string, NamedPort>;
}

interface Answer {
  readonly labelSet: LabelSet;
  readonly policies: readonly PolicyInForce[];
  readonly selecting: Selecting;
  asked: boolean;
}

export class SubjectIndex {
  #policies: readonly PolicyInForce[] = [];
  readonly #bySubject = new SelectorBuckets<PolicyInForce>();
  /** By the key of the labels. */
  readonly #answers = new Map<string, Answer>();

  /** Says which policies there are now. Answers that nobody asked for since the last call are forgotten. */
  update(policies: readonly PolicyInForce[]): void {
    const { removed, added } = listChanges(this.#policies, policies);
    this.#policies = policies;
    for (const policy of removed) for (const { subject } of policy.specs) this.#bySubject.delete(subject, policy);
    for (const policy of added) for (const { subject } of policy.specs) this.#bySubject.add(subject, policy);
    for (const [key, answer] of this.#answers) {
      if (!answer.asked) {
        this.#answers.delete(key);
        continue;
      }
      const gone = removed.filter((policy) => selectsAny(policy, answer.labelSet));
      const come = added.filter((policy) => selectsAny(policy, answer.labelSet));
      if (gone.length === 0 && come.length === 0) {
        answer.asked = false;
        continue;
      }
      const now = [...answer.policies];
      for (const each of gone) take(now, ({ key: other }) => compareText(other, each.key));
      for (const each of come) put(now, each, (a, b) => compareText(a.key, b.key));
      this.#answers.set(key, makeAnswer(answer.labelSet, now, false));
    }
  }

  /** The same object, until another policy selects the labels. */
  selecting(labelSet: LabelSet): Selecting {
    const known = this.#answers.get(labelSet.key);
    if (known !== undefined) {
      known.asked = true;
      return known.selecting;
    }
    const candidates = new Set(this.#bySubject.candidates(labelSet.labels));
    const policies = [...candidates].filter((policy) => selectsAny(policy, labelSet));
    const answer = makeAnswer(
      labelSet,
      policies.sort((a, b) => compareText(a.key, b.key)),
      true,
    );
    this.#answers.set(labelSet.key, answer);
    return answer.selecting;
  }
}

function selectsAny({ specs }: PolicyInForce, { labels }: LabelSet): boolean {
  return specs.some(({ subject }) => selects(subject, labels));
}

function makeAnswer(labelSet: LabelSet, policies: readonly PolicyInForce[], asked: boolean): Answer {
  const specs = policies.flatMap((policy) => policy.specs.filter(({ subject }) => selects(subject, labelSet.labels)));
  return { labelSet, policies, selecting: { specs, named: ingressNames(specs) }, asked };
}

function ingressNames(specs: readonly Spec[]): ReadonlyMap<string, NamedPort> {
  const names = new Map<string, NamedPort>();
  for (const { rules } of specs) {
    for (const { direction, ports } of rules) {
      if (direction !== "ingress") continue;
      for (const port of ports) if (port.kind === "named") names.set(`${port.protocol} ${port.name}`, port);
    }
  }
  return new Map([...names].sort(([a], [b]) => compareText(a, b)));
}
