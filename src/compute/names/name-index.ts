/**
 * Which addresses a pattern of names stands for, to a pod or to all, kept over time: a change of a name is asked of each pattern once and costs the
 * addresses that the name had and has, however many others there are. An answer that did not change is the same map.
 */
import { mapChanges } from "../../lib/map-diff.ts";
import { VersionedMap } from "../../lib/versioned-map.ts";
import { isWhole, meansName, type NamePattern } from "../../model/dns-names.ts";
import type { Address } from "../../model/ip.ts";
import { nameKey } from "../../model/name-key.ts";
import type { NameRow } from "../../model/tables.ts";

/** By text. */
export type NamedAddresses = VersionedMap<string, Address>;

interface Answer {
  readonly pattern: NamePattern;
  /** Whose names count beside those of all. */
  readonly endpoint: string | null;
  /** Text of an address -> how many times the names give it. */
  readonly counts: Map<string, number>;
  addresses: NamedAddresses;
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
    for (const [key, answer] of this.#answers) {
      if (!answer.asked) {
        this.#answers.delete(key);
        continue;
      }
      answer.asked = false;
      const touched = new Map<string, Address | undefined>();
      for (const { before, after } of changes) {
        const row = after ?? before;
        if (row === undefined || !counts(answer, row)) continue;
        // First what comes, so that an address that stays is not taken for one that went.
        for (const address of after?.addresses ?? []) count(answer, touched, address);
        for (const { text } of before?.addresses ?? []) discount(answer, touched, text);
      }
      answer.addresses = answer.addresses.with(touched);
    }
  }

  /** @param endpoint NameRow.endpoint whose names count, too; null: only those of all */
  addresses(pattern: NamePattern, endpoint: string | null): NamedAddresses {
    const key = `${endpoint ?? ""} ${pattern.kind} ${pattern.text}`;
    const known = this.#answers.get(key);
    if (known !== undefined) {
      known.asked = true;
      return known.addresses;
    }
    const answer: Answer = { pattern, endpoint, counts: new Map(), addresses: VersionedMap.from(), asked: true };
    const touched = new Map<string, Address | undefined>();
    for (const row of this.#rowsOf(answer)) for (const address of row.addresses) count(answer, touched, address);
    answer.addresses = answer.addresses.with(touched);
    this.#answers.set(key, answer);
    return answer.addresses;
  }

  #rowsOf(answer: Answer): readonly NameRow[] {
    const { pattern, endpoint } = answer;
    if (!isWhole(pattern)) return [...this.#rows.values()].filter((row) => counts(answer, row));
    const keys = new Set([nameKey(null, pattern.text), nameKey(endpoint, pattern.text)]);
    return [...keys].flatMap((key) => this.#rows.get(key) ?? []);
  }
}

function counts({ pattern, endpoint }: Answer, row: NameRow): boolean {
  return (row.endpoint === undefined || row.endpoint === endpoint) && meansName(pattern, row.name);
}

function count({ counts }: Answer, touched: Map<string, Address | undefined>, address: Address): void {
  const before = counts.get(address.text) ?? 0;
  counts.set(address.text, before + 1);
  if (before === 0) touched.set(address.text, address);
}

function discount({ counts }: Answer, touched: Map<string, Address | undefined>, text: string): void {
  const left = (counts.get(text) ?? 0) - 1;
  if (left > 0) {
    counts.set(text, left);
    return;
  }
  counts.delete(text);
  touched.set(text, undefined);
}
