/** The numbers that a node uses, one for each set of labels and no two sets with the same: what outlives the agent. */
import { mapChanges } from "../lib/map-diff.ts";
import type { IdentityRecord, NumbersInUse } from "./record.ts";

export class HeldNumbers {
  readonly #numbers: Map<string, number>;
  readonly #keys: Map<number, string>;
  /** Since the last `retain`: whoever asked may not use them after all. */
  readonly #fresh = new Set<string>();
  /** Null: nobody said yet. */
  #used: NumbersInUse | null = null;
  /** Counts changes: numbers come also while the record of before is being written. */
  #changes = 0;
  #offered = 0;
  #written = 0;

  constructor(record: IdentityRecord | null) {
    this.#numbers = new Map(Object.entries(record?.numbers ?? {}));
    this.#keys = new Map([...this.#numbers].map(([key, number]) => [number, key]));
  }

  numberOf(key: string): number | null {
    return this.#numbers.get(key) ?? null;
  }

  keyOf(number: number): string | null {
    return this.#keys.get(number) ?? null;
  }

  keys(): Iterable<string> {
    return this.#numbers.keys();
  }

  /** @returns the set that had this number and has none now; null: nobody else had it */
  hold(key: string, number: number): string | null {
    this.#fresh.add(key);
    if (this.#numbers.get(key) === number) return null;
    const other = this.keyOf(number);
    if (other !== null) this.drop(other);
    this.drop(key);
    this.#numbers.set(key, number);
    this.#keys.set(number, key);
    this.#changes++;
    return other;
  }

  drop(key: string): void {
    const number = this.#numbers.get(key);
    if (number === undefined) return;
    this.#numbers.delete(key);
    this.#keys.delete(number);
    this.#changes++;
  }

  /** Drops what is not in use any more. It costs what changed since the last time. */
  retain(used: NumbersInUse): void {
    const before = this.#used;
    this.#used = used;
    const keys =
      before === null
        ? [...this.#numbers.keys()]
        : [...mapChanges(before, used).map((change) => change.before?.key ?? ""), ...this.#fresh];
    for (const key of keys) {
      const number = this.#numbers.get(key);
      if (number !== undefined && used.get(number)?.key !== key) this.drop(key);
    }
    this.#fresh.clear();
  }

  unwritten(): IdentityRecord | null {
    if (this.#written === this.#changes) return null;
    this.#offered = this.#changes;
    return { version: 1, numbers: Object.fromEntries(this.#numbers), free: [] };
  }

  written(): void {
    this.#written = this.#offered;
  }
}
