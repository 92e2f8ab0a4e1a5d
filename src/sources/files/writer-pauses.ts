/** Which files are just being written in place, from the events of their folders and from what their inodes say. */
import type { Clock } from "../../lib/clock.ts";

/** ms without an event after which a writer has paused, and after which nobody waits for him any more. */
const pauseMs = { least: 50, most: 1_000 } as const;
/** ms that a file which is new under its name may have been opened for, without a word of it being written, and that one may be away. */
const openingMs = 10;

/** Of an inode; times in ns. */
export interface FileState {
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

export class WriterPauses {
  readonly #clock: Clock;
  /** Paths with an event since they were read, and how many looks had begun before it. */
  readonly #touched = new Map<string, number>();
  #looks = 0;
  /** Of those, the ones written in place: ms of the first and the last event. */
  readonly #writing = new Map<string, { readonly first: number; readonly last: number }>();
  /** Of those, the ones that came under their name: ms. */
  readonly #named = new Map<string, number>();
  /** Files that were there, and are not: since when, in ms. */
  readonly #away = new Map<string, number>();
  #waiting = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  take(kind: "content" | "name", path: string): void {
    this.#touched.set(path, this.#looks);
    const now = this.#clock.monotonicMs();
    // What was renamed into its place is whole. A file that was made there is written next, and tells.
    if (kind === "name") {
      this.#writing.delete(path);
      this.#named.set(path, now);
    } else this.#writing.set(path, { first: this.#writing.get(path)?.first ?? now, last: now });
  }

  /** A look begins. */
  begin(): void {
    this.#looks++;
    this.#waiting = false;
  }

  /** A look ended: what it did not ask for is gone, unless it was heard of since the look began. */
  end(): void {
    for (const [path, looks] of this.#touched) {
      if (looks >= this.#looks || this.#writing.has(path)) continue;
      this.#touched.delete(path);
      this.#named.delete(path);
    }
  }

  /** How many paths it remembers. */
  get size(): number {
    return this.#touched.size;
  }

  /** Whether something was left for later since `begin`. */
  get waiting(): boolean {
    return this.#waiting;
  }

  /** What to do with this file in this look. Events that come while it is read count for the next one. */
  readiness(path: string, { size, mtimeNs, ctimeNs }: FileState): "now" | "later" | "ifChanged" {
    this.#away.delete(path);
    const writing = this.#writing.get(path);
    const named = this.#named.get(path);
    const now = this.#clock.monotonicMs();
    // A rename changes the inode, and so its ctime, after the last write. Where it did not, somebody may just begin to write.
    if (named !== undefined && (mtimeNs === ctimeNs || size === 0n) && now - named < openingMs) {
      this.#waiting = true;
      return "later";
    }
    this.#named.delete(path);
    if (writing !== undefined) {
      if (now - writing.last < pauseMs.least && now - writing.first < pauseMs.most) {
        this.#waiting = true;
        return "later";
      }
      this.#writing.delete(path);
    }
    return this.#touched.delete(path) ? "now" : "ifChanged";
  }

  /** What to do about a file that was there. Editors rename it away, or remove it, and make it anew: it is not gone in between. */
  absence(path: string): "gone" | "later" {
    const now = this.#clock.monotonicMs();
    const since = this.#away.get(path) ?? now;
    if (now - since >= openingMs) {
      this.#away.delete(path);
      return "gone";
    }
    this.#away.set(path, since);
    this.#waiting = true;
    return "later";
  }
}
