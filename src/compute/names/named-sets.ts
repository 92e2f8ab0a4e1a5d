/**
 * Compiled sets with what names of DNS stand for at the moment. Rules are compiled without it, so that a new address of a name costs an entry in
 * each set that may use the name, and neither a recompilation nor an identity.
 *
 * Names never open what is inside of the cluster: their groups count for peers outside only (`CompiledDirection.outsideOnly`), so that whoever
 * answers for a name cannot lead a pod to other pods, to nodes or to its own host (DNS rebinding).
 */
import { mapChanges } from "../../lib/map-diff.ts";
import { VersionedMap } from "../../lib/versioned-map.ts";
import { type Address, comparePrefixes, makePrefix } from "../../model/ip.ts";
import type { NameRow } from "../../model/tables.ts";
import type { CompiledNames, CompiledPrefix, CompiledSet, Groups } from "../desired.ts";
import { sha256 } from "../policy/digest.ts";
import { type NamedAddresses, NameIndex } from "./name-index.ts";
import { StaticPrefixes } from "./static-prefixes.ts";

interface Remembered {
  readonly base: CompiledSet;
  readonly fixed: StaticPrefixes;
  /** Of each pattern of the set, as it was asked. */
  readonly answers: readonly NamedAddresses[];
  readonly entries: Entries;
  readonly set: CompiledSet;
}

type Entries = VersionedMap<string, CompiledPrefix>;

export class NamedSets {
  readonly #index = new NameIndex();
  #remembered = new Map<string, Remembered>();

  /** @returns in the order given; sets without names as they are, others the same object as before if they say the same */
  fill(sets: readonly CompiledSet[], rows: ReadonlyMap<string, NameRow>): readonly CompiledSet[] {
    this.#index.update(rows);
    const remembered = new Map<string, Remembered>();
    const filled = sets.map((set) => {
      const { names } = set.egress;
      if (names === undefined) return set;
      const known = this.#fill(set, names);
      remembered.set(set.key, known);
      return known.set;
    });
    this.#remembered = remembered;
    return remembered.size === 0 ? sets : filled;
  }

  #fill(base: CompiledSet, names: CompiledNames): Remembered {
    const answers = names.map(({ pattern }) => this.#index.addresses(pattern));
    const last = this.#remembered.get(base.key);
    const before = last?.base === base ? last : null;
    if (before?.answers.every((each, at) => each === answers[at]) === true) return before;
    const fixed = before?.fixed ?? new StaticPrefixes(base.egress.prefixes);
    // An old version keeps those after it: none is remembered for longer than the set.
    const known = last?.entries ?? VersionedMap.from<string, CompiledPrefix>();
    const entry = (text: string) => [text, entryOf(text, names, answers, fixed, known)] as const;
    const touched = new Set(
      before === null
        ? answers.flatMap((each) => [...each.keys()])
        : before.answers.flatMap((each, at) => mapChanges(each, answers[at] ?? each).map(({ key }) => key)),
    );
    const entries = (before?.entries ?? VersionedMap.from<string, CompiledPrefix>()).with([...touched].map(entry));
    const set = entries === before?.entries ? before.set : filledSet(base, entries);
    return { base, fixed, answers, entries, set };
  }
}

/** @returns undefined: no name gives the address, or the prefixes of the set say it already; the known one, if it says the same */
function entryOf(
  text: string,
  names: CompiledNames,
  answers: readonly NamedAddresses[],
  fixed: StaticPrefixes,
  known: Entries,
): CompiledPrefix | undefined {
  const address = answers.reduce<Address | undefined>((found, each) => found ?? each.get(text), undefined);
  if (address === undefined) return undefined;
  const around = fixed.groupsAt(address);
  const groups = union([
    around,
    ...names.flatMap((each, at) => (answers[at]?.has(text) === true ? [each.groups] : [])),
  ]);
  if (groups.length === around.length) return undefined;
  const before = known.get(text);
  if (before !== undefined && sameGroups(before.groups, groups)) return before;
  return { prefix: makePrefix(address, address.bytes.length * 8), groups };
}

function union([first = [], ...others]: readonly Groups[]): Groups {
  if (others.every((groups) => groups.every((group) => first.includes(group)))) return first;
  return [...new Set([first, ...others].flat())].sort((a, b) => a - b);
}

function sameGroups(left: Groups, right: Groups): boolean {
  return left.length === right.length && left.every((group, at) => group === right[at]);
}

/** The whole table and the digest are for reports and comparisons: made when somebody asks, as a set may hold tens of thousands of addresses. */
function filledSet(base: CompiledSet, entries: ReadonlyMap<string, CompiledPrefix>): CompiledSet {
  const { key, refused, ingress, egress, digest } = base;
  let prefixes: readonly CompiledPrefix[] | null = null;
  let whole: string | null = null;
  return {
    key,
    get digest() {
      whole ??= sha256(
        [digest, ...[...entries].map(([text, { groups }]) => `${text} ${groups.join()}`).sort()].join("\n"),
      );
      return whole;
    },
    egress: {
      ...egress,
      get prefixes() {
        prefixes ??= together(egress.prefixes, entries);
        return prefixes;
      },
    },
    ingress,
    named: { base: digest, prefixes: egress.prefixes, entries },
    refused,
  };
}

function together(
  fixed: readonly CompiledPrefix[],
  entries: ReadonlyMap<string, CompiledPrefix>,
): readonly CompiledPrefix[] {
  const all = new Map(fixed.map((each) => [each.prefix.text, each]));
  for (const each of entries.values()) all.set(each.prefix.text, each);
  return [...all.values()].sort((a, b) => comparePrefixes(a.prefix, b.prefix));
}
