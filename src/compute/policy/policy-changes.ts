/** What differs between two lists of policies, both in order of their keys. */
import type { PolicyInForce } from "./book.ts";

export interface PolicyChanges {
  readonly removed: readonly PolicyInForce[];
  readonly added: readonly PolicyInForce[];
}

const none: PolicyChanges = { removed: [], added: [] };

/** A policy that was changed is both removed and added. */
export function listChanges(before: readonly PolicyInForce[], after: readonly PolicyInForce[]): PolicyChanges {
  if (before === after) return none;
  const removed: PolicyInForce[] = [];
  const added: PolicyInForce[] = [];
  let i = 0;
  let j = 0;
  while (i < before.length || j < after.length) {
    const old = before[i];
    const now = after[j];
    if (old !== undefined && old === now) {
      i++;
      j++;
    } else if (old !== undefined && (now === undefined || old.key <= now.key)) {
      removed.push(old);
      i++;
    } else if (now !== undefined) {
      added.push(now);
      j++;
    }
  }
  return { removed, added };
}
