/**
 * Compiled sets with what names of DNS stand for at the moment. Rules are compiled without it, so that a new address of a name costs an entry in
 * each set that may use the name, and neither a recompilation nor an identity.
 *
 * Names never open what is inside of the cluster: their groups count for peers outside only (`CompiledDirection.outsideOnly`), so that whoever
 * answers for a name cannot lead a pod to other pods, to nodes or to its own host (DNS rebinding).
 */
import { type Address, comparePrefixes, makePrefix } from "../../model/ip.ts";
import type { NameRow } from "../../model/tables.ts";
import type { CompiledNames, CompiledPrefix, CompiledSet, Groups } from "../desired.ts";
import { sha256 } from "../policy/digest.ts";
import { NameIndex } from "./name-index.ts";
import { StaticPrefixes } from "./static-prefixes.ts";

interface Remembered {
  readonly base: CompiledSet;
  readonly fixed: StaticPrefixes;
  /** Of each pattern of the set, as it was asked. */
  readonly answers: readonly (readonly Address[])[];
  readonly entries: ReadonlyMap<string, CompiledPrefix>;
  readonly set: CompiledSet;
}

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
    const entries = entriesOf(names, answers, fixed, last?.entries ?? new Map());
    return { base, fixed, answers, entries, set: filledSet(base, entries) };
  }
}

/** @param before entries that are taken again where they say the same */
function entriesOf(
  names: CompiledNames,
  answers: readonly (readonly Address[])[],
  fixed: StaticPrefixes,
  before: ReadonlyMap<string, CompiledPrefix>,
): ReadonlyMap<string, CompiledPrefix> {
  const named = new Map<string, { readonly address: Address; readonly by: Groups[] }>();
  for (const [at, { groups }] of names.entries()) {
    for (const address of answers[at] ?? []) {
      const known = named.get(address.text);
      if (known === undefined) named.set(address.text, { address, by: [groups] });
      else if (!known.by.includes(groups)) known.by.push(groups);
    }
  }
  const entries = new Map<string, CompiledPrefix>();
  for (const [text, { address, by }] of named) {
    const around = fixed.groupsAt(address);
    const groups = union([around, ...by]);
    // The prefixes of the set say it already.
    if (groups.length === around.length) continue;
    const known = before.get(text);
    entries.set(
      text,
      known !== undefined && sameGroups(known.groups, groups)
        ? known
        : { prefix: makePrefix(address, address.bytes.length * 8), groups },
    );
  }
  return entries;
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
