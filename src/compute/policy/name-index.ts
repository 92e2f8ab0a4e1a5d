/**
 * Which addresses a rule about names stands for, kept over time: a new name is asked of each rule once, and an answer that did not
 * change is the same array, so that whoever compiled it before need not look inside.
 */
import { meansName, type NamePattern } from "../../model/dns-names.ts";
import { compareText } from "../../model/labels.ts";
import type { NameRow } from "../../model/tables.ts";
import type { Block } from "./rules.ts";
import { hostBlock } from "./surroundings.ts";

interface Answer {
  readonly pattern: NamePattern;
  /** Sorted. */
  names: readonly string[];
  blocks: readonly Block[];
  asked: boolean;
}

export class NameIndex {
  #rows: ReadonlyMap<string, NameRow> = new Map();
  readonly #answers = new Map<string, Answer>();

  /** Says which names there are now. Answers that nobody asked for since the last change are forgotten. */
  update(rows: ReadonlyMap<string, NameRow>): void {
    const before = this.#rows;
    if (rows === before) return;
    this.#rows = rows;
    const come = [...rows.keys()].filter((name) => !before.has(name));
    const changed = new Set([...before].filter(([name, row]) => rows.get(name) !== row).map(([name]) => name));
    for (const [key, answer] of this.#answers) {
      if (!answer.asked) this.#answers.delete(key);
      answer.asked = false;
      const added = come.filter((name) => meansName(answer.pattern, name));
      if (added.length === 0 && !answer.names.some((name) => changed.has(name))) continue;
      answer.names = [...answer.names.filter((name) => rows.has(name)), ...added].sort(compareText);
      answer.blocks = this.#blocksOf(answer.names);
    }
  }

  /** Addresses that count for the outside only, in order of the names. */
  blocks(pattern: NamePattern): readonly Block[] {
    const key = `${pattern.kind} ${pattern.text}`;
    const known = this.#answers.get(key);
    if (known !== undefined) {
      known.asked = true;
      return known.blocks;
    }
    const names = [...this.#rows.keys()].filter((name) => meansName(pattern, name)).sort(compareText);
    const answer = { pattern, names, blocks: this.#blocksOf(names), asked: true };
    this.#answers.set(key, answer);
    return answer.blocks;
  }

  #blocksOf(names: readonly string[]): readonly Block[] {
    return names.flatMap((name) => (this.#rows.get(name)?.addresses ?? []).map((address) => hostBlock(address, true)));
  }
}
