/**
 * Numbers of identities for one node that has nobody to ask. Conntrack entries and pinned maps outlive the agent, so a set of labels
 * keeps its number over restarts, and the number of one that is gone is given to another as late as possible.
 */
import { TandemError } from "../lib/errors.ts";
import { mapChanges } from "../lib/map-diff.ts";
import { type IdentityRecord, localNumbers, type NumbersInUse, type RecordedAllocator } from "./record.ts";

const { first, last } = localNumbers;
/** Sets of labels that nobody has now and that get their number back if they return. A Job that makes a new set each minute leaves a trail. */
const mostFree = 4_096;

export class LocalIdentityAllocator implements RecordedAllocator {
  readonly #numbers: Map<string, number>;
  /** Keys whose number nobody uses now, longest free first. They get it back if they return before it is needed. */
  readonly #free: Set<string>;
  /** Since the last `retain`: whoever asked may not use them after all. */
  readonly #asked = new Set<string>();
  /** Null: nobody said yet. */
  #used: NumbersInUse | null = null;
  /** What `#numbers` has. */
  readonly #given: Set<number>;
  /** Where the search for a number begins: it goes round, so that a number rests as long as it can. */
  #next: number;
  #changed = false;

  /** @param record null: nothing was written down yet */
  constructor(record: IdentityRecord | null) {
    this.#numbers = new Map(Object.entries(record?.numbers ?? {}));
    this.#free = new Set(record?.free.filter((key) => this.#numbers.has(key)) ?? []);
    this.#given = new Set(this.#numbers.values());
    this.#next = Math.max(first - 1, ...this.#given) + 1;
  }

  /** @throws TandemError IDENTITIES_EXHAUSTED when 65,280 sets of labels are in use at once */
  numberFor(key: string): number {
    const known = this.#numbers.get(key);
    this.#asked.add(key);
    if (known !== undefined) {
      if (this.#free.delete(key)) this.#changed = true;
      return known;
    }
    const number = this.#take(key);
    this.#numbers.set(key, number);
    this.#given.add(number);
    this.#changed = true;
    return number;
  }

  /**
   * Says which numbers are in use now: the others are free from here on. It costs what changed since the last time.
   * @param used number -> what it stands for
   */
  retain(used: NumbersInUse): void {
    const before = this.#used;
    this.#used = used;
    const keys =
      before === null
        ? this.#numbers.keys()
        : [...mapChanges(before, used).map((change) => change.before?.key ?? ""), ...this.#asked];
    for (const key of keys) {
      const number = this.#numbers.get(key);
      if (number === undefined || used.has(number) || this.#free.has(key)) continue;
      this.#free.add(key);
      this.#changed = true;
    }
    this.#asked.clear();
    for (const key of this.#free) {
      if (this.#free.size <= mostFree) break;
      this.#forget(key);
    }
  }

  unwritten(): IdentityRecord | null {
    if (!this.#changed) return null;
    return { version: 1, numbers: Object.fromEntries(this.#numbers), free: [...this.#free] };
  }

  written(): void {
    this.#changed = false;
  }

  #take(key: string): number {
    if (this.#given.size > last - first) {
      const [oldest] = this.#free;
      if (oldest === undefined) {
        throw new TandemError({
          code: "IDENTITIES_EXHAUSTED",
          object: key,
          message: `all ${last - first + 1} identity numbers are in use`,
          remedy: "use fewer different sets of pod labels",
        });
      }
      return this.#forget(oldest);
    }
    for (;;) {
      if (this.#next > last) this.#next = first;
      const number = this.#next++;
      if (!this.#given.has(number)) return number;
    }
  }

  /** @returns the number, which others may have now */
  #forget(key: string): number {
    const number = this.#numbers.get(key) ?? first;
    this.#free.delete(key);
    this.#numbers.delete(key);
    this.#given.delete(number);
    return number;
  }
}
