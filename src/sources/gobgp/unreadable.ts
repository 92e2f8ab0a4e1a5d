/**
 * Paths whose bytes are not what they should be, each left out by itself: one that a newer gobgpd writes in another form, or that somebody's tool put
 * there, hides none of the others. Who relies on knowing all paths asks here whether that is so.
 */

/** Kept with a reason; more than these are counted only. */
const kept = 100;
/** Named in a message. */
const named = 3;

export class UnreadablePaths {
  /** By prefix, as far as that could be read. */
  readonly #reasons = new Map<string, string>();
  #more = 0;

  get count(): number {
    return this.#reasons.size + this.#more;
  }

  /** @param prefix "": not readable either */
  note(prefix: string, reason: string): void {
    const name = prefix === "" ? "one without a prefix" : prefix;
    if (this.#reasons.has(name) || this.#reasons.size < kept) this.#reasons.set(name, reason);
    else this.#more++;
  }

  /** A path to this prefix was read, or is gone. */
  forget(prefix: string): void {
    if (this.#reasons.size > 0) this.#reasons.delete(prefix);
  }

  /** Some of them for people. */
  text(): string {
    const shown = [...this.#reasons].slice(0, named).map(([prefix, reason]) => `${prefix} (${reason})`);
    const more = this.count - shown.length;
    return `${shown.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
  }
}
