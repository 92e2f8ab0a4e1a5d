/** The longest prefix of a closed table that holds an address: what the kernel's trie would find. */
import { type Address, makePrefix } from "../../model/ip.ts";
import type { CompiledPrefix, Groups } from "../desired.ts";

export class StaticPrefixes {
  /** By family and length, the longest first; then by the text of the prefix. */
  readonly #lengths: Readonly<Record<4 | 6, readonly (readonly [number, ReadonlyMap<string, Groups>])[]>>;

  constructor(prefixes: readonly CompiledPrefix[]) {
    this.#lengths = { 4: byLength(prefixes, 4), 6: byLength(prefixes, 6) };
  }

  /** No prefix: no groups. */
  groupsAt(address: Address): Groups {
    for (const [length, groups] of this.#lengths[address.family]) {
      const found = groups.get(makePrefix(address, length).text);
      if (found !== undefined) return found;
    }
    return none;
  }
}

const none: Groups = [];

function byLength(
  prefixes: readonly CompiledPrefix[],
  family: 4 | 6,
): readonly (readonly [number, ReadonlyMap<string, Groups>])[] {
  const found = new Map<number, Map<string, Groups>>();
  for (const { prefix, groups } of prefixes) {
    if (prefix.family !== family) continue;
    const known = found.get(prefix.length) ?? new Map<string, Groups>();
    known.set(prefix.text, groups);
    found.set(prefix.length, known);
  }
  return [...found].sort(([a], [b]) => b - a);
}
