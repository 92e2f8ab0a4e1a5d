/**
 * Numbers of identities for one node that has nobody to ask. Conntrack entries and pinned maps outlive the agent, so a set of labels
 * keeps its number over restarts, and the number of one that is gone is given to another as late as possible.
 */
import type { IdentityAllocator } from "../compute/result.ts";
import { TandemError } from "../lib/errors.ts";
import { mapChanges } from "../lib/map-diff.ts";

/** Numbers below are reserved (Cilium's). */
const firstNumber = 256;
/** 16 bits: the upper 8 of an identity are the cluster's. */
const lastNumber = 65_535;

/** Number -> the key that it was given for. */
type NumbersInUse = ReadonlyMap<number, { readonly key: string }>;

/** As it is written down; `free` is ordered, longest free first. */
export interface IdentityRecord {
  readonly version: 1;
  readonly numbers: Readonly<Record<string, number>>;
  readonly free: readonly string[];
}

export class LocalIdentityAllocator implements IdentityAllocator {
  readonly #numbers: Map<string, number>;
  /** Keys whose number nobody uses now, longest free first. They get it back if they return before it is needed. */
  readonly #free: Set<string>;
  /** Since the last `retain`: whoever asked may not use them after all. */
  readonly #asked = new Set<string>();
  /** Null: nobody said yet. */
  #used: NumbersInUse | null = null;
  #next: number;
  #changed = false;

  /** @param record null: nothing was written down yet */
  constructor(record: IdentityRecord | null) {
    this.#numbers = new Map(Object.entries(record?.numbers ?? {}));
    this.#free = new Set(record?.free.filter((key) => this.#numbers.has(key)) ?? []);
    this.#next = Math.max(firstNumber - 1, ...this.#numbers.values()) + 1;
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
  }

  unwritten(): IdentityRecord | null {
    if (!this.#changed) return null;
    return { version: 1, numbers: Object.fromEntries(this.#numbers), free: [...this.#free] };
  }

  written(): void {
    this.#changed = false;
  }

  #take(key: string): number {
    if (this.#next <= lastNumber) return this.#next++;
    const [oldest] = this.#free;
    const number = oldest === undefined ? undefined : this.#numbers.get(oldest);
    if (oldest === undefined || number === undefined) {
      throw new TandemError({
        code: "IDENTITIES_EXHAUSTED",
        object: key,
        message: `all ${lastNumber - firstNumber + 1} identity numbers are in use`,
        remedy: "use fewer different sets of pod labels",
      });
    }
    this.#free.delete(oldest);
    this.#numbers.delete(oldest);
    return number;
  }
}
