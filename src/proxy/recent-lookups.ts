/**
 * What an agent was told lately: one that is killed takes with it what it has not written to its file yet (agent/names/name-file.ts, once a second), so
 * the next one is told again.
 */
import type { LookupMessage } from "../api/names-link.ts";
import type { Clock } from "../lib/clock.ts";

/** ms until an agent has surely written what it was told, on a slow disk, too. */
const keepMs = 10_000;
/** As many as an engine keeps for an agent that is away. */
const most = 4096;

export class RecentLookups {
  readonly #clock: Pick<Clock, "monotonicMs">;
  /** By `toldAt`: when an agent was told last. Times are ms of the monotonic clock. */
  #lookups: { readonly lookup: LookupMessage; readonly cameAt: number; readonly toldAt: number }[] = [];
  /** When the agent went; null: it is there. Its last seconds count, however long nobody comes. */
  #lostAt: number | null = null;

  constructor(clock: Pick<Clock, "monotonicMs">) {
    this.#clock = clock;
  }

  add(lookups: readonly LookupMessage[]): void {
    const now = this.#clock.monotonicMs();
    for (const lookup of lookups) this.#lookups.push({ lookup, cameAt: now, toldAt: now });
    // Now and then only, as it looks at all of them.
    if (this.#lookups.length > 2 * most) this.#trim();
  }

  lost(): void {
    this.#lostAt ??= this.#clock.monotonicMs();
  }

  /** For the agent that has come. They are kept for the next one, if this one ends soon. */
  again(): readonly LookupMessage[] {
    this.#trim();
    this.#lostAt = null;
    const now = this.#clock.monotonicMs();
    this.#lookups = this.#lookups.map((each) => ({ ...each, toldAt: now }));
    return this.#lookups.map(({ lookup, cameAt }) => ({ ...lookup, ago: (now - cameAt) / 1000 }));
  }

  /** The agent forgot these names. null: all. */
  forget(names: readonly string[] | null): void {
    const forgotten = new Set(names);
    this.#lookups = names === null ? [] : this.#lookups.filter(({ lookup }) => !forgotten.has(lookup.name));
  }

  /** These pods, by their numbers, are no more. */
  gone(endpoints: readonly number[]): void {
    const ended = new Set(endpoints);
    this.#lookups = this.#lookups.filter(({ lookup }) => !ended.has(lookup.endpoint));
  }

  #trim(): void {
    const since = (this.#lostAt ?? this.#clock.monotonicMs()) - keepMs;
    this.#lookups = this.#lookups.filter(({ toldAt }) => toldAt >= since).slice(-most);
  }
}
