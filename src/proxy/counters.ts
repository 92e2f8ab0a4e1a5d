/** Requests by what allowed them, and those that nothing did, from the engine's records. */
import type { DeniedCount, RuleCount } from "../api/proxy-dto.ts";
import type { L7Record } from "../native/l7-contract.ts";

/** Pairs of identities that are told apart; requests of further ones count for identity 0. */
const mostDenied = 1_000;

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

export class Counters {
  readonly #rules = new Map<number, Mutable<RuleCount>>();
  readonly #denied = new Map<string, Mutable<DeniedCount>>();
  #requests = 0;

  get requests(): number {
    return this.#requests;
  }

  get rules(): readonly RuleCount[] {
    return [...this.#rules.values()];
  }

  get denied(): readonly DeniedCount[] {
    return [...this.#denied.values()];
  }

  count(records: readonly L7Record[]): void {
    for (const record of records) {
      this.#requests++;
      if (record.verdict === "denied" || record.verdict === "refused") this.#countDenied(record);
      else this.#countRule(record);
    }
  }

  /** Forgets rules that are no more. */
  retain(ruleSets: ReadonlySet<number>): void {
    for (const id of this.#rules.keys()) if (id !== 0 && !ruleSets.has(id)) this.#rules.delete(id);
  }

  #countRule({ ruleSet, latency }: L7Record): void {
    const fresh = { ruleSet, requests: 0, answered: 0, latencySum: 0, latencyMax: 0 };
    const known = this.#rules.get(ruleSet) ?? fresh;
    known.requests++;
    if (latency !== null) {
      known.answered++;
      known.latencySum += latency;
      known.latencyMax = Math.max(known.latencyMax, latency);
    }
    this.#rules.set(ruleSet, known);
  }

  #countDenied({ protocol, direction, source, destination }: L7Record): void {
    let who = { source: source.identity, destination: destination.identity };
    const keyOf = () => [protocol, direction, who.source, who.destination].join(" ");
    if (this.#denied.size >= mostDenied && !this.#denied.has(keyOf())) who = { source: 0, destination: 0 };
    const known = this.#denied.get(keyOf()) ?? { protocol, direction, ...who, requests: 0 };
    known.requests++;
    this.#denied.set(keyOf(), known);
  }
}
