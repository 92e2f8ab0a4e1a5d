/** Sets by key; one that becomes empty is gone. */

const nothing: ReadonlySet<never> = new Set<never>();

export class SetMap<K, V> {
  readonly #sets = new Map<K, Set<V>>();

  /** How many keys have a set. */
  get size(): number {
    return this.#sets.size;
  }

  get(key: K): ReadonlySet<V> {
    return this.#sets.get(key) ?? nothing;
  }

  add(key: K, value: V): void {
    const known = this.#sets.get(key);
    if (known === undefined) this.#sets.set(key, new Set([value]));
    else known.add(value);
  }

  delete(key: K, value: V): void {
    const known = this.#sets.get(key);
    known?.delete(value);
    if (known?.size === 0) this.#sets.delete(key);
  }
}
