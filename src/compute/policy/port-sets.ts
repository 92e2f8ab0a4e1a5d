/**
 * Sets of ports, and their form as a longest-prefix table: ranges become prefixes of (protocol, port), and the longest prefix carries
 * the groups of all shorter ones, so that one lookup finds every group whose ports hold a port.
 */
import type { CompiledDirection, Groups } from "../desired.ts";

export interface PortRange {
  /** 0: every protocol (and then every port). */
  readonly protocol: number;
  /** 0-65535 */
  readonly first: number;
  readonly last: number;
}

/** Sorted, without overlaps or neighbours that could be one: equal sets have equal entries. */
export type PortSet = readonly PortRange[];

export const lastPort = 65_535;

/** Every protocol, with ports or without. */
export const everything: PortSet = [{ protocol: 0, first: 0, last: lastPort }];

export function makePortSet(ranges: readonly PortRange[]): PortSet {
  if (ranges.some(({ protocol }) => protocol === 0)) return everything;
  const sorted = [...ranges].sort((a, b) => a.protocol - b.protocol || a.first - b.first || a.last - b.last);
  const merged: PortRange[] = [];
  for (const range of sorted) {
    const before = merged.at(-1);
    if (before !== undefined && before.protocol === range.protocol && range.first <= before.last + 1) {
      if (range.last > before.last) merged[merged.length - 1] = { ...before, last: range.last };
    } else merged.push(range);
  }
  return merged;
}

/** "6:80-80,17:53-53"; of equal sets equal. */
export function portSetText(set: PortSet): string {
  return set.map(({ protocol, first, last }) => `${protocol}:${first}-${last}`).join(",");
}

interface PortPrefix {
  readonly protocol: number;
  readonly port: number;
  /** 0: every protocol; 8: every port of the protocol; 8 + n: n bits of the port. */
  readonly bits: number;
}

/** The fewest prefixes that make up the range, in order: at most 30. */
export function portPrefixes({ protocol, first, last }: PortRange): readonly PortPrefix[] {
  if (protocol === 0) return [{ protocol: 0, port: 0, bits: 0 }];
  const prefixes: PortPrefix[] = [];
  let port = first;
  while (port <= last) {
    // As large as the alignment of its first port and the rest of the range allow.
    let free = 16;
    while (free > 0 && (port % 2 ** free !== 0 || port + 2 ** free - 1 > last)) free--;
    prefixes.push({ protocol, port, bits: 24 - free });
    port += 2 ** free;
  }
  return prefixes;
}

function holds(outer: PortPrefix, inner: PortPrefix): boolean {
  if (outer.bits === 0) return true;
  if (outer.protocol !== inner.protocol || outer.bits > inner.bits) return false;
  const size = 2 ** (24 - outer.bits);
  return inner.port >= outer.port && inner.port < outer.port + size;
}

/** @param sets the ports of group 0, 1, … @param excepts single ports that are out of them again; not set: none */
export function closePorts(sets: readonly PortSet[], excepts: readonly PortSet[] = []): CompiledDirection["ports"] {
  const own = new Map<string, { readonly prefix: PortPrefix; readonly groups: number[] }>();
  for (const [group, set] of sets.entries()) {
    for (const prefix of set.flatMap(portPrefixes)) {
      const name = `${prefix.protocol}/${prefix.port}/${prefix.bits}`;
      const known = own.get(name);
      if (known === undefined) own.set(name, { prefix, groups: [group] });
      else known.groups.push(group);
    }
  }
  const taken = new Map<string, Set<number>>();
  for (const [group, except] of excepts.entries()) {
    for (const prefix of except.flatMap(portPrefixes)) {
      const name = `${prefix.protocol}/${prefix.port}/${prefix.bits}`;
      if (!own.has(name)) own.set(name, { prefix, groups: [] });
      taken.set(name, (taken.get(name) ?? new Set<number>()).add(group));
    }
  }
  // Shorter ones before those that they hold, so that the ones around a prefix are a stack.
  const sorted = [...own.values()].sort(
    ({ prefix: a }, { prefix: b }) => a.protocol - b.protocol || a.port - b.port || a.bits - b.bits,
  );
  const around: { readonly prefix: PortPrefix; readonly groups: Groups }[] = [];
  const closed: CompiledDirection["ports"][number][] = [];
  for (const { prefix, groups } of sorted) {
    while (around.length > 0 && !holds((around.at(-1) as { prefix: PortPrefix }).prefix, prefix)) around.pop();
    const outer = around.at(-1)?.groups ?? [];
    const out = taken.get(`${prefix.protocol}/${prefix.port}/${prefix.bits}`);
    const all = [...new Set([...outer, ...groups])].filter((group) => out?.has(group) !== true).sort((a, b) => a - b);
    around.push({ prefix, groups: all });
    // A prefix that changes nothing would only make the trie deeper.
    if (all.length !== outer.length || all.some((group, at) => group !== outer[at]))
      closed.push({ ...prefix, groups: all });
  }
  return closed;
}
