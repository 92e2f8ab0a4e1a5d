/** The same in as much memory as it takes: a list that grew has room for 17, and most lists of a cluster's objects, of very many, have one entry. */
export function exactList<T>(list: readonly T[]): readonly T[] {
  return list.slice();
}
