/**
 * Which addresses a pattern of names stands for, kept over time: a new name is asked of each pattern once, and an answer that did not
 * change is the same array, so that whoever used it before need not look inside.
 */
import { meansName, type NamePattern } from "../../model/dns-names.ts";
import type { Address } from "../../model/ip.ts";
import { compareText } from "../../model/labels.ts";
import { mapChanges } from "../../lib/map-diff.ts";
import type { NameRow } from "../../model/tables.ts";

interface Answer {
  readonly pattern: NamePattern;
  /** Sorted. */
  names: readonly string[];
  addresses: readonly Address[];
  asked: boolean;
}

export class NameIndex {
  #rows: ReadonlyMap<string, NameRow> = new Map();
  readonly #answers = new Map<string, Answer>();

  /** Says which names there are now. Answers that nobody asked for since the last change are forgotten. */
  update(rows: ReadonlyMap<string, NameRow>): void {
    const changes = mapChanges(this.#rows, rows);
    this.#rows = rows;
    if (changes.length === 0) return;
    const come = changes.filter(({ before }) => before === undefined).map(({ key }) => key);
    const changed = new Set(changes.filter(({ before }) => before !== undefined).map(({ key }) => key));
    for (const [key, answer] of this.#answers) {
      if (!answer.asked) {
        this.#answers.delete(key);
        continue;
      }
      answer.asked = false;
      const added = come.filter((name) => meansName(answer.pattern, name));
      if (added.length === 0 && !(changed.size > 0 && answer.names.some((name) => changed.has(name)))) continue;
      const kept = changed.size > 0 ? answer.names.filter((name) => rows.has(name)) : answer.names;
      answer.names = added.length > 0 ? [...kept, ...added].sort(compareText) : kept;
      answer.addresses = this.#addressesOf(answer.names);
    }
  }

  /** In order of the names. An address that several names give is there several times. */
  addresses(pattern: NamePattern): readonly Address[] {
    const key = `${pattern.kind} ${pattern.text}`;
    const known = this.#answers.get(key);
    if (known !== undefined) {
      known.asked = true;
      return known.addresses;
    }
    const names =
      pattern.kind === "name"
        ? [pattern.text].filter((name) => this.#rows.has(name))
        : [...this.#rows.keys()].filter((name) => meansName(pattern, name)).sort(compareText);
    const answer = { pattern, names, addresses: this.#addressesOf(names), asked: true };
    this.#answers.set(key, answer);
    return answer.addresses;
  }

  #addressesOf(names: readonly string[]): readonly Address[] {
    return names.flatMap((name) => this.#rows.get(name)?.addresses ?? []);
  }
}
