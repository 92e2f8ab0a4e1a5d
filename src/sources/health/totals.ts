/** All questions to all nodes together, by kind: figures whose number does not grow with the cluster, for who collects them. */
import { Histogram } from "../../lib/histogram.ts";
import type { PathKind, ProbeTotals } from "../../model/node-health.ts";

/** s: of a rack, of a region, and what is rather a queue. */
const bounds = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];

export class Totals {
  readonly #kinds = new Map<PathKind, { sent: number; lost: number; readonly took: Histogram }>();

  sent(kind: PathKind, many: number): void {
    this.#of(kind).sent += many;
  }

  lost(kind: PathKind): void {
    this.#of(kind).lost++;
  }

  took(kind: PathKind, us: number): void {
    this.#of(kind).took.observe(us / 1e6);
  }

  /** As they are now. */
  get all(): readonly ProbeTotals[] {
    return [...this.#kinds].map(([kind, { sent, lost, took }]) => ({ kind, sent, lost, seconds: took.data }));
  }

  #of(kind: PathKind) {
    const known = this.#kinds.get(kind) ?? { sent: 0, lost: 0, took: new Histogram(bounds) };
    this.#kinds.set(kind, known);
    return known;
  }
}
