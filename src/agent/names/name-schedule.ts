/** When which name is asked next: after the time that its answer holds, within bounds; after failures with growing pauses. */

/** s between two questions for a name: what servers say, but neither more nor less often than this. */
const shortestSeconds = 5;
const longestSeconds = 300;
/** s after an answer without any address. */
const emptySeconds = 30;
const longestPauseSeconds = 60;

export interface ScheduledName {
  readonly name: string;
  /** ms of the monotonic clock. */
  next: number;
  isAsked: boolean;
  failures: number;
  /** Of the last question; null: it was answered. */
  error: Error | null;
  /** ms since the epoch; null: never. */
  answeredAt: number | null;
}

export class NameSchedule {
  readonly #names = new Map<string, ScheduledName>();

  get names(): ReadonlyMap<string, ScheduledName> {
    return this.#names;
  }

  /** New names are due at once; others go. @returns false: they are the same as before */
  want(names: ReadonlySet<string>, now: number): boolean {
    let differs = false;
    for (const name of this.#names.keys()) {
      if (names.has(name)) continue;
      this.#names.delete(name);
      differs = true;
    }
    for (const name of names) {
      if (this.#names.has(name)) continue;
      this.#names.set(name, { name, next: now, isAsked: false, failures: 0, error: null, answeredAt: null });
      differs = true;
    }
    return differs;
  }

  /** All are due. */
  hurry(now: number): void {
    for (const each of this.#names.values()) each.next = Math.min(each.next, now);
  }

  /** Due and not asked already, the longest due first. */
  due(now: number): readonly ScheduledName[] {
    return [...this.#names.values()]
      .filter(({ isAsked, next }) => !isAsked && next <= now)
      .sort((a, b) => a.next - b.next);
  }

  /** ms of the monotonic clock; null: nobody waits. */
  nextDue(): number | null {
    let next: number | null = null;
    for (const each of this.#names.values()) {
      if (!each.isAsked && (next === null || each.next < next)) next = each.next;
    }
    return next;
  }
}

/** @param ttl the shortest of the answer, in s; null: it had no address */
export function answered(name: ScheduledName, ttl: number | null, now: number, wallMs: number): void {
  name.failures = 0;
  name.error = null;
  name.answeredAt = wallMs;
  const seconds = ttl === null ? emptySeconds : Math.min(Math.max(ttl, shortestSeconds), longestSeconds);
  name.next = now + seconds * 1000;
}

export function failed(name: ScheduledName, error: Error, now: number): void {
  name.error = error;
  name.failures++;
  name.next = now + Math.min(shortestSeconds * 2 ** Math.min(name.failures - 1, 10), longestPauseSeconds) * 1000;
}
