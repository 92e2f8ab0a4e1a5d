/**
 * Which clients outside may use a service: source_rule4/6 (frontend -> list and its meaning) and source_range4/6 (list, prefix). All entries are ours. A
 * list is never changed in place: another one is written under a number of its own, then the rule is switched with one write, and
 * the old list goes last. Equal lists of services are one. What finds no room closes: a rule without a list lets nobody in, and so does a service
 * that has a list but no rule.
 *
 * A restarted agent reads all of it, and knows a list by its content. While the agent is away the lists hold as they are; one that was half
 * written is used by nobody and removed.
 */
import type { DesiredFrontend } from "../compute/desired.ts";
import { comparePrefixes, type Prefix } from "../model/ip.ts";
import type { MapInfo } from "../native/bpf-contract.ts";
import {
  type MapName,
  SourceRuleFlags,
  sourceRange,
  sourceRange4Key,
  sourceRange6Key,
  sourceRule,
} from "../native/layouts.gen.ts";
import { addressNumber } from "./addresses.ts";
import {
  type Counters,
  deleteEntries,
  keyText,
  type MapNative,
  MapTable,
  readEntries,
  writeEntries,
} from "./map-table.ts";
import type { EntryFailure } from "./problems.ts";

type Family = 4 | 6;

/** A frontend's entry in service4/6 for clients outside, and who they may be. */
export interface Restricted {
  readonly family: Family;
  readonly key: string;
  readonly sources: NonNullable<DesiredFrontend["sources"]>;
}

interface List {
  readonly family: Family;
  readonly keys: readonly Buffer[];
}

/** Bits of the list's number, which come before those of the prefix. */
const numberBits = 32;
/** Of a list that has nobody. */
const nobody = 0;
const listed = sourceRange.encode({ listed: 1 });

export class SourceRangeReconciler {
  readonly #native: MapNative;
  readonly #counters: Counters;
  readonly #rules: { readonly 4: MapTable; readonly 6: MapTable };
  readonly #ranges: { readonly 4: MapInfo; readonly 6: MapInfo };
  /** By number, as they are in the kernel. */
  readonly #lists = new Map<number, List>();
  /** Content -> number. */
  readonly #numbers = new Map<string, number>();
  /** Numbers go up, so that one is not used again while some packet still reads under it. */
  #next = nobody + 1;

  /** @param describe what a rule's key is about, for messages */
  constructor(
    native: MapNative,
    map: (name: MapName) => MapInfo,
    counters: Counters,
    describe: (key: Buffer) => string,
  ) {
    this.#native = native;
    this.#counters = counters;
    this.#rules = {
      4: new MapTable(native, map("source_rule4"), counters, describe),
      6: new MapTable(native, map("source_rule6"), counters, describe),
    };
    this.#ranges = { 4: map("source_range4"), 6: map("source_range6") };
  }

  get tables(): readonly MapTable[] {
    return [this.#rules[4], this.#rules[6]];
  }

  /** Entries of source_range4 or 6 as this agent knows them. */
  entries(family: Family): number {
    let count = 0;
    for (const list of this.#lists.values()) if (list.family === family) count += list.keys.length;
    return count;
  }

  /** @returns how many rules and lists were not as they were believed to be */
  async read(): Promise<number> {
    let differing = (await this.#rules[4].read()) + (await this.#rules[6].read());
    const found = new Map<number, { readonly family: Family; readonly keys: Buffer[] }>();
    for (const family of [4, 6] as const) {
      const codec = family === 4 ? sourceRange4Key : sourceRange6Key;
      for (const { key } of await readEntries(this.#native, this.#ranges[family])) {
        const { list } = codec.decode(key);
        const known = found.get(list) ?? { family, keys: [] };
        known.keys.push(Buffer.from(key));
        found.set(list, known);
      }
    }
    const before = new Map(this.#numbers);
    this.#lists.clear();
    this.#numbers.clear();
    for (const [number, list] of found) {
      this.#take(number, list);
      if (before.get(contentOf(list)) !== number) differing++;
      this.#next = Math.max(this.#next, number + 1);
    }
    for (const content of before.keys()) if (!this.#numbers.has(content)) differing++;
    return differing;
  }

  /** Before the services that are restricted by it: lists, then rules. */
  async write(restricted: readonly Restricted[]): Promise<readonly EntryFailure[]> {
    const failures: EntryFailure[] = [];
    const rules = { 4: new Map<string, Buffer>(), 6: new Map<string, Buffer>() };
    const refused = new Set<string>();
    for (const { family, key, sources } of restricted) {
      const keys = [...sources.prefixes].sort(comparePrefixes).map((prefix) => encodeRange(prefix, nobody));
      const content = contentOf({ family, keys });
      if (!this.#numbers.has(content) && !refused.has(content) && keys.length > 0) {
        const failure = await this.#add({ family, keys: keys.map((each) => numbered(each, this.#next)) });
        if (failure !== null) {
          failures.push(failure);
          refused.add(content);
        }
      }
      const list = keys.length === 0 ? nobody : (this.#numbers.get(content) ?? null);
      const flags = sources.policy === "deny" && list !== null ? SourceRuleFlags.deny : 0;
      rules[family].set(key, sourceRule.encode({ list: list ?? nobody, flags }));
    }
    for (const family of [4, 6] as const) {
      this.#rules[family].replaceDesired(rules[family]);
      failures.push(...(await this.#rules[family].write()));
    }
    return failures;
  }

  /** After the services: what none of them is restricted by any more. */
  async remove(): Promise<readonly EntryFailure[]> {
    const failures = [...(await this.#rules[4].remove()), ...(await this.#rules[6].remove())];
    const used = new Set(
      this.tables.flatMap(({ actual }) => [...actual.values()].map((value) => sourceRule.decode(value).list)),
    );
    for (const [number, list] of this.#lists) {
      if (used.has(number)) continue;
      await deleteEntries(this.#native, this.#ranges[list.family], list.keys);
      this.#lists.delete(number);
      const content = contentOf(list);
      if (this.#numbers.get(content) === number) this.#numbers.delete(content);
      this.#counters.writes += list.keys.length;
    }
    return failures;
  }

  /** Whole, or not at all. */
  async #add(list: List): Promise<EntryFailure | null> {
    const number = this.#next++;
    const map = this.#ranges[list.family];
    const entries = list.keys.map((key) => ({ key, value: listed }));
    const [failed] = await writeEntries(this.#native, map, entries, () => false);
    if (failed === undefined) {
      this.#take(number, list);
      this.#counters.writes += entries.length;
      return null;
    }
    await deleteEntries(this.#native, map, list.keys);
    this.#counters.failed(failed[1]);
    const entry = `source ranges of services (${list.keys.length} prefixes): what they are of is closed to clients outside`;
    return { map: map.name, entry, maxEntries: map.maxEntries, error: failed[1] };
  }

  #take(number: number, list: List): void {
    this.#lists.set(number, list);
    const content = contentOf(list);
    if (!this.#numbers.has(content)) this.#numbers.set(content, number);
  }
}

function encodeRange({ address, length }: Prefix, list: number): Buffer {
  const prefixlen = numberBits + length;
  return address.family === 4
    ? sourceRange4Key.encode({ prefixlen, list, address: addressNumber(address) })
    : sourceRange6Key.encode({ prefixlen, list, address: address.bytes });
}

/** Where the number is in a key of either family. */
const numberOffset = 4;

function numbered(key: Buffer, list: number): Buffer {
  const copy = Buffer.from(key);
  copy.writeUInt32BE(list, numberOffset);
  return copy;
}

/** The same for the same prefixes, whatever the number of their list. */
function contentOf({ family, keys }: List): string {
  const texts = keys.map((key) => keyText(numbered(key, nobody))).sort();
  return `${family} ${texts.join("")}`;
}
