/** The lookups of a round: asked before its probes are sent, and again while one that must be allowed is not, as clients do. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Attempt } from "./attempts.ts";
import { groupBy } from "./groups.ts";
import type { Outcomes } from "./outcomes.ts";
import { type Prober, proberOf } from "./prober.ts";

const repeatMs = 1_000;
const settleMs = 1_000;

export class Lookups {
  readonly #attempts: readonly Attempt[];
  readonly #probers: ReadonlyMap<string, Pick<Prober, "try">>;
  readonly #outcomes: Outcomes;
  readonly #learned = new Set<string>();
  #ids: readonly number[] = [];
  #asked = 0;

  constructor(attempts: readonly Attempt[], probers: ReadonlyMap<string, Pick<Prober, "try">>, outcomes: Outcomes) {
    this.#attempts = attempts;
    this.#probers = probers;
    this.#outcomes = outcomes;
  }

  /** Resolves when all are answered, or after that time. */
  async all(timeoutMs: number): Promise<void> {
    this.#ask();
    await this.#answered(timeoutMs);
    for (const [i, { place, asked, servers }] of this.#attempts.entries()) {
      const outcome = this.#outcomes.of(this.#ids[i] ?? 0);
      const isAnswered = outcome?.kind === "answer" && servers.includes(outcome.name);
      if (isAnswered && asked?.kind === "dns") this.#learned.add(`${place} ${asked.name}`);
    }
  }

  /** Of these, the names that this client was not told: it has not learned what the case says. */
  missing(place: string, names: readonly string[]): readonly string[] {
    return names.filter((name) => !this.#learned.has(`${place} ${name}`));
  }

  /** Once the ones before are answered, and not all the time. */
  repeat(): void {
    if (this.#isAnswered() && performance.now() - this.#asked >= repeatMs) this.#ask();
  }

  /** None is on its way any more. */
  async settle(): Promise<void> {
    await this.#answered(settleMs);
  }

  #ask(): void {
    const all = this.#attempts.map((attempt) => ({ ...attempt, id: this.#outcomes.expect(attempt) }));
    this.#ids = all.map(({ id }) => id);
    this.#asked = performance.now();
    for (const [place, attempts] of groupBy(all, (attempt) => attempt.place)) {
      proberOf(this.#probers, place).try(attempts);
    }
  }

  #isAnswered(): boolean {
    return this.#ids.every((id) => this.#outcomes.of(id) !== null);
  }

  async #answered(timeoutMs: number): Promise<void> {
    for (const start = performance.now(); performance.now() - start < timeoutMs && !this.#isAnswered(); )
      await sleep(5);
  }
}
