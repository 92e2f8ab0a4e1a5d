/**
 * Where the services meet: each address, port and protocol can be had once. Of several services that want it the winner is the
 * same in whatever order they came (kind of address, then namespace/name); winner and losers are told of each other.
 */
import { compareAddresses } from "../../model/ip.ts";
import { compareText } from "../../model/labels.ts";
import type { Problem } from "../../model/status.ts";
import type { DesiredFrontend } from "../desired.ts";
import { type Candidate, kinds } from "./candidates.ts";

/** Who wants one key; the first has it. Never empty but while it is changed. */
interface Slot {
  readonly key: string;
  candidates: readonly Candidate[];
  /** Its place in the order, once it has one. */
  at: number;
}

export class FrontendTable {
  readonly #slots = new Map<string, Slot>();
  /** Keys that more than one service wants. */
  readonly #contested = new Set<string>();
  /** Sorted, but for `#added` and those of `#slots` that are gone: a change must not sort all again. */
  #order: readonly Slot[] = [];
  #added: Slot[] = [];
  #removed = false;
  /** Of the order, as they were asked for last. */
  #frontends: readonly DesiredFrontend[] = [];
  /** May have another frontend since. */
  readonly #touched = new Set<Slot>();

  /** Replaces what a service wants. */
  change(before: readonly Candidate[], after: readonly Candidate[]): void {
    for (const candidate of after) this.#put(candidate);
    const kept = new Set(after.map(({ key }) => key));
    for (const candidate of before) if (!kept.has(candidate.key)) this.#remove(candidate);
  }

  /** By address, port and protocol: the list of before if it is the same, a copy if some slots have other frontends. */
  frontends(): readonly DesiredFrontend[] {
    if (this.#removed || this.#added.length > 0) this.#reorder();
    let changed: DesiredFrontend[] | null = null;
    for (const { at, candidates } of this.#touched) {
      const frontend = candidates[0]?.frontend;
      if (frontend === undefined || this.#frontends[at] === frontend) continue;
      changed ??= this.#frontends.slice();
      changed[at] = frontend;
    }
    this.#touched.clear();
    this.#frontends = changed ?? this.#frontends;
    return this.#frontends;
  }

  #reorder(): void {
    const isThere = (slot: Slot) => this.#slots.get(slot.key) === slot;
    const rest = this.#removed ? this.#order.filter(isThere) : this.#order;
    // Two runs that are sorted: the engine's merge sort takes them as they are.
    const order = [...rest, ...this.#added.filter(isThere).sort(compareSlots)].sort(compareSlots);
    const frontends: DesiredFrontend[] = [];
    for (const [at, slot] of order.entries()) {
      slot.at = at;
      const [first] = slot.candidates;
      if (first !== undefined) frontends.push(first.frontend);
    }
    this.#order = order;
    this.#frontends = frontends;
    this.#added = [];
    this.#removed = false;
    this.#touched.clear();
  }

  problems(): readonly Problem[] {
    // A node port is wanted on every address of the node: told once.
    const problems = new Map<string, Problem>();
    for (const key of this.#contested) {
      const [winner, ...losers] = this.#slots.get(key)?.candidates ?? [];
      for (const loser of losers) {
        if (winner === undefined) continue;
        const wanted: Problem = {
          code: "SERVICE_ADDRESS_WANTED",
          severity: "warning",
          object: `Service ${winner.service}`,
          field: winner.field,
          message: `${winner.what} is wanted by Service ${loser.service} too, which does not get it`,
          remedy: `give one of Service ${loser.service} and Service ${winner.service} another address or port`,
        };
        problems.set(`${wanted.object} ${wanted.field} ${wanted.message}`, wanted);
        const problem: Problem = {
          code: "SERVICE_ADDRESS_TAKEN",
          severity: "error",
          object: `Service ${loser.service}`,
          field: loser.field,
          message: `${loser.what} is that of Service ${winner.service} already, which keeps it`,
          remedy: `give one of Service ${loser.service} and Service ${winner.service} another address or port`,
        };
        problems.set(`${problem.object} ${problem.field} ${problem.message}`, problem);
      }
    }
    return [...problems.values()];
  }

  #put(candidate: Candidate): void {
    const slot = this.#slots.get(candidate.key);
    if (slot === undefined) {
      const fresh: Slot = { key: candidate.key, candidates: [candidate], at: 0 };
      this.#slots.set(candidate.key, fresh);
      this.#added.push(fresh);
      return;
    }
    const others = slot.candidates.filter(({ service }) => service !== candidate.service);
    slot.candidates = others.length === 0 ? [candidate] : [...others, candidate].sort(compareCandidates);
    this.#contest(slot);
  }

  #remove({ key, service }: Candidate): void {
    const slot = this.#slots.get(key);
    if (slot === undefined) return;
    slot.candidates = slot.candidates.filter((one) => one.service !== service);
    this.#contest(slot);
    if (slot.candidates.length > 0) return;
    this.#slots.delete(key);
    this.#removed = true;
  }

  #contest(slot: Slot): void {
    const { key, candidates } = slot;
    this.#touched.add(slot);
    if (candidates.length > 1) this.#contested.add(key);
    else this.#contested.delete(key);
  }
}

function compareCandidates(left: Candidate, right: Candidate): number {
  return kinds.indexOf(left.kind) - kinds.indexOf(right.kind) || compareText(left.service, right.service);
}

function compareSlots(left: Slot, right: Slot): number {
  const a = left.candidates[0]?.frontend;
  const b = right.candidates[0]?.frontend;
  if (a === undefined || b === undefined) return 0;
  return compareAddresses(a.address, b.address) || a.port - b.port || a.protocol - b.protocol;
}
