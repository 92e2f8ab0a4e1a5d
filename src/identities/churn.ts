/**
 * Sets of labels that come without end: a Job each minute whose pods have a label of their own makes an identity each minute, and policy
 * for it on every node. It works, but not for free, and somebody should know which label it is.
 */
import type { Problem } from "../model/status.ts";
import { securityLabels } from "./cilium-identity.ts";

const windowMs = 3_600_000;
/** Sets of one namespace within the window, that differ in a label, */
const many = 20;
/** and ms from the first to the last of them: what comes all at once is something new, and no churn. */
const spanMs = 600_000;
/** What is remembered at most. */
const most = 2_000;
/** ms until it is counted again. */
const restMs = 10_000;

const namespaceLabel = "k8s:io.kubernetes.pod.namespace";

export class IdentityChurn {
  readonly #recent: { readonly at: number; readonly key: string }[] = [];
  #counted: { readonly at: number; readonly problems: readonly Problem[] } | null = null;

  /** @param now ms, monotonic */
  came(key: string, now: number): void {
    this.#recent.push({ at: now, key });
    if (this.#recent.length > most) this.#recent.shift();
  }

  problems(now: number): readonly Problem[] {
    if (this.#counted === null || now - this.#counted.at >= restMs) {
      this.#counted = { at: now, problems: this.#count(now) };
    }
    return this.#counted.problems;
  }

  #count(now: number): readonly Problem[] {
    while (this.#recent[0] !== undefined && now - this.#recent[0].at > windowMs) this.#recent.shift();
    if (this.#recent.length < many) return [];
    const namespaces = new Map<string, { readonly at: number; readonly labels: Readonly<Record<string, string>> }[]>();
    for (const { at, key } of this.#recent) {
      const labels = securityLabels(key);
      const namespace = labels[namespaceLabel] ?? "";
      const sets = namespaces.get(namespace) ?? [];
      sets.push({ at, labels });
      namespaces.set(namespace, sets);
    }
    return [...namespaces].flatMap(([namespace, sets]) => {
      const lasted = (sets.at(-1)?.at ?? 0) - (sets[0]?.at ?? 0);
      const names = lasted < spanMs ? [] : unsteady(sets.map(({ labels }) => labels));
      return names.length === 0 ? [] : [problem(namespace, sets.length, names)];
    });
  }
}

/** Labels that have another value in most sets, sorted. */
function unsteady(sets: readonly Readonly<Record<string, string>>[]): readonly string[] {
  const values = new Map<string, Set<string>>();
  for (const labels of sets) {
    for (const [name, value] of Object.entries(labels)) {
      const known = values.get(name);
      if (known === undefined) values.set(name, new Set([value]));
      else known.add(value);
    }
  }
  const enough = Math.max(many, sets.length / 2);
  return [...values].flatMap(([name, distinct]) => (distinct.size >= enough ? [name] : [])).sort();
}

function problem(namespace: string, sets: number, names: readonly string[]): Problem {
  return {
    code: "IDENTITY_CHURN",
    severity: "warning",
    object: `Namespace ${namespace}`,
    field: names.join(", "),
    message: `${sets} new sets of pod labels within an hour, each with another value there: each is an identity of its own on every node`,
    remedy: "put what tells single pods apart into annotations and not into labels",
  };
}
