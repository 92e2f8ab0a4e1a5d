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
  readonly #probers: ReadonlyMap<string, Prober>;
  readonly #outcomes: Outcomes;
  #ids: readonly number[] = [];
  #asked = 0;

  constructor(attempts: readonly Attempt[], probers: ReadonlyMap<string, Prober>, outcomes: Outcomes) {
    this.#attempts = attempts;
    this.#probers = probers;
    this.#outcomes = outcomes;
  }

  /** Resolves when all are answered, or nobody answers for so long: then the probes tell what is missing. */
  async all(timeoutMs: number): Promise<void> {
    this.#ask();
    await this.#answered(timeoutMs);
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
