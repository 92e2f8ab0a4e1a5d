/**
 * Which identities a selector selects, kept over time: a new identity is asked of the selectors that may mean it, a new selector of the
 * identities that it may mean, and an answer that did not change is the same array, so that whoever compared it before need not
 * look inside.
 */
import { mapChanges } from "../../lib/map-diff.ts";
import { SetMap } from "../../lib/set-map.ts";
import { put, take } from "../../lib/sorted.ts";
import { type LabelMap, type Selector, selects } from "../../model/labels.ts";
import { SelectorBuckets } from "./selector-buckets.ts";

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

/** Answers that are worth no sweep. */
const fewAnswers = 1_000;

const byNumber = (a: number, b: number): number => a - b;

export class SelectorIndex {
  #identities: ReadonlyMap<number, SelectableIdentity> = new Map();
  #all: readonly number[] = [];
  /** "key=value" -> those that have the label. */
  readonly #byLabel = new SetMap<string, number>();
  readonly #answers = new Map<string, Answer>();
  readonly #answersByLabel = new SelectorBuckets<Answer>();
  #version = 0;
  /** Policies may come and go for ever without a new identity. */
  #mostAnswers = fewAnswers;

  /** Every identity, sorted. */
  get all(): readonly number[] {
    return this.#all;
  }

  /** Another number whenever there may be other answers: then all have to be asked for again. */
  get version(): number {
    return this.#version;
  }

  /** Says which identities there are now. If they changed, or answers became many, those that nobody asked for since the last time are forgotten. */
  update(identities: ReadonlyMap<number, SelectableIdentity>): void {
    const changes = mapChanges(this.#identities, identities).filter(({ before, after }) => before?.key !== after?.key);
    this.#identities = identities;
    if (changes.length === 0 && this.#answers.size < this.#mostAnswers) return;
    this.#version++;
    this.#forget();
    const all = [...this.#all];
    const changed = new Map<Answer, number[]>();
    const idsOf = (answer: Answer): number[] => {
      const ids = changed.get(answer) ?? [...answer.ids];
      changed.set(answer, ids);
      return ids;
    };
    for (const { before } of changes) {
      if (before === undefined) continue;
      take(all, (id) => id - before.id);
      for (const [key, value] of before.labels) this.#byLabel.delete(`${key}=${value}`, before.id);
      for (const answer of this.#meaning(before)) take(idsOf(answer), (id) => id - before.id);
    }
    for (const { after } of changes) {
      if (after === undefined) continue;
      put(all, after.id, byNumber);
      for (const [key, value] of after.labels) this.#byLabel.add(`${key}=${value}`, after.id);
      for (const answer of this.#meaning(after)) put(idsOf(answer), after.id, byNumber);
    }
    this.#all = all;
    for (const [answer, ids] of changed) answer.ids = ids;
  }

  /** Sorted. */
  match(selector: Selector): readonly number[] {
    const known = this.#answers.get(selector.text);
    if (known !== undefined) {
      known.asked = true;
      return known.ids;
    }
    const answer = { selector, ids: this.find(selector), asked: true };
    this.#answers.set(selector.text, answer);
    this.#answersByLabel.add(selector, answer);
    return answer.ids;
  }

  /** As `match`, for who asks once. */
  find(selector: Selector): readonly number[] {
    const known = this.#answers.get(selector.text);
    if (known !== undefined) return known.ids;
    const few = this.#fewest(selector);
    if (few === null) return this.#all.filter((id) => this.#isSelected(selector, id));
    return [...few].filter((id) => this.#isSelected(selector, id)).sort(byNumber);
  }

  #forget(): void {
    for (const [text, answer] of this.#answers) {
      if (!answer.asked) {
        this.#answers.delete(text);
        this.#answersByLabel.delete(answer.selector, answer);
      }
      answer.asked = false;
    }
    this.#mostAnswers = 2 * this.#answers.size + fewAnswers;
  }

  #isSelected(selector: Selector, id: number): boolean {
    const identity = this.#identities.get(id);
    return identity !== undefined && selects(selector, identity.labels);
  }

  /** Those with one of the labels that the selector demands; null: it demands none. */
  #fewest({ requirements }: Selector): ReadonlySet<number> | null {
    let fewest: ReadonlySet<number> | null = null;
    for (const { key, operator, values } of requirements) {
      const [value, ...others] = values;
      if (operator !== "In" || value === undefined || others.length > 0) continue;
      const ids = this.#byLabel.get(`${key}=${value}`);
      if (fewest === null || ids.size < fewest.size) fewest = ids;
    }
    return fewest;
  }

  *#meaning({ labels }: SelectableIdentity): Iterable<Answer> {
    for (const answer of this.#answersByLabel.candidates(labels)) if (selects(answer.selector, labels)) yield answer;
  }
}
