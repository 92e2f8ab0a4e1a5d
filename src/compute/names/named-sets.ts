/**
 * Compiled sets with what names of DNS stand for at the moment. Rules are compiled without it, so that a new address of a name costs an entry in
 * each set that may use the name, and neither a recompilation nor an identity. Where a pod's own lookups count for that pod alone, each pod
 * whose rules are about names has a set of its own.
 *
 * Names never open what is inside of the cluster: their groups count for peers outside only (`CompiledDirection.outsideOnly`), so that whoever
 * answers for a name cannot lead a pod to other pods, to nodes or to its own host (DNS rebinding).
 */
import { mapChanges } from "../../lib/map-diff.ts";
import { VersionedMap } from "../../lib/versioned-map.ts";
import { type Address, comparePrefixes, makePrefix } from "../../model/ip.ts";
import type { NameRow } from "../../model/tables.ts";
import type { CompiledNames, CompiledPrefix, CompiledSet, DesiredEndpoint, Groups } from "../desired.ts";
import { sha256 } from "../../lib/digest.ts";
import { type NamedAddresses, NameIndex } from "./name-index.ts";
import { StaticPrefixes } from "./static-prefixes.ts";

interface Remembered {
  readonly base: CompiledSet;
  /** Of each pattern of the set, as it was asked. */
  readonly answers: readonly NamedAddresses[];
  readonly entries: Entries;
  readonly set: CompiledSet;
}

type Entries = VersionedMap<string, CompiledPrefix>;

export interface FilledSets {
  readonly sets: readonly CompiledSet[];
  readonly endpoints: readonly DesiredEndpoint[];
}

export class NamedSets {
  readonly #perEndpoint: boolean;
  readonly #index = new NameIndex();
  #remembered = new Map<string, Remembered>();
  /** Pods with the same rules look into one table. */
  #fixed = new WeakMap<CompiledSet, StaticPrefixes>();

  /** @param perEndpoint names that one pod was given (NameRow.endpoint) are that pod's alone. Not set: there are none */
  constructor({ perEndpoint = false }: { readonly perEndpoint?: boolean } = {}) {
    this.#perEndpoint = perEndpoint;
  }

  /**
   * @returns in the order given; sets without names as they are, others the same object as before if they say the same; endpoints with the
   * keys of their sets
   */
  fill(
    sets: readonly CompiledSet[],
    endpoints: readonly DesiredEndpoint[],
    rows: ReadonlyMap<string, NameRow>,
  ): FilledSets {
    this.#index.update(rows);
    const named = sets.filter(({ egress }) => egress.names !== undefined);
    const users = this.#perEndpoint ? usersOf(named, endpoints) : noUsers;
    const remembered = new Map<string, Remembered>();
    const fill = (set: CompiledSet, names: CompiledNames, key: string, endpoint: string | null) => {
      const known = this.#fill(set, names, key, endpoint);
      remembered.set(key, known);
      return known.set;
    };
    const filled = sets.flatMap((set) => {
      const { names } = set.egress;
      if (names === undefined) return set;
      const own = users.get(set.key);
      if (own === undefined) return fill(set, names, set.key, null);
      return own.map((containerId) => fill(set, names, ownKey(set.key, containerId), containerId));
    });
    this.#remembered = remembered;
    return {
      sets: named.length === 0 ? sets : filled,
      endpoints: users.size === 0 ? endpoints : endpoints.map((endpoint) => withOwnSet(endpoint, users)),
    };
  }

  #fill(base: CompiledSet, names: CompiledNames, key: string, endpoint: string | null): Remembered {
    const answers = names.map(({ pattern }) => this.#index.addresses(pattern, endpoint));
    const last = this.#remembered.get(key);
    const before = last?.base === base ? last : null;
    if (before?.answers.every((each, at) => each === answers[at]) === true) return before;
    const fixed = this.#fixedOf(base);
    // An old version keeps those after it: none is remembered for longer than the set.
    const known = last?.entries ?? VersionedMap.from<string, CompiledPrefix>();
    const entry = (text: string) => [text, entryOf(text, names, answers, fixed, known)] as const;
    const touched = new Set(
      before === null
        ? answers.flatMap((each) => [...each.keys()])
        : before.answers.flatMap((each, at) => mapChanges(each, answers[at] ?? each).map(({ key }) => key)),
    );
    const entries = (before?.entries ?? VersionedMap.from<string, CompiledPrefix>()).with([...touched].map(entry));
    const set = entries === before?.entries ? before.set : filledSet(base, entries, key);
    return { base, answers, entries, set };
  }

  #fixedOf(base: CompiledSet): StaticPrefixes {
    const known = this.#fixed.get(base) ?? new StaticPrefixes(base.egress.prefixes);
    this.#fixed.set(base, known);
    return known;
  }
}

/** By key of a set the pods that have it, each as its containerId. */
type Users = ReadonlyMap<string, readonly string[]>;

const noUsers: Users = new Map();

function usersOf(named: readonly CompiledSet[], endpoints: readonly DesiredEndpoint[]): Users {
  if (named.length === 0) return noUsers;
  const users = new Map<string, string[]>(named.map(({ key }) => [key, []]));
  for (const { set, row } of endpoints) if (set !== null) users.get(set)?.push(row.containerId);
  // A node's own set is no pod's.
  return new Map([...users].filter(([, own]) => own.length > 0));
}

function ownKey(key: string, containerId: string): string {
  return `${key} of ${containerId}`;
}

function withOwnSet(endpoint: DesiredEndpoint, users: Users): DesiredEndpoint {
  const { set, row } = endpoint;
  return set === null || !users.has(set) ? endpoint : { ...endpoint, set: ownKey(set, row.containerId) };
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
function filledSet(base: CompiledSet, entries: ReadonlyMap<string, CompiledPrefix>, key: string): CompiledSet {
  const { refused, ingress, egress, digest } = base;
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
    named: {
      set: base.key,
      base: key === base.key ? digest : `${digest} ${key}`,
      prefixes: egress.prefixes,
      entries,
    },
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
