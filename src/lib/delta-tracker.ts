/**
 * What should be there, what is there, and so what is left to do:
 *
 *        desired                 actual
 *     +-----------+-----------------+-----------+
 *     |  pending  |  in sync        |  pending  |
 *     |  updates  |  (or differing: |  deletions|
 *     |           |  an update too) |           |
 *     +-----------+-----------------+-----------+
 *
 * Both sides are set independently: desired by who computes, actual by who reads and writes the kernel. Keys are texts.
 */

export class DeltaTracker<V> {
  readonly #equal: (a: V, b: V) => boolean;
  readonly #desired = new Map<string, V>();
  readonly #actual = new Map<string, V>();
  /** Keys where the sides differ; kept so that a cycle costs what changed, not what is there. */
  readonly #dirty = new Set<string>();

  constructor(equal: (a: V, b: V) => boolean) {
    this.#equal = equal;
  }

  get desired(): ReadonlyMap<string, V> {
    return this.#desired;
  }

  get actual(): ReadonlyMap<string, V> {
    return this.#actual;
  }

  get isClean(): boolean {
    return this.#dirty.size === 0;
  }

  setDesired(key: string, value: V): void {
    this.#desired.set(key, value);
    this.#compare(key);
  }

  deleteDesired(key: string): void {
    this.#desired.delete(key);
    this.#compare(key);
  }

  /** All of what should be there; what is not in it should go. */
  replaceDesired(entries: ReadonlyMap<string, V>): void {
    for (const key of this.#desired.keys()) if (!entries.has(key)) this.deleteDesired(key);
    for (const [key, value] of entries) this.setDesired(key, value);
  }

  /** An entry was written, or read. */
  setActual(key: string, value: V): void {
    this.#actual.set(key, value);
    this.#compare(key);
  }

  deleteActual(key: string): void {
    this.#actual.delete(key);
    this.#compare(key);
  }

  /** All of what was read. */
  replaceActual(entries: ReadonlyMap<string, V>): void {
    for (const key of this.#actual.keys()) if (!entries.has(key)) this.deleteActual(key);
    for (const [key, value] of entries) this.setActual(key, value);
  }

  /** To be written: missing or differing. */
  pendingUpdates(): readonly (readonly [string, V])[] {
    const updates: [string, V][] = [];
    for (const key of this.#dirty) {
      const value = this.#desired.get(key);
      if (value !== undefined) updates.push([key, value]);
    }
    return updates;
  }

  /** To be removed: there, and not wanted. */
  pendingDeletions(): readonly string[] {
    return [...this.#dirty].filter((key) => !this.#desired.has(key));
  }

  /** The update or deletion of this key is in the kernel now. */
  markApplied(key: string): void {
    const value = this.#desired.get(key);
    if (value === undefined) this.deleteActual(key);
    else this.setActual(key, value);
  }

  #compare(key: string): void {
    const wanted = this.#desired.get(key);
    const there = this.#actual.get(key);
    const same = wanted === undefined || there === undefined ? wanted === there : this.#equal(wanted, there);
    if (same) this.#dirty.delete(key);
    else this.#dirty.add(key);
  }
}
