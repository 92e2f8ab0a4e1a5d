/**
 * What requests tell about the watches that say nothing. A quiet watch and one whose server has stopped look alike, and TCP keep-alive is
 * answered by the kernel of a machine whose server hangs. But an agent asks for something each ten seconds, its Lease: whether that is
 * answered says how it stands with the rest, and costs no request.
 *
 *   two requests one after the other are not answered, and nothing else was heard since the first was sent:
 *       the API server as a whole says nothing. Every watch ends with KUBE_SILENT.
 *   a request is answered after others were not:
 *       what hung may be one of several servers behind one address. A watch that has said nothing since the first of these was sent is asked for
 *       again (KUBE_DOUBT) unless it speaks first, and not all at once.
 *
 * Neither happens twice in a while. A server that is late may be a busy one, and one whose etcd is away opens watches and answers nothing else: new
 * watches from all nodes, again and again, are no help to either. That the Lease is not renewed is told all the same.
 *
 * When it is known that this is not the history any more that versions are of (`history.ts`), every watch ends, and so does one that was asked for
 * before and begins after.
 *
 * A request is not answered when its time is over. One that is refused or breaks off is: the peer's kernel told so, and tells the watches too.
 */
import type { Clock, Timer } from "../lib/clock.ts";
import { KubeConnectionError, type KubeStatusError } from "./errors.ts";
import { wentBack } from "./reflector-failures.ts";

/** ms within which watches in doubt are asked for again, and ms until watches are given up again. */
const spreadMs = 15_000;
const restMs = 300_000;

interface Followed {
  /** Monotonic ms. */
  heardAt: number;
  doubt: Timer | null;
  readonly give: (error: KubeConnectionError | KubeStatusError) => void;
}

/** A watch, as its stream tells of it. */
export interface FollowedWatch {
  heard(): void;
  ended(): void;
}

export class Pulse {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #watches = new Set<Followed>();
  /** Of anything, monotonic ms. */
  #heardAt = Number.NEGATIVE_INFINITY;
  /** Requests without an answer, none of which was answered since: when the first was sent, when the last was, and when its time was over. */
  #missed: { readonly since: number; readonly sentAt: number; readonly overAt: number } | null = null;
  #gaveUpAt = Number.NEGATIVE_INFINITY;
  #history = 0;

  /** @param random 0..1 */
  constructor(clock: Clock, random: () => number) {
    this.#clock = clock;
    this.#random = random;
  }

  /** Grows with each `replaced`. */
  get history(): number {
    return this.#history;
  }

  /**
   * @param give ends it with that error
   * @param history of when it was asked for
   */
  follow(give: Followed["give"], history = this.#history): FollowedWatch {
    const watch: Followed = { heardAt: this.#clock.monotonicMs(), doubt: null, give };
    this.#watches.add(watch);
    if (history !== this.#history) give(wentBack("the API server"));
    return {
      heard: () => {
        this.#heardAt = watch.heardAt = this.#clock.monotonicMs();
        watch.doubt?.cancel();
        watch.doubt = null;
      },
      ended: () => {
        watch.doubt?.cancel();
        this.#watches.delete(watch);
      },
    };
  }

  /** A request, or a watch that was asked for, is answered by whatever. @param server its address */
  answered(server: string): void {
    const now = this.#clock.monotonicMs();
    this.#heardAt = now;
    const missed = this.#missed;
    this.#missed = null;
    if (missed === null || !this.#mayGiveUp(now)) return;
    for (const watch of this.#watches) {
      if (watch.heardAt > missed.since || watch.doubt !== null) continue;
      watch.doubt = this.#clock.setTimer(this.#random() * spreadMs, () => watch.give(doubt(server)));
    }
  }

  /** @param sentAt monotonic ms */
  unanswered(server: string, sentAt: number): void {
    const now = this.#clock.monotonicMs();
    const before = this.#missed;
    this.#missed = { since: before?.since ?? sentAt, sentAt, overAt: now };
    // Those that were under way together are one piece of news.
    if (before === null || sentAt < before.overAt || this.#heardAt >= before.sentAt) return;
    if (!this.#mayGiveUp(now)) return;
    const seconds = Math.round((now - before.since) / 1_000);
    for (const watch of [...this.#watches]) watch.give(silent(server, seconds));
  }

  /** Versions of before mean something else from now on. */
  replaced(): void {
    this.#history++;
    for (const watch of [...this.#watches]) watch.give(wentBack("the API server"));
  }

  #mayGiveUp(now: number): boolean {
    if (this.#watches.size === 0 || now - this.#gaveUpAt < restMs) return false;
    this.#gaveUpAt = now;
    return true;
  }
}

function silent(server: string, seconds: number): KubeConnectionError {
  return new KubeConnectionError({
    code: "KUBE_SILENT",
    object: server,
    message: `the API server is connected and answers nothing, for ${seconds} s now`,
    remedy: "see whether it hangs or is overloaded; what was known before stays in force",
  });
}

function doubt(server: string): KubeConnectionError {
  return new KubeConnectionError({
    code: "KUBE_DOUBT",
    object: server,
    message: "a watch has said nothing since requests were not answered",
    remedy: "it is asked for again by itself",
  });
}
