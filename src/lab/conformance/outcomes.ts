/** What came of the attempts of a round. */
import type { Attempt } from "./attempts.ts";
import { readMessage } from "./exchanges.ts";
import type { ProbeEvent } from "./prober.ts";
import type { Outcome } from "./outcome.ts";

/** Collects what the probers tell. Numbers of attempts are never used again, so what comes late cannot be mistaken. */
export class Outcomes {
  readonly #expected = new Map<number, { readonly attempt: Attempt; outcome: Outcome | null }>();
  #next = 1;
  #lastEvent = 0;

  expect(attempt: Attempt): number {
    const id = this.#next++;
    this.#expected.set(id, { attempt, outcome: null });
    return id;
  }

  take({ id, place, outcome }: ProbeEvent): void {
    const entry = this.#expected.get(id);
    if (entry === undefined || entry.outcome !== null) return;
    // An ICMP error may quote a probe, and come to its sender or to anybody.
    if (outcome.kind === "arrived" ? entry.attempt.arrivesAt !== place : entry.attempt.place !== place) return;
    entry.outcome = outcome.kind === "said" ? readSaid(entry.attempt, outcome) : outcome;
    this.#lastEvent = performance.now();
  }

  of(id: number): Outcome | null {
    return this.#expected.get(id)?.outcome ?? null;
  }

  get lastEvent(): number {
    return this.#lastEvent;
  }

  forget(): void {
    this.#expected.clear();
  }
}

function readSaid({ asked }: Attempt, { bytes, ms }: { readonly bytes: Buffer; readonly ms: number }): Outcome {
  return asked === null ? { kind: "failed", why: "an answer to no question" } : readMessage(asked, bytes, ms);
}
