/** Growing pauses between tries, with jitter so that many do not try in step. */

export interface BackoffOptions {
  readonly firstMs: number;
  readonly maxMs: number;
  /** 0..1; Math.random. */
  readonly random?: () => number;
}

export class Backoff {
  readonly #options: BackoffOptions;
  #failures = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  get failures(): number {
    return this.#failures;
  }

  /** ms to wait before the next try: doubles from firstMs to maxMs, less up to a quarter. */
  next(): number {
    const { firstMs, maxMs, random = Math.random } = this.#options;
    const full = Math.min(maxMs, firstMs * 2 ** Math.min(this.#failures++, 30));
    return full * (1 - random() / 4);
  }

  reset(): void {
    this.#failures = 0;
  }
}
