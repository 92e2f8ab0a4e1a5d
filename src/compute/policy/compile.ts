/**
 * From what a subject's rules say to the bit vectors of the kernel (`bpf/lib/policy.h`): entries of equal (action, L7 rules, ports) are
 * one group, groups are ordered (guards <) denies < allows < redirects, and a verdict is the lowest bit of (peer | any | prefix) & port.
 */
import type { NamePattern } from "../../model/dns-names.ts";
import { compareText } from "../../model/labels.ts";
import type { CompiledDirection, CompiledNames, CompiledSet, Groups } from "../desired.ts";
import { sha256 } from "../../lib/digest.ts";
import { closePorts, type PortSet, portSetText } from "./port-sets.ts";
import { closePrefixes, type GroupBlock } from "./prefix-sets.ts";
import type { Entry } from "./resolve.ts";
import type { Action, Block } from "./rules.ts";

/** Bits of a vector in the kernel (POLICY_WORDS * 64). */
export const mostGroups = 512;

interface Group {
  readonly action: Action;
  readonly guard: boolean;
  readonly l7: string;
  readonly ports: PortSet;
  readonly except: PortSet;
  /** Sorts groups of one action: the same for the same rules, whatever else there is. */
  readonly name: string;
  readonly outsideOnly: boolean;
  readonly anybody: boolean;
  readonly identities: ReadonlySet<number>;
  readonly blocks: readonly Block[];
  readonly names: readonly NamePattern[];
  readonly origins: readonly string[];
}

const rank: Readonly<Record<Action, number>> = { deny: 0, allow: 1, redirect: 2 };

export function compileDirection(entries: readonly Entry[], enforced: boolean): CompiledDirection {
  const groups = makeGroups(entries);
  const count = (action: Action): number => groups.filter((group) => !group.guard && group.action === action).length;
  const guards = groups.filter(({ guard }) => guard).length;
  const names = closeNames(groups);
  const demands = groups.flatMap(({ action, l7 }) => (action === "redirect" ? [l7] : []));
  const blocks = groups.flatMap((group, index) => group.blocks.map((block): GroupBlock => ({ group: index, block })));
  return {
    enforced,
    ...(guards > 0 && { guards }),
    denies: count("deny"),
    allows: count("allow"),
    redirects: demands.length,
    ...(demands.length > 0 && { demands }),
    outsideOnly: groups.flatMap((group, index) => (group.outsideOnly ? [index] : [])),
    peers: closePeers(groups),
    prefixes: closePrefixes(blocks),
    ...(names.length > 0 && { names }),
    ports: closePorts(
      groups.map(({ ports }) => ports),
      groups.map(({ except }) => except),
    ),
    origins: groups.map(({ origins }) => origins),
  };
}

function makeGroups(entries: readonly Entry[]): readonly Group[] {
  const classes = new Map<string, Entry[]>();
  for (const entry of entries) {
    const { ports, except = [] } = entry;
    const but = except.length === 0 ? "" : `!${portSetText(except)}`;
    const name = `${rankOf(entry)} ${portSetText(ports)}${but} ${entry.l7}`;
    const known = classes.get(name);
    if (known === undefined) classes.set(name, [entry]);
    else known.push(entry);
  }
  return [...classes]
    .flatMap(([name, members]) => splitByScope(name, members))
    .sort((a, b) => rankOf(a) - rankOf(b) || compareText(a.name, b.name));
}

function rankOf({ guard, action }: { readonly guard?: boolean; readonly action: Action }): number {
  return guard === true ? -1 : rank[action];
}

/** Whether blocks count inside of the cluster is said per group, so those that do and those that do not are two. */
function splitByScope(name: string, members: readonly Entry[]): readonly Group[] {
  const [first] = members;
  if (first === undefined) return [];
  const group = (outsideOnly: boolean, part: readonly Entry[], named: boolean): Group => ({
    action: first.action,
    guard: first.guard === true,
    l7: first.l7,
    ports: first.ports,
    except: first.except ?? [],
    name: `${name} ${outsideOnly ? "outside" : ""}`,
    outsideOnly,
    anybody: named && part.some(({ any }) => any),
    identities: new Set(named ? part.flatMap(({ identities }) => identities.flat()) : []),
    blocks: part.flatMap((entry) => entry.blocks.filter((block) => block.outsideOnly === outsideOnly)),
    names: outsideOnly ? part.flatMap(({ names = [] }) => names) : [],
    origins: [...new Set(part.map(({ origin }) => origin))].sort(compareText),
  });
  const outside = members.filter(
    ({ blocks, names = [] }) => names.length > 0 || blocks.some(({ outsideOnly }) => outsideOnly),
  );
  const inside = members.some(({ blocks }) => blocks.some(({ outsideOnly }) => !outsideOnly));
  if (outside.length === 0) return [group(false, members, true)];
  if (!inside) return [group(true, members, true)];
  const others = members.filter(
    ({ any, identities, blocks }) =>
      any || identities.some((ids) => ids.length > 0) || blocks.some(({ outsideOnly }) => !outsideOnly),
  );
  return [group(false, others, true), group(true, outside, false)];
}

/** identity -> groups; those of everybody (0) are not repeated. */
function closePeers(groups: readonly Group[]): ReadonlyMap<number, Groups> {
  const found = new Map<number, number[]>();
  const add = (identity: number, group: number): void => {
    const known = found.get(identity);
    if (known === undefined) found.set(identity, [group]);
    else known.push(group);
  };
  for (const [index, { anybody, identities }] of groups.entries()) {
    if (anybody) add(0, index);
    else for (const identity of identities) add(identity, index);
  }
  return new Map([...found].sort(([a], [b]) => a - b));
}

/** Each pattern once, in order, with the groups that name it. */
function closeNames(groups: readonly Group[]): CompiledNames {
  const found = new Map<string, { readonly pattern: NamePattern; readonly groups: number[] }>();
  for (const [index, { names }] of groups.entries()) {
    for (const pattern of names) {
      const key = `${pattern.kind} ${pattern.text}`;
      const known = found.get(key);
      if (known === undefined) found.set(key, { pattern, groups: [index] });
      else if (known.groups.at(-1) !== index) known.groups.push(index);
    }
  }
  return [...found].sort(([a], [b]) => compareText(a, b)).map(([, each]) => each);
}

/** Nothing named, and nothing open where default deny holds. */
function emptyDirection(enforced: boolean): CompiledDirection {
  return compileDirection([], enforced);
}

export function makeSet(key: string, egress: CompiledDirection, ingress: CompiledDirection): CompiledSet {
  const excess = [egress, ingress].map(({ origins }) => origins.length).find((groups) => groups > mostGroups);
  const refused =
    excess === undefined
      ? null
      : `its rules make ${excess} groups of ports in one direction; ${mostGroups} is the limit`;
  const parts =
    refused === null
      ? { egress, ingress }
      : { egress: emptyDirection(egress.enforced), ingress: emptyDirection(ingress.enforced) };
  const text = [parts.egress, parts.ingress].map(directionText).join("\n");
  return { key, digest: sha256(`${text}\n${refused ?? ""}`), ...parts, refused };
}

function directionText(direction: CompiledDirection): string {
  const {
    enforced,
    guards = 0,
    denies,
    allows,
    redirects,
    demands,
    outsideOnly,
    peers,
    prefixes,
    ports,
    names,
    origins,
  } = direction;
  return JSON.stringify([
    enforced,
    ...(guards > 0 ? [{ guards }] : []),
    denies,
    allows,
    redirects,
    ...(demands === undefined ? [] : [{ demands }]),
    outsideOnly,
    [...peers],
    prefixes.map(({ prefix, groups }) => [prefix.text, groups]),
    ...(names === undefined
      ? []
      : [{ names: names.map(({ pattern, groups }) => [pattern.kind, pattern.text, groups]) }]),
    ports.map(({ protocol, port, bits, groups }) => [protocol, port, bits, groups]),
    origins,
  ]);
}
