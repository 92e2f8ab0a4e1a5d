/** Counts of durations by fixed bounds: one comparison per bound and an addition each, memory that does not grow. */

export interface HistogramData {
  /** How many were at most `le`, each with those of the buckets before it. What was more is in `count` only. */
  readonly buckets: readonly { readonly le: number; readonly count: number }[];
  readonly sum: number;
  readonly count: number;
}

export class Histogram {
  readonly #bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;
  #count = 0;

  /** @param bounds ascending, in the unit of what is observed */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = bounds.map(() => 0);
  }

  observe(value: number): void {
    this.#count++;
    this.#sum += value;
    const at = this.#bounds.findIndex((bound) => value <= bound);
    if (at >= 0) this.#counts[at] = (this.#counts[at] ?? 0) + 1;
  }

  /** As it is now; later observations do not change it. */
  get data(): HistogramData {
    let below = 0;
    const buckets = this.#bounds.map((le, at) => {
      below += this.#counts[at] ?? 0;
      return { le, count: below };
    });
    return { buckets, sum: this.#sum, count: this.#count };
  }
}

/** Histograms of the same bounds by a key. Keys are few and of our own making: none is ever forgotten. */
export class Histograms<K extends string> {
  readonly #bounds: readonly number[];
  readonly #byKey = new Map<K, Histogram>();

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
  }

  observe(key: K, value: number): void {
    let histogram = this.#byKey.get(key);
    if (histogram === undefined) {
      histogram = new Histogram(this.#bounds);
      this.#byKey.set(key, histogram);
    }
    histogram.observe(value);
  }

  get data(): readonly (readonly [K, HistogramData])[] {
    return [...this.#byKey].map(([key, histogram]) => [key, histogram.data]);
  }
}
