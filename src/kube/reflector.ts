/**
 * Follows all objects of one kind: lists once, then watches, and tells a sink what changed, in batches. It never gives up: whatever
 * fails is tried again with growing pauses, what was told before stays told, and `status` says since when it is stale and why.
 *
 *            410, versions that went back, mistakes that repeat
 *          +------------------------------------------------------+
 *          v                                                      |
 *   list (first from the server's memory, then consistent) --> watch --> watch from the last version, again and again
 *
 * How long a watch runs, and when its silence means that it is dead: `watch-pace.ts`, `pulse.ts`.
 */
import { Backoff } from "../lib/backoff.ts";
import type { Clock } from "../lib/clock.ts";
import { messageOf, type TandemError } from "../lib/errors.ts";
import type { Logger } from "../model/logging.ts";
import type { KubeClient } from "./client.ts";
import { isInstalled } from "./custom-kinds.ts";
import { KubeAnswerError, KubeConnectionError, KubeStatusError, statusError } from "./errors.ts";
import { type KubeKind, resourceName } from "./kinds.ts";
import { type Batch, isEmpty, Ledger, type LedgerCounts, type Projection } from "./ledger.ts";
import { isOlder, type WatchEvent } from "./objects.ts";
import { asTandemError, endedAtOnce, SinkFailure, wentBack } from "./reflector-failures.ts";
import { WatchPace } from "./watch-pace.ts";

/** ms until an API server has begun to answer, at most. */
const openMs = 27_500;
/** ms after which a watch that says nothing works, as far as one can see; one that ends sooner failed. */
const steadyMs = 1_000;
const retry = { firstMs: 250, maxMs: 20_000 } as const;
/** ms until a kind that is not installed is looked for again. */
const absentMs = 10_000;
/** Mistakes in a row at one version, after which it is listed anew. */
const mistakesLimit = 2;

export interface ReflectorOptions<R> {
  readonly client: Pick<KubeClient, "list" | "watch" | "get" | "history">;
  readonly kind: KubeKind;
  readonly clock: Clock;
  readonly log: Logger;
  /** What is kept of an object; everything else of it is forgotten at once. */
  readonly project: Projection<R>;
  /**
   * Takes what changed, at once and as a whole. The first call is the whole list, even if it is empty; when it returns, `synced` is true. If it
   * throws, everything is listed and told again.
   */
  readonly sink: (batch: Batch<R>) => void;
  /** Left out: of all namespaces. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  /** "spec.nodeName=node-1". */
  readonly fieldSelector?: string;
  /** Called when `status` says something new: synced, stale, mended. Must not throw. */
  readonly onStatus?: () => void;
  /** Called when everything was listed again, and what is true now is told. Must not throw. */
  readonly onListed?: () => void;
  /** ms without a byte after which a watch is dead; left out: by its pace. Less than bookmarks take costs requests. */
  readonly silenceMs?: number;
  /** 0..1; Math.random. */
  readonly random?: () => number;
}

export interface ReflectorCounts extends LedgerCounts {
  lists: number;
  watches: number;
  events: number;
  bookmarks: number;
  failures: number;
  /** Watches that were given up for their silence. */
  silent: number;
}

export interface ReflectorStatus {
  /** "pods", "ciliumnetworkpolicies.cilium.io". */
  readonly resource: string;
  /** Everything was seen once. */
  readonly synced: boolean;
  /** What is known may be old. */
  readonly stale: TandemError | null;
  /** ms since the epoch; null: it is not stale. */
  readonly staleSince: number | null;
  /** Not installed in this cluster: there are no objects, for sure. */
  readonly absent: boolean;
  readonly objects: number;
  readonly counts: Readonly<ReflectorCounts>;
}

export class Reflector<R> {
  readonly #options: ReflectorOptions<R>;
  readonly #resource: string;
  readonly #ledger: Ledger<R>;
  readonly #backoff: Backoff;
  readonly #pace: WatchPace;
  readonly #counts = { lists: 0, watches: 0, events: 0, bookmarks: 0, failures: 0, silent: 0 };
  /** To watch from; null: to be listed. */
  #version: string | null = null;
  /** Whether the next list must be the truth of now: what the server has in memory may be what just proved too old. */
  #consistent = false;
  /** false: the pages of the last list expired before they were all read. */
  #paged = true;
  #mistakes = 0;
  /** The client's, that the versions are of. */
  #history: number;
  /** The last watch died in silence: that another one was opened proves nothing, until it says something. */
  #wasSilent = false;
  #synced = false;
  #absent = false;
  #stale: TandemError | null = null;
  #staleSince: number | null = null;
  readonly #waiting = new Set<() => void>();

  constructor(options: ReflectorOptions<R>) {
    this.#options = options;
    this.#history = options.client.history;
    this.#resource = resourceName(options.kind);
    const random = options.random ?? Math.random;
    this.#backoff = new Backoff({ ...retry, random });
    this.#pace = new WatchPace(random, options.silenceMs ?? null);
    this.#ledger = new Ledger(options.project, (key, error) => {
      const fields = { resource: this.#resource, key, error: messageOf(error) };
      options.log.error(fields, "an object could not be taken: what was known of it stays");
    });
  }

  status(): ReflectorStatus {
    return {
      resource: this.#resource,
      synced: this.#synced,
      stale: this.#stale,
      staleSince: this.#staleSince,
      absent: this.#absent,
      objects: this.#ledger.size,
      counts: { ...this.#counts, ...this.#ledger.counts },
    };
  }

  /** Resolves when everything was seen once, or with the signal. */
  async whenSynced(signal: AbortSignal): Promise<void> {
    if (this.#synced || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        signal.removeEventListener("abort", done);
        this.#waiting.delete(done);
        resolve();
      };
      this.#waiting.add(done);
      signal.addEventListener("abort", done, { once: true });
    });
  }

  /** Follows until the signal; resolves soon after it and never rejects. To be called once. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        this.#followHistory();
        if (this.#version === null) this.#version = await this.#list(signal);
        else await this.#watch(this.#version, signal);
      } catch (error) {
        if (signal.aborted) return;
        const pause = await this.#failed(error, signal);
        await this.#options.clock.sleep(pause, signal).catch(() => undefined);
      }
    }
  }

  #followHistory(): void {
    const { history } = this.#options.client;
    if (history === this.#history) return;
    this.#history = history;
    // What has the version of before may have another content.
    this.#ledger.distrust();
    this.#relist();
  }

  /** @returns the version to watch from */
  async #list(signal: AbortSignal): Promise<string> {
    const { client, kind } = this.#options;
    this.#counts.lists++;
    const take = this.#ledger.beginList();
    const version = this.#consistent ? {} : { resourceVersion: "0" };
    const options = { ...this.#selection(signal), ...version, paged: this.#paged };
    const listing = await client.list(kind, options, (object) => take.take(object));
    signal.throwIfAborted();
    this.#tell(take.finish(), () => take.commit(), !this.#synced);
    this.#consistent = false;
    this.#paged = true;
    this.#absent = false;
    this.#becameSynced();
    this.#options.onListed?.();
    return listing.resourceVersion;
  }

  async #watch(from: string, signal: AbortSignal): Promise<void> {
    const { client, kind, clock } = this.#options;
    const pace = this.#pace.next();
    this.#counts.watches++;
    const watch = await client.watch(kind, {
      ...this.#selection(signal),
      ...pace,
      resourceVersion: from,
      timeoutMs: Math.min(pace.silenceMs / 2, openMs),
    });
    // One that breaks off at once mends nothing.
    const steady = clock.setTimer(steadyMs, () => {
      if (!this.#wasSilent) this.#healthy();
    });
    const began = clock.monotonicMs();
    let changes = 0;
    let heard = false;
    try {
      for await (const events of watch.events) {
        signal.throwIfAborted();
        heard = true;
        changes += this.#takeEvents(events);
      }
    } finally {
      steady.cancel();
      this.#pace.ended(changes, clock.monotonicMs() - began);
    }
    if (!heard && clock.monotonicMs() - began < steadyMs) throw endedAtOnce(this.#resource);
    this.#healthy();
  }

  /** @returns how many were of objects. @throws KubeStatusError where the API server says ERROR */
  #takeEvents(events: readonly WatchEvent[]): number {
    const { batch, commit } = this.#ledger.takeEvents(events);
    this.#tell(batch, commit, false);
    let changes = 0;
    for (const event of events) {
      if (event.type === "ERROR") throw statusError(this.#resource, 500, event.status);
      const version = event.type === "BOOKMARK" ? event.resourceVersion : event.object.metadata.resourceVersion;
      if (event.type === "BOOKMARK") {
        this.#counts.bookmarks++;
        if (this.#version !== null && isOlder(event.resourceVersion, this.#version)) {
          // What has the version of before may have another content.
          this.#ledger.distrust();
          throw wentBack(this.#resource);
        }
      } else {
        this.#counts.events++;
        changes++;
      }
      if (version !== undefined && !(this.#version !== null && isOlder(version, this.#version)))
        this.#version = version;
    }
    this.#mistakes = 0;
    this.#healthy();
    return changes;
  }

  #tell(batch: Batch<R>, commit: () => void, always: boolean): void {
    if (always || !isEmpty(batch)) {
      try {
        this.#options.sink(batch);
      } catch (error) {
        this.#ledger.distrust(batch);
        throw new SinkFailure(error);
      }
    }
    commit();
  }

  /** Decides what comes next. @returns ms to wait before it */
  async #failed(error: unknown, signal: AbortSignal): Promise<number> {
    this.#counts.failures++;
    const wasListing = this.#version === null;
    let pause = this.#backoff.next();
    const first = this.#backoff.failures === 1;
    if (error instanceof KubeStatusError) {
      if (error.status === 404 && (await this.#missing(error, signal))) return absentMs;
      if (error.status === 410) {
        this.#paged = !wasListing;
        this.#relist();
        // The only cure is a list, and nothing is wrong with the server.
        if (first) return 0;
      }
      pause = Math.max(pause, error.retryAfterMs ?? 0);
    } else if (error instanceof KubeConnectionError && error.code === "KUBE_DOUBT") {
      this.#counts.silent++;
      if (first) return 0;
    } else if (error instanceof KubeConnectionError && error.code === "KUBE_TIMEOUT" && !wasListing) {
      this.#counts.silent++;
      this.#wasSilent = true;
      this.#pace.silent();
      // It may only mean that nothing happened: the next watch tells.
      if (first) return 0;
    } else if (error instanceof KubeAnswerError) {
      if (++this.#mistakes >= mistakesLimit) this.#relist();
    } else if (error instanceof SinkFailure) this.#relist();
    this.#becameStale(asTandemError(error, this.#resource), pause);
    return pause;
  }

  /** @returns whether it is sure that this kind does not exist here; then there are no objects of it. */
  async #missing(error: KubeStatusError, signal: AbortSignal): Promise<boolean> {
    const { client, kind } = this.#options;
    // Its definition may be made anew: from then on nothing that was known is true.
    this.#relist();
    const installed = await isInstalled(client, kind, signal).catch((failure: unknown) => {
      if (!signal.aborted)
        this.#options.log.warn(
          { resource: this.#resource, error: messageOf(failure) },
          "whether the kind is installed is not known",
        );
      return null;
    });
    if (installed !== false || signal.aborted) return false;
    const none = this.#ledger.beginList();
    try {
      this.#tell(none.finish(), () => none.commit(), !this.#synced);
    } catch (failure) {
      this.#becameStale(asTandemError(failure, this.#resource), absentMs);
      return true;
    }
    if (!this.#absent)
      this.#options.log.info({ resource: this.#resource, reason: error.message }, "not installed in this cluster");
    this.#absent = true;
    this.#backoff.reset();
    this.#becameSynced();
    return true;
  }

  #relist(): void {
    this.#version = null;
    this.#consistent = true;
    this.#mistakes = 0;
  }

  #becameSynced(): void {
    if (this.#synced) {
      this.#fresh();
      return;
    }
    this.#synced = true;
    this.#stale = null;
    this.#staleSince = null;
    this.#options.log.info({ resource: this.#resource, objects: this.#ledger.size }, "seen everything once");
    for (const done of [...this.#waiting]) done();
    this.#options.onStatus?.();
  }

  #healthy(): void {
    this.#wasSilent = false;
    this.#backoff.reset();
    this.#fresh();
  }

  #fresh(): void {
    if (this.#stale === null) return;
    this.#stale = null;
    this.#staleSince = null;
    this.#options.log.info({ resource: this.#resource }, "followed again");
    this.#options.onStatus?.();
  }

  #becameStale(error: TandemError, pauseMs: number): void {
    const same = this.#stale?.message === error.message;
    this.#stale = error;
    this.#staleSince ??= this.#options.clock.now();
    const fields = { resource: this.#resource, code: error.code, error: error.message, pauseMs: Math.round(pauseMs) };
    // A long outage is one line, not one for each try.
    if (same) this.#options.log.debug(fields, "still not followed");
    else this.#options.log.warn(fields, "not followed at the moment: what is known stays in force");
    if (!same) this.#options.onStatus?.();
  }

  #selection(signal: AbortSignal) {
    const { namespace, labelSelector, fieldSelector } = this.#options;
    return {
      signal,
      // Pauses are ours.
      retry: false,
      ...(namespace === undefined ? {} : { namespace }),
      ...(labelSelector === undefined ? {} : { labelSelector }),
      ...(fieldSelector === undefined ? {} : { fieldSelector }),
    };
  }
}
