/** What differs between two maps of immutable values: values are compared by identity, so unchanged rows cost one look-up. */

export interface MapChange<V> {
  readonly key: string;
  /** undefined: it was not there. */
  readonly before: V | undefined;
  /** undefined: it is gone. */
  readonly after: V | undefined;
}

export function mapChanges<V>(before: ReadonlyMap<string, V>, after: ReadonlyMap<string, V>): readonly MapChange<V>[] {
  if (before === after) return [];
  const changes: MapChange<V>[] = [];
  for (const [key, value] of after) {
    const old = before.get(key);
    if (old !== value) changes.push({ key, before: old, after: value });
  }
  for (const [key, value] of before) if (!after.has(key)) changes.push({ key, before: value, after: undefined });
  return changes;
}
