/**
 * How long a watch is asked for, and after how much silence it counts as dead. A watch that says nothing cannot be told from one that
 * is dead, so something has to be heard from each; the question is what that costs the API server, times all nodes and kinds.
 *
 *   long     an API server sends a bookmark to each watch about once a minute (kube-apiserver: 60 s and up to 1.25 s), as long as its versions go on:
 *            a watch of minutes costs next to nothing, and silence for longer than that is death.
 *   pieces   an etcd that does not tell progress (before kubeadm 1.31: each ten minutes) leaves the versions of a quiet kind where they are, and
 *            then no bookmarks come. A watch that ends by itself before our patience does is heard of by its end: a request a
 *            minute and kind.
 *
 * Every kind begins with long watches. Silence is answered by another watch at once, and by pieces for a while; then long ones are tried again, as
 * etcd may have been told meanwhile.
 */

export interface Pace {
  /** After which the API server shall end it. */
  readonly timeoutSeconds: number;
  /** ms without a byte after which it is dead. */
  readonly silenceMs: number;
}

/** ms: of bookmarks, and of pieces. */
const bookmarkSilenceMs = 70_000;
const pieceSilenceMs = 55_000;
/** ms that a piece ends before patience does. */
const marginMs = 7_000;
/** s, drawn anew each time so that the agents of a cluster do not ask in step. */
const longWatch = { least: 600, most: 1_200 } as const;
/** Pieces until a long watch is tried again: about a quarter of an hour. */
const piecesAfterSilence = 20;
/** ms between events, on average, of a kind that needs no bookmarks to be heard. */
const livelyMs = 15_000;

export class WatchPace {
  readonly #random: () => number;
  readonly #silenceMs: number | null;
  #lively = false;
  #pieces = 0;

  /**
   * @param random 0..1
   * @param silenceMs at most this much silence, which bookmarks are too rare for: kinds that change rarely are always watched in pieces. null: as above
   */
  constructor(random: () => number, silenceMs: number | null) {
    this.#random = random;
    this.#silenceMs = silenceMs;
  }

  /** Of the next watch. */
  next(): Pace {
    const inPieces = !this.#lively && (this.#silenceMs !== null || this.#pieces > 0);
    if (!inPieces) return { ...this.#between(longWatch), silenceMs: this.#silenceMs ?? bookmarkSilenceMs };
    this.#pieces = Math.max(0, this.#pieces - 1);
    const silenceMs = this.#silenceMs ?? pieceSilenceMs;
    const most = (silenceMs - marginMs) / 1_000;
    return { ...this.#between({ least: most * 0.8, most }), silenceMs };
  }

  /** @param changes events of objects, in all the time that it ran */
  ended(changes: number, ranMs: number): void {
    this.#lively = changes * livelyMs > ranMs;
  }

  /** A watch was given up for its silence: dead, or none of those that bookmarks come to. */
  silent(): void {
    this.#pieces = piecesAfterSilence;
  }

  #between({ least, most }: { readonly least: number; readonly most: number }): Pick<Pace, "timeoutSeconds"> {
    return { timeoutSeconds: Math.max(1, Math.floor(least + this.#random() * (most - least))) };
  }
}
