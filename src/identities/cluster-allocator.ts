/**
 * Numbers of identities that all nodes of a cluster agree on: CiliumIdentity objects, followed by a reflector. A set of labels that has one
 * costs no request; a new one is asked for in the background (`number-requests`), and its pods stay closed until the number is known.
 *
 * What this node uses it goes on using while the API server is away and over its own restarts, by the record. When the cluster says otherwise,
 * the cluster is right: of two numbers for a set the lowest counts for everybody, and a number that was deleted and given to others
 * is theirs. A number in use whose object was deleted is created again.
 */
import { isStatus, type KubeClient, kinds, Reflector, type ReflectorStatus } from "../kube/index.ts";
import type { Batch } from "../kube/index.ts";
import type { Clock } from "../lib/clock.ts";
import { messageOf } from "../lib/errors.ts";
import { mapChanges } from "../lib/map-diff.ts";
import type { Logger } from "../model/logging.ts";
import type { ConditionSink, Problem } from "../model/status.ts";
import { IdentityChurn } from "./churn.ts";
import { type ClusterIdentity, readIdentity, unusedSince } from "./cilium-identity.ts";
import { IdentityDirectory } from "./directory.ts";
import { HeldNumbers } from "./held-numbers.ts";
import { NumberRequests } from "./number-requests.ts";
import { obtainNumber } from "./obtain-number.ts";
import type { IdentityRecord, NumberRange, NumbersInUse, RecordedAllocator } from "./record.ts";

/** ms within which the reflector tells of an object that was made here. */
const confirmMs = 60_000;
/** Part of all numbers that may be taken before somebody should know. */
const scarce = 0.8;

export interface ClusterIdentityAllocatorOptions {
  readonly client: Pick<KubeClient, "list" | "watch" | "history" | "get" | "create" | "patch">;
  readonly nodeName: string;
  /** Of this cluster: `clusterNumbers(clusterId)`. */
  readonly range: NumberRange;
  /** Numbers in use when the agent before this one ended. */
  readonly record: IdentityRecord | null;
  /** A number came, changed or went: compute again. Must not throw. */
  readonly onNews: () => void;
  readonly conditions: ConditionSink;
  readonly log: Logger;
  readonly clock: Clock;
  /** 0..1; Math.random. */
  readonly random?: () => number;
}

export class ClusterIdentityAllocator implements RecordedAllocator {
  readonly #options: ClusterIdentityAllocatorOptions;
  readonly #reflector: Reflector<ClusterIdentity>;
  readonly #requests: NumberRequests;
  readonly #directory: IdentityDirectory;
  readonly #held: HeldNumbers;
  readonly #churn = new IdentityChurn();
  /** Objects that were made here and that the reflector has not told of yet, and when. */
  readonly #made = new Map<string, { readonly number: number; readonly at: number }>();
  /** Sets of pods of this node. */
  readonly #own = new Set<string>();
  /** Since the last `retain`. */
  readonly #asked = new Set<string>();
  readonly #renumbered = new Set<string>();
  readonly #unmarking = new Set<Promise<void>>();
  #used: NumbersInUse = new Map();
  #synced = false;
  #signal: AbortSignal = new AbortController().signal;

  constructor(options: ClusterIdentityAllocatorOptions) {
    const { client, clock, log, random = Math.random, onNews } = options;
    this.#options = options;
    this.#directory = new IdentityDirectory(options.range);
    this.#held = new HeldNumbers(options.record);
    this.#reflector = new Reflector({
      client,
      clock,
      log,
      random,
      kind: kinds.ciliumIdentities,
      project: readIdentity,
      sink: (batch) => this.#take(batch),
      onStatus: () => this.#report(),
    });
    this.#requests = new NumberRequests({
      clock,
      random,
      onNews,
      obtain: (key, preferred, signal) => this.#obtain(key, preferred, signal),
      obstacle: () => this.#reflector.status().stale?.message ?? "the identities of the cluster are not read yet",
    });
  }

  /** Follows the cluster until the signal; resolves soon after it and never rejects. To be called once. */
  async run(signal: AbortSignal): Promise<void> {
    this.#signal = signal;
    await this.#reflector.run(signal);
    await this.#requests.stop();
    await Promise.all(this.#unmarking);
  }

  /** Resolves when all identities of the cluster were seen once, or with the signal: before, every set that is not in the record waits. */
  async whenSynced(signal: AbortSignal): Promise<void> {
    await this.#reflector.whenSynced(signal);
  }

  status(): ReflectorStatus {
    return this.#reflector.status();
  }

  /** @throws TandemError IDENTITY_PENDING, IDENTITY_DELAYED, IDENTITIES_EXHAUSTED */
  numberFor(key: string, node: string): number {
    const own = node === this.#options.nodeName;
    if (own) this.#own.add(key);
    this.#asked.add(key);
    const number = this.#choose(key);
    if (number === null) {
      this.#requests.want(key, own);
      throw this.#requests.reasonOf(key);
    }
    this.#hold(key, number);
    this.#tend(key);
    return number;
  }

  *renumbered(): Iterable<string> {
    const keys = [...this.#renumbered];
    this.#renumbered.clear();
    yield* keys;
  }

  retain(used: NumbersInUse): void {
    const gone = mapChanges(this.#used, used).flatMap(({ before }) => before?.key ?? []);
    this.#used = used;
    this.#held.retain(used);
    const forgotten = this.#requests.keep((key) => this.#asked.has(key) || this.#isUsed(key));
    for (const key of [...gone, ...forgotten]) if (!this.#isUsed(key) && !this.#asked.has(key)) this.#own.delete(key);
    this.#asked.clear();
    const now = this.#options.clock.monotonicMs();
    for (const [key, { at }] of this.#made) {
      if (now - at <= confirmMs) continue;
      this.#made.delete(key);
      // Deleted before it was told of: what came and went between two lists.
      if (this.#isUsed(key)) this.#tend(key);
    }
    this.#report();
  }

  unwritten(): IdentityRecord | null {
    return this.#held.unwritten();
  }

  written(): void {
    this.#held.written();
  }

  /** Null: there is none, or the one that was in use is somebody else's now. */
  #choose(key: string): number | null {
    const known = this.#directory.find(key);
    if (known !== undefined) return known.number;
    const held = this.#held.numberOf(key);
    const owner = held === null ? undefined : this.#directory.get(held);
    return owner === undefined || owner.key === key ? held : null;
  }

  #hold(key: string, number: number): void {
    const other = this.#held.hold(key, number);
    if (other !== null) this.#renumbered.add(other);
  }

  #isUsed(key: string): boolean {
    const number = this.#held.numberOf(key);
    return number !== null && this.#used.get(number)?.key === key;
  }

  /** Sees to it that a number in use has an object, and that nobody deletes that as unused. */
  #tend(key: string): void {
    if (!this.#synced) return;
    const own = this.#own.has(key);
    const known = this.#directory.find(key);
    if (known === undefined && !this.#made.has(key)) this.#requests.want(key, own, this.#held.numberOf(key));
    if (known !== undefined && known.unusedSince !== null && own) this.#unmark(known);
  }

  /** What the reflector tells. */
  #take(batch: Batch<ClusterIdentity>): void {
    const first = !this.#synced;
    this.#synced = true;
    const keys = new Set(this.#directory.update(batch));
    let news = false;
    for (const [, { key, number }] of [...batch.added, ...batch.updated]) {
      if (this.#made.get(key)?.number === number) this.#made.delete(key);
      const before = this.#held.keyOf(number);
      if (before !== null) keys.add(before);
    }
    const now = this.#options.clock.monotonicMs();
    if (!first) for (const [, { key }] of batch.added) this.#churn.came(key, now);
    if (first) for (const key of this.#held.keys()) keys.add(key);
    for (const key of keys) news = this.#look(key) || news;
    this.#requests.open();
    if (batch.deleted.length > 0) this.#requests.retryExhausted();
    this.#report();
    if (news) this.#options.onNews();
  }

  /** @returns whether the number of a key is another than before, or there at last */
  #look(key: string): boolean {
    const number = this.#choose(key);
    const came = number !== null && this.#directory.find(key) !== undefined && this.#requests.done(key);
    const held = this.#held.numberOf(key);
    if (held === null) return came;
    if (number === null) this.#held.drop(key);
    const changed = number !== held;
    if (changed) this.#renumbered.add(key);
    if (number !== null && this.#isUsed(key)) this.#tend(key);
    return came || changed;
  }

  async #obtain(key: string, preferred: number | null, signal: AbortSignal): Promise<void> {
    const { client, range, clock, log } = this.#options;
    const isTaken = (number: number) => {
      const holder = this.#directory.get(number)?.key ?? this.#held.keyOf(number);
      return holder !== null && holder !== key;
    };
    // What came meanwhile needs no request.
    const known = this.#directory.find(key);
    const identity = known ?? (await obtainNumber({ client, range, isTaken }, key, preferred, signal));
    const { number } = identity;
    if (this.#directory.get(number)?.key !== key) this.#made.set(key, { number, at: clock.monotonicMs() });
    log.debug({ identity: number, labels: key.split("\n") }, "a set of labels has a number");
    const before = this.#held.numberOf(key);
    // Who does not wait any more was told by the reflector, or is gone.
    if (this.#requests.done(key) && before !== number) {
      this.#hold(key, number);
      if (before !== null) this.#renumbered.add(key);
      this.#options.onNews();
    }
    if (identity.unusedSince !== null && this.#own.has(key)) this.#unmark(identity);
  }

  /** Whoever deletes it does so only as it was when it was marked. */
  #unmark({ number, resourceVersion }: ClusterIdentity): void {
    const { client, log } = this.#options;
    const patch = { metadata: { annotations: { [unusedSince]: null }, resourceVersion } };
    const name = String(number);
    const work = client.patch(kinds.ciliumIdentities, { name }, patch, { signal: this.#signal }).then(
      () => undefined,
      (error: unknown) => {
        // Deleted or changed: the reflector tells, and what is in use is looked at again.
        if (this.#signal.aborted || isStatus(error, 404) || isStatus(error, 409)) return;
        log.warn({ identity: number, error: messageOf(error) }, "an identity in use is marked as unused");
      },
    );
    this.#unmarking.add(work);
    void work.finally(() => this.#unmarking.delete(work));
  }

  #report(): void {
    const { conditions, range, clock } = this.#options;
    const { stale } = this.#reflector.status();
    const size = range.last - range.first + 1;
    const taken = this.#directory.size;
    const problems: Problem[] = [...this.#churn.problems(clock.monotonicMs())];
    const about = { object: "CiliumIdentity", field: "" } as const;
    if (this.#requests.exhausted) {
      const message = `all ${size} numbers are taken: pods with new sets of labels stay closed`;
      const remedy =
        "use fewer different sets of pod labels, and see that the operator runs: it deletes what is unused";
      problems.push({ ...about, code: "IDENTITIES_EXHAUSTED", severity: "error", message, remedy });
    } else if (taken >= size * scarce) {
      const message = `${taken} of ${size} numbers are taken`;
      const remedy =
        "see which labels make so many different sets, and that the operator runs: it deletes what is unused";
      problems.push({ ...about, code: "IDENTITIES_SCARCE", severity: "warning", message, remedy });
    }
    if (stale !== null) {
      const message = `the identities of the cluster are not followed: ${stale.message}`;
      const remedy = `numbers that are known stay in force, new sets of labels wait; ${stale.remedy}`;
      problems.push({ ...about, code: "IDENTITIES_STALE", severity: "warning", message, remedy });
    }
    conditions.report("cluster-identities", problems);
  }
}
