/**
 * Which identities a selector selects, kept over time: a new identity is asked of each selector once, and an answer that did not
 * change is the same array, so that whoever compared it before need not look inside.
 */
import { type LabelMap, type Selector, selects } from "../../model/labels.ts";

export interface SelectableIdentity {
  readonly id: number;
  /** Canonical text of the labels. */
  readonly key: string;
  readonly labels: LabelMap;
}

interface Answer {
  readonly selector: Selector;
  /** Sorted. */
  ids: readonly number[];
  asked: boolean;
}

export class SelectorIndex {
  #identities: ReadonlyMap<number, SelectableIdentity> = new Map();
  #all: readonly number[] = [];
  readonly #answers = new Map<string, Answer>();

  /** Every identity, sorted. */
  get all(): readonly number[] {
    return this.#all;
  }

  /** Says which identities there are now. Answers that nobody asked for since the last call are forgotten. */
  update(identities: ReadonlyMap<number, SelectableIdentity>): void {
    const before = this.#identities;
    const gone = [...before.values()].filter(({ id, key }) => identities.get(id)?.key !== key).map(({ id }) => id);
    const come = [...identities.values()].filter(({ id, key }) => before.get(id)?.key !== key);
    this.#identities = identities;
    for (const [text, answer] of this.#answers) {
      if (!answer.asked) this.#answers.delete(text);
      answer.asked = false;
    }
    if (gone.length === 0 && come.length === 0) return;
    this.#all = [...identities.keys()].sort((a, b) => a - b);
    const left = new Set(gone);
    for (const answer of this.#answers.values()) {
      const added = come.filter(({ labels }) => selects(answer.selector, labels)).map(({ id }) => id);
      const kept = answer.ids.filter((id) => !left.has(id));
      if (added.length === 0 && kept.length === answer.ids.length) continue;
      answer.ids = [...kept, ...added].sort((a, b) => a - b);
    }
  }

  /** Sorted. */
  match(selector: Selector): readonly number[] {
    const known = this.#answers.get(selector.text);
    if (known !== undefined) {
      known.asked = true;
      return known.ids;
    }
    const ids: number[] = [];
    for (const id of this.#all) {
      const identity = this.#identities.get(id);
      if (identity !== undefined && selects(selector, identity.labels)) ids.push(id);
    }
    this.#answers.set(selector.text, { selector, ids, asked: true });
    return ids;
  }
}
