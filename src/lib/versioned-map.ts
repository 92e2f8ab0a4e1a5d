/**
 * Maps that never change and yet cost only their changes: a version made from another one shares all of it, and the difference of
 * two versions is read off without looking at what they have in common. A table of 10,000 rows can so be handed on after each
 * change of one row.
 *
 * One plain Map holds the newest version; each older one knows what to undo and who came next (Baker, "Shallow Binding Makes
 * Functional Arrays Fast", 1991). Reading an old version makes it the one that holds the Map. A version that nobody refers to is
 * garbage, as versions know only those after them. The order of the entries means nothing.
 */

type State<K, V> =
  | { readonly kind: "held"; readonly map: Map<K, V> }
  | { readonly kind: "derived"; readonly next: VersionedMap<K, V>; readonly undo: ReadonlyMap<K, V | undefined> };

export class VersionedMap<K, V> implements ReadonlyMap<K, V> {
  #state: State<K, V>;
  readonly size: number;

  private constructor(map: Map<K, V>) {
    this.#state = { kind: "held", map };
    this.size = map.size;
  }

  static from<K, V>(entries: Iterable<readonly [K, V]> = []): VersionedMap<K, V> {
    return new VersionedMap(new Map(entries));
  }

  /**
   * The version after these changes; this one, if they change nothing.
   * @param changes undefined: the key goes
   */
  with(changes: Iterable<readonly [K, V | undefined]>): VersionedMap<K, V> {
    const map = this.#held();
    const undo = new Map<K, V | undefined>();
    for (const [key, value] of changes) {
      const before = map.get(key);
      if (before === value) continue;
      if (!undo.has(key)) undo.set(key, before);
      if (value === undefined) map.delete(key);
      else map.set(key, value);
    }
    if (undo.size === 0) return this;
    const next = new VersionedMap(map);
    this.#state = { kind: "derived", next, undo };
    return next;
  }

  /**
   * What another version has under the keys that may differ.
   * @returns null: they were not made from each other
   */
  differing(before: VersionedMap<K, V>): ReadonlyMap<K, V | undefined> | null {
    this.#held();
    const values = new Map<K, V | undefined>();
    let at = before;
    while (at !== this) {
      const state = at.#state;
      if (state.kind === "held") return null;
      for (const [key, value] of state.undo) if (!values.has(key)) values.set(key, value);
      at = state.next;
    }
    return values;
  }

  get(key: K): V | undefined {
    return this.#held().get(key);
  }

  has(key: K): boolean {
    return this.#held().has(key);
  }

  keys(): MapIterator<K> {
    return this.#held().keys();
  }

  values(): MapIterator<V> {
    return this.#held().values();
  }

  entries(): MapIterator<[K, V]> {
    return this.#held().entries();
  }

  [Symbol.iterator](): MapIterator<[K, V]> {
    return this.entries();
  }

  forEach(each: (value: V, key: K, map: ReadonlyMap<K, V>) => void): void {
    for (const [key, value] of this.entries()) each(value, key, this);
  }

  /** Makes this the version that holds the Map: the versions from here to the one that does are turned round. */
  #held(): Map<K, V> {
    if (this.#state.kind === "held") return this.#state.map;
    const path: VersionedMap<K, V>[] = [];
    let at: VersionedMap<K, V> = this;
    while (at.#state.kind === "derived") {
      path.push(at);
      at = at.#state.next;
    }
    const { map } = at.#state;
    for (const version of path.reverse()) {
      if (version.#state.kind === "held") continue;
      const { undo } = version.#state;
      const redo = new Map<K, V | undefined>();
      for (const [key, value] of undo) {
        redo.set(key, map.get(key));
        if (value === undefined) map.delete(key);
        else map.set(key, value);
      }
      at.#state = { kind: "derived", next: version, undo: redo };
      version.#state = { kind: "held", map };
      at = version;
    }
    return map;
  }
}
