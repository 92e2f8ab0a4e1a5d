/**
 * Addresses of names in the kernel: entries of policy_prefix4/6 that come and go in place, under the number that their set has. The rest of
 * a set is never changed in place (`policy-sets.ts`); these may be, as each is one write and says all that holds for its address.
 *
 * An entry that goes takes something away from flows that were allowed by it: their endpoints get another revision afterwards. While the
 * agent is away the entries stay. A restarted agent knows a set with exactly the addresses that it wants, and writes another one anew.
 */
import type { CompiledPrefix, CompiledSet, Groups, NamedPrefixes } from "../compute/desired.ts";
import { mapChanges } from "../lib/map-diff.ts";
import { encodePrefix, encodeSet, type PolicyRow } from "./policy-encode.ts";

type Entries = ReadonlyMap<string, CompiledPrefix>;

/** One step from what is in the kernel to what should be. */
export interface NamedChange {
  /** Text of the address. */
  readonly address: string;
  readonly row: PolicyRow;
  /** The entry goes: of the row only the place counts. */
  readonly isRemoval: boolean;
  /** What is there afterwards; null: nothing that a name gave. */
  readonly after: CompiledPrefix | null;
  readonly takesAway: boolean;
}

/** Of one set, what is in the kernel. */
export class NamedEntries {
  readonly number: number;
  readonly #compiled: CompiledSet;
  readonly #fixed: ReadonlyMap<string, CompiledPrefix>;
  #entries: Entries;
  /** As it was last asked for; compared first, as it is one object for as long as nothing changes. */
  #wanted: Entries | null;

  constructor(number: number, compiled: CompiledSet, named: NamedPrefixes) {
    this.number = number;
    // Without the addresses that it had: an old version of them would keep all that came after it.
    const { key, digest, egress, ingress, refused } = compiled;
    this.#compiled = { key, digest, egress: { ...egress, prefixes: named.prefixes }, ingress, refused };
    this.#fixed = new Map(named.prefixes.map((each) => [each.prefix.text, each]));
    this.#entries = named.entries;
    this.#wanted = named.entries;
  }

  /** What to write so that the set has these. */
  changes(wanted: Entries): readonly NamedChange[] {
    if (wanted === this.#wanted) return [];
    return mapChanges(this.#entries, wanted).flatMap(({ key, before, after }) => this.#change(key, before, after));
  }

  /** Takes for written what was. @param failed of the changes */
  written(wanted: Entries, changes: readonly NamedChange[], failed: ReadonlySet<NamedChange>): void {
    if (failed.size === 0) {
      this.#entries = wanted;
      this.#wanted = wanted;
      return;
    }
    const entries = new Map(this.#entries);
    for (const change of changes) {
      if (failed.has(change)) continue;
      if (change.after === null) entries.delete(change.address);
      else entries.set(change.address, change.after);
    }
    this.#entries = entries;
    this.#wanted = null;
  }

  /** All rows of the set as they are in the kernel. */
  rows(): readonly PolicyRow[] {
    const { egress } = this.#compiled;
    const prefixes = new Map(this.#fixed);
    for (const each of this.#entries.values()) prefixes.set(each.prefix.text, each);
    return encodeSet({ ...this.#compiled, egress: { ...egress, prefixes: [...prefixes.values()] } });
  }

  #change(
    address: string,
    before: CompiledPrefix | undefined,
    after: CompiledPrefix | undefined,
  ): readonly NamedChange[] {
    const { prefix } = (after ?? before) as CompiledPrefix;
    // Sets of two identities with the same rules have entries of their own that say the same.
    if (before !== undefined && after !== undefined && isSame(before.groups, after.groups)) return [];
    // What the rules say of the address alone holds again when no name gives it any more.
    const fixed = this.#fixed.get(prefix.text);
    const now = after?.groups ?? fixed?.groups ?? null;
    const row = encodePrefix({ prefix, groups: now ?? [] });
    const takesAway = before !== undefined && !holdsAll(now ?? [], before.groups);
    return [{ address, row, isRemoval: now === null, after: after ?? null, takesAway }];
  }
}

function isSame(left: Groups, right: Groups): boolean {
  return left.length === right.length && left.every((group, at) => group === right[at]);
}

function holdsAll(groups: Groups, wanted: Groups): boolean {
  return wanted.every((group) => groups.includes(group));
}
