/**
 * One leader among the operators of a cluster: a Lease (coordination.k8s.io/v1) that its holder renews. Others take it when its holder gave
 * it back, or when they have not seen it renewed for its duration by their own clock: the times in the object are for people, as
 * clocks of machines differ.
 *
 *   holder:  sent |----------- renewDeadline -----------| stops acting
 *   others:       seen |----------------- leaseDuration -----------------| may take it
 *
 * What the holder sent in time and what arrives late is guarded by the preconditions of each write.
 */
import type { Clock } from "../lib/clock.ts";
import { messageOf } from "../lib/errors.ts";
import { isStatus, type KubeClient, kinds, type Lease, VersionMemory } from "../kube/index.ts";
import type { Logger } from "../model/logging.ts";
import { moment, Term } from "./term.ts";

export interface LeaderElectionOptions {
  readonly client: Pick<KubeClient, "get" | "create" | "update">;
  readonly namespace: string;
  readonly name: string;
  /** Of this process and no other, also not of one before it. */
  readonly identity: string;
  /** retry < renewDeadline < leaseDuration */
  readonly leaseDurationMs: number;
  readonly renewDeadlineMs: number;
  readonly retryMs: number;
  /** What the leader does. Resolves soon after the end of the term; to return before gives the lease back. */
  readonly lead: (term: Term) => Promise<void>;
  /** The API server's history is another one, as after a restore of etcd. */
  readonly onHistory: () => void;
  readonly clock: Clock;
  readonly log: Logger;
  /** 0..1; Math.random. */
  readonly random?: () => number;
}

export interface LeaderStatus {
  readonly leading: boolean;
  /** Who holds the lease as far as is known; "": nobody, or not known. */
  readonly holder: string;
  /** Why the lease could not be read or written last; null: it could. */
  readonly problem: string | null;
  readonly terms: number;
}

/** A lease as it was seen last by the content that its holder writes, and when it came to be so. */
interface Seen {
  readonly text: string;
  readonly at: number;
}

export class LeaderElection {
  readonly #options: LeaderElectionOptions;
  readonly #random: () => number;
  readonly #versions = new VersionMemory();
  #seen: Seen | null = null;
  #holder = "";
  #term: Term | null = null;
  #terms = 0;
  #problem: string | null = null;

  constructor(options: LeaderElectionOptions) {
    this.#options = options;
    this.#random = options.random ?? Math.random;
  }

  status(): LeaderStatus {
    const leading = this.#term?.held() ?? false;
    return { leading, holder: this.#holder, problem: this.#problem, terms: this.#terms };
  }

  /** Stands for election until the signal; resolves when the work is stopped and the lease given back. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const since = moment(this.#options.clock);
      const lease = await this.#attempt(() => this.#take(signal), signal);
      if (lease !== null)
        await this.#serve(lease, new Term(this.#options.clock, this.#options.renewDeadlineMs, since), signal);
      else await this.#pause(signal);
    }
  }

  /** null: somebody else has it, or it is not known. */
  async #take(signal: AbortSignal): Promise<Lease | null> {
    const { client, namespace, name, identity, clock, renewDeadlineMs } = this.#options;
    const call = { signal, timeoutMs: renewDeadlineMs / 2, retry: false };
    let lease: Lease;
    try {
      lease = await client.get(kinds.leases, { namespace, name }, call);
    } catch (error) {
      if (!isStatus(error, 404)) throw error;
      this.#holder = "";
      const fresh: Lease = { metadata: { namespace, name }, spec: this.#spec(null) };
      return client.create(kinds.leases, fresh, call);
    }
    this.#see(lease);
    const durationMs = (lease.spec?.leaseDurationSeconds ?? 0) * 1_000;
    const unseenMs = clock.monotonicMs() - (this.#seen?.at ?? clock.monotonicMs());
    if (this.#holder !== "" && this.#holder !== identity && unseenMs < durationMs) return null;
    return client.update(kinds.leases, { ...lease, spec: this.#spec(lease) }, call);
  }

  async #serve(taken: Lease, term: Term, signal: AbortSignal): Promise<void> {
    const { lead, log, identity } = this.#options;
    this.#terms++;
    this.#term = term;
    this.#see(taken);
    const stop = () => term.end();
    signal.addEventListener("abort", stop);
    if (signal.aborted) stop();
    log.info({ identity, transitions: taken.spec?.leaseTransitions }, "leading");
    const work = lead(term).then(
      () => term.end(),
      (error: unknown) => {
        log.error({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }, "leading failed");
        term.end();
      },
    );
    const last = await this.#renew(taken, term);
    term.end();
    await work;
    signal.removeEventListener("abort", stop);
    this.#term = null;
    if (last !== null) await this.#release(last);
    log.info({ identity, holder: this.#holder }, "not leading any more");
    if (!signal.aborted) await this.#pause(signal);
  }

  /** Until the term is over. @returns the lease as it was written last; null: it is somebody else's */
  async #renew(taken: Lease, term: Term): Promise<Lease | null> {
    let lease: Lease | null = taken;
    for (;;) {
      await this.#pause(term.signal);
      if (!term.held()) return lease;
      const since = moment(this.#options.clock);
      const before: Lease | null = lease;
      const answer: Lease | "lost" | null = await this.#attempt(() => this.#write(before, term), term.signal);
      if (answer === "lost") return null;
      if (answer === null) {
        // Whether it was written is not known: to be read.
        if (term.held()) lease = null;
      } else {
        lease = answer;
        this.#see(answer);
        term.extend(since);
      }
    }
  }

  /** @param known null: to be read first */
  async #write(known: Lease | null, term: Term): Promise<Lease | "lost"> {
    const { client, namespace, name, identity } = this.#options;
    const call = () => ({ signal: term.signal, timeoutMs: Math.max(1, term.leftMs), retry: false });
    if (known !== null) {
      try {
        return await client.update(kinds.leases, { ...known, spec: this.#spec(known) }, call());
      } catch (error) {
        // Somebody wrote to it, perhaps we ourselves, with an answer that was lost.
        if (!isStatus(error, 409) && !isStatus(error, 404)) throw error;
      }
    }
    try {
      const lease = await client.get(kinds.leases, { namespace, name }, call());
      this.#see(lease);
      if (this.#holder !== identity) return "lost";
      return await client.update(kinds.leases, { ...lease, spec: this.#spec(lease) }, call());
    } catch (error) {
      if (isStatus(error, 409)) return "lost";
      // Deleted: whoever makes it anew leads, and it may be somebody else.
      if (isStatus(error, 404)) return "lost";
      throw error;
    }
  }

  async #release(lease: Lease): Promise<void> {
    const { client, log, renewDeadlineMs, identity, namespace, name } = this.#options;
    const call = { timeoutMs: renewDeadlineMs / 4, retry: false };
    // One second: Kubernetes does not take less.
    const free = (of: Lease): Lease => ({
      ...of,
      spec: { ...this.#spec(of), holderIdentity: "", leaseDurationSeconds: 1 },
    });
    try {
      await client.update(kinds.leases, free(lease), call).catch(async (error: unknown) => {
        // The end of the term may have met a renewal that was carried out and whose answer nobody heard.
        const now = isStatus(error, 409) ? await client.get(kinds.leases, { namespace, name }, call) : null;
        if (now?.spec?.holderIdentity !== identity) throw error;
        await client.update(kinds.leases, free(now), call);
      });
      this.#holder = "";
    } catch (error) {
      // It runs out by itself, or somebody took it.
      log.debug({ error: messageOf(error) }, "the lease was not given back");
    }
  }

  /** @returns null after a failure, which is told once */
  async #attempt<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T | null> {
    try {
      const result = await work();
      this.#problem = null;
      return result;
    } catch (error) {
      // Another one was quicker.
      if (signal.aborted || isStatus(error, 409)) return null;
      const message = messageOf(error);
      if (message !== this.#problem) this.#options.log.warn({ error: message }, "the lease cannot be read or written");
      this.#problem = message;
      return null;
    }
  }

  #see(lease: Lease): void {
    if (this.#versions.wentBack(lease.metadata.resourceVersion)) this.#options.onHistory();
    this.#holder = lease.spec?.holderIdentity ?? "";
    const text = JSON.stringify(lease.spec ?? null);
    if (text !== this.#seen?.text) this.#seen = { text, at: this.#options.clock.monotonicMs() };
  }

  #spec(before: Lease | null): NonNullable<Lease["spec"]> {
    const { identity, leaseDurationMs, clock } = this.#options;
    const now = new Date(clock.now()).toISOString().replace("Z", "000Z");
    const holder = before?.spec?.holderIdentity ?? "";
    const same = holder === identity;
    const transitions = before?.spec?.leaseTransitions ?? 0;
    return {
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(leaseDurationMs / 1_000),
      acquireTime: same ? (before?.spec?.acquireTime ?? now) : now,
      renewTime: now,
      leaseTransitions: before === null || same ? transitions : transitions + 1,
    };
  }

  /** With jitter, so that candidates do not ask in step. Ends early with the signal. */
  async #pause(signal: AbortSignal): Promise<void> {
    const { clock, retryMs } = this.#options;
    if (signal.aborted) return;
    await clock.sleep(retryMs * (1 - this.#random() / 4), signal).catch(() => undefined);
  }
}
