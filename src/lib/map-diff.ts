/**
 * What differs between two maps of immutable values. Values are compared by identity. Versions of one map cost what changed between
 * them, other maps one look-up for each entry.
 */
import { VersionedMap } from "./versioned-map.ts";

export interface MapChange<V, K = string> {
  readonly key: K;
  /** undefined: it was not there. */
  readonly before: V | undefined;
  /** undefined: it is gone. */
  readonly after: V | undefined;
}

export function mapChanges<V, K = string>(
  before: ReadonlyMap<K, V>,
  after: ReadonlyMap<K, V>,
): readonly MapChange<V, K>[] {
  if (before === after) return [];
  const known = before instanceof VersionedMap && after instanceof VersionedMap ? after.differing(before) : null;
  if (known === null) return allChanges(before, after);
  return [...known]
    .map(([key, value]) => ({ key, before: value, after: after.get(key) }))
    .filter((change) => change.before !== change.after);
}

function allChanges<V, K>(before: ReadonlyMap<K, V>, after: ReadonlyMap<K, V>): readonly MapChange<V, K>[] {
  const changes: MapChange<V, K>[] = [];
  for (const [key, value] of after) {
    const old = before.get(key);
    if (old !== value) changes.push({ key, before: old, after: value });
  }
  for (const [key, value] of before) if (!after.has(key)) changes.push({ key, before: value, after: undefined });
  return changes;
}
