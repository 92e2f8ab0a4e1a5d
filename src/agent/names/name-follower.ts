/**
 * Keeps the table of names: asks DNS for every name that a policy of this node's pods writes whole (`matchName`), again and again, and forgets
 * addresses when their time is over and no connection with them lives. This is how toFQDNs works without a proxy between the pods and
 * their DNS servers.
 *
 * Nothing waits for it: policies hold while names are asked for, and a name without addresses is nobody.
 */
import type { FqdnCacheDto, FqdnNameDto } from "../../api/dto.ts";
import type { NamesControl } from "../../api/queries.ts";
import type { CompiledSet, DesiredEndpoint } from "../../compute/desired.ts";
import type { NameAddress } from "../../dns/addresses.ts";
import type { NameCache } from "../../dns/name-cache.ts";
import type { Clock, Timer } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { BoundedFrequencyRunner } from "../../lib/runner.ts";
import { isWhole, meansName, namePattern } from "../../model/dns-names.ts";
import type { Address } from "../../model/ip.ts";
import { nameKey, ofNameKey } from "../../model/name-key.ts";
import type { Logger } from "../../model/logging.ts";
import type { ConditionSink, Problem } from "../../model/status.ts";
import type { TableStore } from "../../model/store.ts";
import { cacheReport, nameReport, patternsOf } from "./name-reports.ts";
import type { NameFile } from "./name-file.ts";
import { answered, failed, NameSchedule, type ScheduledName } from "./name-schedule.ts";

/** Questions under way at once. */
const mostAsked = 16;
/** ms between two looks for addresses whose time is over. */
const expiryMs = 5_000;

export interface NameFollowerOptions {
  readonly cache: NameCache;
  readonly file: Pick<NameFile, "read" | "changed" | "stop">;
  /** null: nobody is asked. */
  readonly resolve: ((name: string, family: 4 | 6, signal: AbortSignal) => Promise<readonly NameAddress[]>) | null;
  /** Of pods' addresses. */
  readonly families: readonly (4 | 6)[];
  /** Texts of those addresses that a connection of this node has. */
  readonly inUse: (addresses: readonly Address[]) => Promise<ReadonlySet<string>>;
  readonly store: Pick<TableStore, "upsert" | "delete">;
  /** Pods' own lookups are learned (`learn`): names need not be asked for. */
  readonly isTold?: boolean;
  /** Addresses of names went before their time; null: maybe of all. */
  readonly forgotten?: (names: readonly string[] | null) => void;
  /** Pods that had names of their own went, by their numbers on this node. */
  readonly gone?: (endpoints: readonly number[]) => void;
  readonly conditions: ConditionSink;
  readonly log: Logger;
  readonly clock: Clock;
}

export class NameFollower implements NamesControl {
  readonly #options: NameFollowerOptions;
  readonly #schedule = new NameSchedule();
  readonly #expiry: BoundedFrequencyRunner;
  readonly #stopping = new AbortController();
  readonly #asking = new Set<Promise<void>>();
  #sets: readonly CompiledSet[] = [];
  /** Of pods: containerId -> number and "namespace/name". */
  #endpoints: ReadonlyMap<string, { readonly id: number; readonly pod: string }> = new Map();
  #timer: Timer | null = null;

  constructor(options: NameFollowerOptions) {
    this.#options = options;
    this.#expiry = new BoundedFrequencyRunner({
      clock: options.clock,
      minIntervalMs: expiryMs,
      maxIntervalMs: expiryMs,
      action: () => this.#expire(),
    });
  }

  /** Before the first computation: what the agent before knew. */
  async restore(): Promise<void> {
    await this.#options.file.read();
    this.#publish();
  }

  start(): void {
    this.#expiry.trigger();
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error("the agent stops"));
    this.#timer?.cancel();
    await this.#expiry.stop();
    await Promise.all(this.#asking);
    await this.#options.file.stop();
  }

  /** Follows the names of these sets, and no others, and of the pods that are there from now on. */
  follow(sets: readonly CompiledSet[], endpoints: readonly DesiredEndpoint[] = []): void {
    this.#followEndpoints(endpoints);
    if (sets === this.#sets || this.#stopping.signal.aborted) return;
    this.#sets = sets;
    const patterns = [...patternsOf(sets).values()].map(({ pattern }) => pattern);
    if (this.#options.isTold === true) return;
    if (this.#options.resolve === null) {
      this.#options.conditions.report("names", patterns.length === 0 ? [] : [namesOff(patterns.length)]);
      return;
    }
    const whole = new Set(patterns.filter(isWhole).map(({ text }) => text));
    if (!this.#schedule.want(whole, this.#options.clock.monotonicMs())) return;
    this.#report();
    this.#ask();
  }

  /**
   * Takes what an answer to a pod says.
   * @param endpoint containerId of the only pod that it counts for; null: for all
   * @param ago seconds since it came
   * @returns whether there is an address that was not known
   */
  learn(endpoint: string | null, name: string, found: readonly NameAddress[], ago = 0): boolean {
    if (this.#stopping.signal.aborted) return false;
    this.#options.cache.learn(nameKey(endpoint, name), found, ago);
    return this.#publish();
  }

  cache(): readonly FqdnCacheDto[] {
    const { cache, clock, isTold } = this.#options;
    const podOf = (endpoint: string) => this.#endpoints.get(endpoint)?.pod ?? endpoint;
    return cacheReport(cache.names, clock.monotonicMs(), isTold === true ? "lookup" : "agent", podOf);
  }

  names(): readonly FqdnNameDto[] {
    return nameReport(this.#sets, this.#options.cache.names, this.#schedule.names);
  }

  clean(pattern: string | null): number {
    const { cache, clock } = this.#options;
    const meant = pattern === null ? null : namePattern("pattern", pattern);
    const forgotten = cache.clean((key) => meant === null || meansName(meant, ofNameKey(key).name));
    this.#publish();
    this.#options.forgotten?.(null);
    this.#schedule.hurry(clock.monotonicMs());
    this.#ask();
    return forgotten;
  }

  /** Asks for what is due, and comes back when the next is. */
  #ask(): void {
    if (this.#stopping.signal.aborted) return;
    const { clock } = this.#options;
    const now = clock.monotonicMs();
    for (const name of this.#schedule.due(now).slice(0, Math.max(0, mostAsked - this.#asking.size))) {
      name.isAsked = true;
      const asking = this.#askFor(name).finally(() => {
        this.#asking.delete(asking);
        name.isAsked = false;
        this.#ask();
      });
      this.#asking.add(asking);
    }
    this.#timer?.cancel();
    const next = this.#asking.size >= mostAsked ? null : this.#schedule.nextDue();
    this.#timer = next === null ? null : clock.setTimer(Math.max(0, next - now), () => this.#ask());
  }

  /** Never rejects. */
  async #askFor(scheduled: ScheduledName): Promise<void> {
    const { cache, clock, families, log, resolve } = this.#options;
    const { signal } = this.#stopping;
    const { name } = scheduled;
    if (resolve === null) return;
    const answers = await Promise.allSettled(families.map((family) => resolve(name, family, signal)));
    if (signal.aborted) return;
    const found = answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []));
    const failure = answers.find((answer) => answer.status === "rejected");
    // Nobody waits for it any more.
    if (this.#schedule.names.get(name) !== scheduled) return;
    const hadError = scheduled.error !== null;
    cache.learn(nameKey(null, name), found);
    const now = clock.monotonicMs();
    if (failure === undefined) {
      const ttl = found.length === 0 ? null : Math.min(...found.map((each) => each.ttl));
      answered(scheduled, ttl, now, clock.now());
    } else {
      const reason: unknown = failure.reason;
      failed(scheduled, reason instanceof Error ? reason : new Error(messageOf(reason)), now);
      log.debug({ name, error: messageOf(reason) }, "a name was not resolved");
    }
    if (hadError || scheduled.error !== null) this.#report();
    this.#publish();
  }

  async #expire(): Promise<void> {
    const { cache, inUse, log } = this.#options;
    const due = cache.due();
    if (due.length === 0) return;
    try {
      cache.expire(await inUse(due));
    } catch (error) {
      // Without conntrack nobody knows which of them a connection needs: all stay until the next look.
      log.warn({ error: messageOf(error) }, "addresses of names were kept: conntrack could not be read");
      return;
    }
    this.#publish();
  }

  /** What the cache has, into the table. @returns whether that changes it */
  #publish(): boolean {
    const { cache, store, file, forgotten } = this.#options;
    const changed = cache.takeChanged();
    // Whoever remembers what was open asks again for those that had to make room for others.
    const evicted = cache.takeEvicted();
    if (evicted.size > 0) forgotten?.([...new Set([...evicted].map((key) => ofNameKey(key).name))]);
    for (const key of changed) {
      const addresses = cache.addressesOf(key);
      const { name, endpoint } = ofNameKey(key);
      if (addresses.length === 0) store.delete("names", key);
      else store.upsert("names", key, { name, ...(endpoint !== null && { endpoint }), addresses });
    }
    file.changed();
    return changed.size > 0;
  }

  /** What a pod was given ends with it; another one may have its number. */
  #followEndpoints(endpoints: readonly DesiredEndpoint[]): void {
    const { cache, gone } = this.#options;
    const before = this.#endpoints;
    this.#endpoints = new Map(endpoints.map(({ row }) => [row.containerId, { id: row.id, pod: row.pod }]));
    const ended = new Set([...cache.endpoints].filter((endpoint) => !this.#endpoints.has(endpoint)));
    const numbers = [...before].flatMap(([endpoint, { id }]) => (this.#endpoints.has(endpoint) ? [] : [id]));
    if (numbers.length > 0) gone?.(numbers);
    if (ended.size === 0) return;
    cache.clean((key) => ended.has(ofNameKey(key).endpoint ?? ""));
    this.#publish();
  }

  #report(): void {
    const failing = [...this.#schedule.names.values()].filter(({ error }) => error !== null);
    this.#options.conditions.report("names", failing.map(unresolved));
  }
}

function unresolved({ name, error }: ScheduledName): Problem {
  const known = error as (Error & { readonly code?: unknown; readonly remedy?: unknown }) | null;
  return {
    code: typeof known?.code === "string" ? known.code : "NAME_UNANSWERED",
    severity: "warning",
    object: `name ${name}`,
    field: "",
    message: error?.message ?? "",
    remedy: typeof known?.remedy === "string" ? known.remedy : "it is tried again",
  };
}

function namesOff(count: number): Problem {
  return {
    code: "NAMES_OFF",
    severity: "warning",
    object: "dnsMode",
    field: "",
    message: `policies name ${count} name${count === 1 ? "" : "s"} of DNS (toFQDNs), and nobody asks for their addresses: they are nobody`,
    remedy: "set dnsMode: resolve, or name the addresses in toCIDR",
  };
}
