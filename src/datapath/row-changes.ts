/**
 * What differs between two lists of rows that are mostly the same objects in the same order, as a change of one service leaves them. Rows are
 * compared by identity: whoever computes them makes a new object for a row that changed, and only for that.
 */
import type { DesiredFrontend } from "../compute/desired.ts";

export interface RowChanges<T> {
  readonly gone: readonly T[];
  readonly come: readonly T[];
}

/** Several reconcilers go by the frontends, and all from the same list to the same next one: whoever remembers the last answer looks once. */
export type FrontendChanges = (
  before: readonly DesiredFrontend[],
  after: readonly DesiredFrontend[],
) => RowChanges<DesiredFrontend>;

/** Cost: a comparison per row, and two sets of those between the first and the last change. */
export function rowChanges<T>(before: readonly T[], after: readonly T[]): RowChanges<T> {
  if (before === after) return { gone: [], come: [] };
  const shorter = Math.min(before.length, after.length);
  let start = 0;
  while (start < shorter && before[start] === after[start]) start++;
  let end = 0;
  while (end < shorter - start && before[before.length - 1 - end] === after[after.length - 1 - end]) end++;
  const old = before.slice(start, before.length - end);
  const fresh = after.slice(start, after.length - end);
  const kept = new Set(fresh);
  const known = new Set(old);
  return { gone: old.filter((row) => !kept.has(row)), come: fresh.filter((row) => !known.has(row)) };
}
