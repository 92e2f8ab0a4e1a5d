/** The groups of a compiled direction turned around: what each names and holds, read back from the tables that the kernel would have. */
import type { Prefix } from "../../model/ip.ts";
import { prefixContainsPrefix } from "../../model/ip.ts";
import type { CompiledDirection } from "../desired.ts";
import { makePortSet, type PortSet } from "../policy/port-sets.ts";
import type { Action } from "../policy/rules.ts";
import { vectorsOf } from "./vectors.ts";

export interface GroupReading {
  readonly group: number;
  readonly action: Action;
  readonly ports: PortSet;
  readonly anybody: boolean;
  /** Sorted. */
  readonly identities: readonly number[];
  readonly blocks: readonly { readonly prefix: Prefix; readonly except: readonly Prefix[] }[];
  /** The blocks count for peers outside of the cluster only. */
  readonly outsideOnly: boolean;
  readonly origins: readonly string[];
}

export function readGroups(direction: CompiledDirection): readonly GroupReading[] {
  const vectors = vectorsOf(direction);
  const outsideOnly = new Set(direction.outsideOnly);
  const anybody = new Set(direction.peers.get(0));
  const identities = direction.origins.map((): number[] => []);
  for (const [identity, groups] of direction.peers) {
    if (identity !== 0) for (const group of groups) identities[group]?.push(identity);
  }
  const blocks = blocksOf(direction);
  const ports = portsOf(direction);
  return direction.origins.map((origins, group) => ({
    group,
    action: vectors.actionOf(group),
    ports: ports[group] ?? [],
    anybody: anybody.has(group),
    identities: identities[group] ?? [],
    blocks: blocks[group] ?? [],
    outsideOnly: outsideOnly.has(group),
    origins,
  }));
}

function portsOf({ ports, origins }: CompiledDirection): readonly PortSet[] {
  const ranges = origins.map((): { protocol: number; first: number; last: number }[] => []);
  for (const { protocol, port, bits, groups } of ports) {
    const size = bits === 0 ? 65_536 : 2 ** (24 - bits);
    for (const group of groups) ranges[group]?.push({ protocol, first: port, last: port + size - 1 });
  }
  return ranges.map(makePortSet);
}

/** A prefix that carries a group begins a block, unless the one around it does; one that does not ends it there. */
function blocksOf({ prefixes, origins }: CompiledDirection): readonly GroupReading["blocks"][] {
  const blocks = origins.map((): { prefix: Prefix; except: Prefix[] }[] => []);
  type Level = { readonly prefix: Prefix; readonly open: ReadonlyMap<number, { readonly except: Prefix[] }> };
  const around: Level[] = [];
  for (const { prefix, groups } of prefixes) {
    for (
      let outer = around.at(-1);
      outer !== undefined && !prefixContainsPrefix(outer.prefix, prefix);
      outer = around.at(-1)
    )
      around.pop();
    const outer = around.at(-1)?.open ?? new Map<number, { readonly except: Prefix[] }>();
    const open = new Map<number, { readonly except: Prefix[] }>();
    for (const group of groups) {
      const known = outer.get(group);
      if (known !== undefined) open.set(group, known);
      else {
        const block = { prefix, except: [] };
        blocks[group]?.push(block);
        open.set(group, block);
      }
    }
    for (const [group, block] of outer) if (!open.has(group)) block.except.push(prefix);
    around.push({ prefix, open });
  }
  return blocks;
}
