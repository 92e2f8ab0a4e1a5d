/** Things behind selectors, kept so that those which may select some labels are found without asking all of them. */
import { SetMap } from "../../lib/set-map.ts";
import type { LabelMap, Requirement, Selector } from "../../model/labels.ts";
import { namespaceKey } from "../identity/labels.ts";

export class SelectorBuckets<T> {
  /** By a label, or the key of one, that whoever is selected has. */
  readonly #byLabel = new SetMap<string, T>();
  /** Their selectors say only what labels must not be. */
  readonly #anywhere = new Set<T>();

  add(selector: Selector, thing: T): void {
    const labels = neededLabels(selector);
    if (labels === null) this.#anywhere.add(thing);
    for (const label of labels ?? []) this.#byLabel.add(label, thing);
  }

  delete(selector: Selector, thing: T): void {
    const labels = neededLabels(selector);
    if (labels === null) this.#anywhere.delete(thing);
    for (const label of labels ?? []) this.#byLabel.delete(label, thing);
  }

  /** All things whose selector selects these labels, and some others; a thing of one selector comes once. */
  *candidates(labels: LabelMap): Iterable<T> {
    yield* this.#anywhere;
    for (const [key, value] of labels) {
      yield* this.#byLabel.get(key);
      yield* this.#byLabel.get(`${key}=${value}`);
    }
  }
}

/**
 * One of these labels ("key=value", or a key) is on whatever the selector selects. Of several requirements the one that promises
 * to be the rarest: a namespace has many pods, an application few.
 * @returns null: there is none; empty: it selects nothing
 */
function neededLabels({ requirements }: Selector): readonly string[] | null {
  let best: Requirement | null = null;
  for (const each of requirements) {
    if (breadth(each) < (best === null ? Number.POSITIVE_INFINITY : breadth(best))) best = each;
  }
  if (best === null) return null;
  const { key, operator, values } = best;
  return operator === "Exists" ? [key] : values.map((value) => `${key}=${value}`);
}

function breadth({ key, operator, values }: Requirement): number {
  switch (operator) {
    case "In":
      return key === namespaceKey ? 1000 + values.length : values.length;
    case "Exists":
      return 1_000_000;
    case "NotIn":
    case "DoesNotExist":
      return Number.POSITIVE_INFINITY;
  }
}
