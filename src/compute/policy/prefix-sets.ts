/**
 * Blocks of addresses as a longest-prefix table: the longest prefix carries the groups of all shorter ones that hold there, exceptions
 * already taken out, so that one lookup finds every group that names an address.
 */
import { comparePrefixes, type Prefix, prefixContainsPrefix } from "../../model/ip.ts";
import type { CompiledDirection, Groups } from "../desired.ts";
import type { Block } from "./rules.ts";

export interface GroupBlock {
  readonly group: number;
  readonly block: Block;
}

interface Turn {
  readonly prefix: Prefix;
  /** Blocks that begin to hold here, and those that cease to. */
  readonly begin: GroupBlock[];
  readonly end: Set<GroupBlock>;
}

interface Level {
  readonly prefix: Prefix;
  readonly active: ReadonlySet<GroupBlock>;
  readonly groups: Groups;
}

export function closePrefixes(blocks: readonly GroupBlock[]): CompiledDirection["prefixes"] {
  const turns = new Map<string, Turn>();
  const turnAt = (prefix: Prefix): Turn => {
    const known = turns.get(prefix.text);
    if (known !== undefined) return known;
    const turn = { prefix, begin: [], end: new Set<GroupBlock>() };
    turns.set(prefix.text, turn);
    return turn;
  };
  for (const each of blocks) {
    turnAt(each.block.prefix).begin.push(each);
    for (const prefix of each.block.except) turnAt(prefix).end.add(each);
  }
  const around: Level[] = [];
  const closed: CompiledDirection["prefixes"][number][] = [];
  for (const { prefix, begin, end } of [...turns.values()].sort((a, b) => comparePrefixes(a.prefix, b.prefix))) {
    while (around.length > 0 && !prefixContainsPrefix((around.at(-1) as Level).prefix, prefix)) around.pop();
    const outer = around.at(-1);
    const active = new Set(outer?.active);
    for (const each of begin) active.add(each);
    for (const each of end) active.delete(each);
    const groups = [...new Set([...active].map(({ group }) => group))].sort((a, b) => a - b);
    around.push({ prefix, active, groups });
    // What says the same as the prefix around it (or as no prefix at all) is not worth an entry.
    const before = outer?.groups ?? [];
    if (groups.length !== before.length || groups.some((group, index) => group !== before[index])) {
      closed.push({ prefix, groups });
    }
  }
  return closed;
}
