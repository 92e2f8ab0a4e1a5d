/**
 * Since when the datapath has not had what it needs for an address of a service. A fault counts once it has stood for a while, so that one that passes
 * changes no way in the fabric; as soon as it is mended it is over.
 */
import type { Servability } from "../../datapath/index.ts";

interface Fault {
  /** ms of the monotonic clock. */
  readonly since: number;
  readonly why: string;
}

/** Stands for every address. */
const all = "";

export class Faults {
  readonly #graceMs: number;
  #faults: ReadonlyMap<string, Fault> = new Map();

  constructor(graceMs: number) {
    this.#graceMs = graceMs;
  }

  update(servability: Servability, now: number): void {
    const found = new Map(servability.addresses);
    if (servability.all !== null) found.set(all, servability.all);
    this.#faults = new Map(
      [...found].map(([address, why]) => [address, { why, since: this.#faults.get(address)?.since ?? now }] as const),
    );
  }

  /** What stands in the way of serving this address, if it has for long enough. */
  of(address: string, now: number): string | null {
    const standing = [this.#faults.get(all), this.#faults.get(address)].find(
      (fault) => fault !== undefined && now - fault.since >= this.#graceMs,
    );
    return standing?.why ?? null;
  }

  /** Some fault has not stood for long enough. */
  isUndecided(now: number): boolean {
    return [...this.#faults.values()].some(({ since }) => now - since < this.#graceMs);
  }
}
