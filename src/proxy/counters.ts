/** Requests by what allowed them, and those that nothing did, from the engine's records. */
import type { DeniedCount, ProxyDurations, RuleCount } from "../api/proxy-dto.ts";
import { Histograms } from "../lib/histogram.ts";
import type { L7Record } from "../native/l7-contract.ts";

/** Pairs of identities that are told apart; requests of further ones count for identity 0. */
const mostDenied = 1_000;

/** Seconds: from a server on the same node to one that thinks long. */
export const durationBounds = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

export class Counters {
  readonly #rules = new Map<number, Mutable<Required<RuleCount>>>();
  readonly #denied = new Map<string, Mutable<DeniedCount>>();
  readonly #durations = new Histograms<L7Record["protocol"]>(durationBounds);
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

  /** Seconds until requests were answered, by protocol. */
  get durations(): ProxyDurations["requests"] {
    return this.#durations.data;
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

  #countRule({ ruleSet, latency, protocol }: L7Record): void {
    const known = this.#ruleOf(ruleSet);
    known.requests++;
    if (latency !== null) {
      this.#durations.observe(protocol, latency / 1e6);
      known.answered++;
      known.latencySum += latency;
      known.latencyMax = Math.max(known.latencyMax, latency);
    }
  }

  #ruleOf(ruleSet: number): Mutable<Required<RuleCount>> {
    const known = this.#rules.get(ruleSet);
    if (known !== undefined) return known;
    const fresh = { ruleSet, requests: 0, denied: 0, answered: 0, latencySum: 0, latencyMax: 0 };
    this.#rules.set(ruleSet, fresh);
    return fresh;
  }

  #countDenied({ protocol, direction, source, destination, asked = [] }: L7Record): void {
    for (const ruleSet of asked) this.#ruleOf(ruleSet).denied++;
    let who = { source: source.identity, destination: destination.identity };
    const keyOf = () => [protocol, direction, who.source, who.destination].join(" ");
    if (this.#denied.size >= mostDenied && !this.#denied.has(keyOf())) who = { source: 0, destination: 0 };
    const known = this.#denied.get(keyOf()) ?? { protocol, direction, ...who, requests: 0 };
    known.requests++;
    this.#denied.set(keyOf(), known);
  }
}
