/**
 * Announces service addresses through kube-router's BGP daemon: what should be announced against what is. An address is announced when the datapath has
 * it, and withdrawn as soon as it should not be; withdrawals go first. While gobgpd is away nothing is waited for; a new session begins with what is there.
 */
import { type DesiredAddress, desiredAddresses, pathOver } from "../../compute/services/advertise.ts";
import type { ComputeResult } from "../../compute/result.ts";
import type { AgentConfig } from "../../config/index.ts";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { BoundedFrequencyRunner } from "../../lib/runner.ts";
import { inTurns, Turns } from "../../lib/turns.ts";
import type { Logger } from "../../model/logging.ts";
import type { Servability } from "../../datapath/index.ts";
import type { ConditionSink, Problem } from "../../model/status.ts";
import type { TableSnapshot, TableStore } from "../../model/store.ts";
import { GobgpError } from "../../sources/gobgp/errors.ts";
import type { GobgpSession } from "../../sources/gobgp/index.ts";
import { Faults } from "./faults.ts";
import type { AdvertisedAddress } from "./report.ts";
import { hostPrefix, type Outcome, Speaker } from "./speaker.ts";

/** ms: of rest after a comparison, and until the next one though nothing changed. */
const intervalMs = { least: 2, most: 1_000 } as const;
/** ms of rest after the dearest computations: an endpoint that ends meanwhile should be off the fabric within 100 ms or so. */
const longestRestMs = 50;
const retryMs = { firstMs: 100, maxMs: 5_000 } as const;
/** ms that the datapath may fail before clients are sent to other nodes: what passes is not worth a change of all ways. */
const unhealthyMs = 3_000;
/** ms between two tries at what fails, so that within the time above it is known whether it passes. */
const mendMs = 1_000;
/** ms between two looks whether our policy and its prefixes are still there. */
const refreshMs = 30_000;
/** ms that a path may be missing from the table of events before it is announced again. */
const eventMs = 2_000;
/** ms for withdrawing all of it when the agent stops. */
const stopMs = 2_000;

export interface AdvertiserOptions {
  readonly config: Pick<
    AgentConfig,
    | "nodeName"
    | "advertiseServices"
    | "advertiseAddresses"
    | "advertiseDrainTaints"
    | "advertiseNextHop"
    | "advertiseOnStop"
  >;
  readonly store: Pick<TableStore, "table" | "onChange">;
  readonly bgp: { readonly session: GobgpSession | null };
  readonly conditions: ConditionSink;
  /** Of what was written last. */
  readonly servability: () => Servability;
  /** Writes again what failed. */
  readonly mend: () => void;
  readonly log: Logger;
  readonly clock: Clock;
}

export class Advertiser {
  readonly #options: AdvertiserOptions;
  readonly #runner: BoundedFrequencyRunner;
  readonly #stopping = new AbortController();
  #unsubscribe: () => void = () => undefined;
  #facts: { readonly result: ComputeResult; readonly tables: TableSnapshot } | null = null;
  #desired: readonly DesiredAddress[] = [];
  #isComputed = true;
  /** ms that the last computation took. */
  #computeMs = 0;
  #speaker: Speaker | null = null;
  #refreshedMs = 0;
  /** By prefix, since when the table of events has not had it. */
  readonly #missing = new Map<string, number>();
  readonly #outcomes = new Map<string, Outcome>();
  #failure: Problem | null = null;
  /** ms of the monotonic clock since when nothing can be written; null: it can. */
  #failingSince: number | null = null;
  readonly #faults = new Faults(unhealthyMs);
  #mendedMs = 0;

  constructor(options: AdvertiserOptions) {
    this.#options = options;
    this.#runner = new BoundedFrequencyRunner({
      clock: options.clock,
      minIntervalMs: intervalMs.least,
      maxIntervalMs: intervalMs.most,
      action: () => this.#supervised(),
      retry: retryMs,
    });
  }

  /** Also when it is off: what an agent before announced is withdrawn. */
  start(): void {
    this.#unsubscribe = this.#options.store.onChange(({ table }) => {
      if (table === "bgpPaths") this.#runner.trigger();
    });
    this.#runner.trigger();
  }

  /** This is in the kernel now. */
  applied(result: ComputeResult, tables: TableSnapshot): void {
    this.#facts = { result, tables };
    this.#isComputed = false;
    this.#failingSince = null;
    this.#runner.trigger();
  }

  /** What was computed last could not be written. */
  failed(): void {
    this.#failingSince ??= this.#options.clock.monotonicMs();
  }

  /** There is a session, or none any more. */
  wake(): void {
    this.#runner.trigger();
  }

  /** By address, in order. */
  rows(): readonly AdvertisedAddress[] {
    return this.#desired.map((desired) => {
      const { path } = desired;
      if (path === null) return { desired, state: "withheld", why: desired.why };
      const unhealthy = this.#unhealthy(desired);
      if (unhealthy !== null) return { desired, state: "withheld", why: unhealthy };
      const outcome = this.#outcomes.get(hostPrefix(desired).text);
      if (outcome === undefined) return { desired, state: "waiting", why: this.#whyWaiting() };
      return { desired, state: outcome, why: outcomeTexts[outcome] ?? desired.why };
    });
  }

  /** Before anything else stops. With the setting advertiseOnStop: withdraw, all of it is withdrawn first. */
  async stop(): Promise<void> {
    this.#unsubscribe();
    await this.#runner.stop();
    const speaker = this.#speaker;
    const { config, bgp, clock, store, log } = this.#options;
    if (config.advertiseOnStop === "withdraw" && speaker !== null && speaker.session === bgp.session) {
      const timer = clock.setTimer(stopMs, () => this.#stopping.abort());
      try {
        const gone = await speaker.withdrawOthers(new Set(), store.table("bgpPaths"), this.#stopping.signal);
        log.info({ addresses: gone.length }, "withdrew service addresses");
      } catch (error) {
        log.warn({ error: messageOf(error) }, "service addresses stay announced");
      } finally {
        timer.cancel();
      }
    }
    this.#stopping.abort();
  }

  #whyWaiting(): string {
    if (this.#failure !== null) return this.#failure.message;
    return this.#options.bgp.session === null ? "kube-router's BGP daemon is not reached" : "it is about to be";
  }

  async #supervised(): Promise<void> {
    const { conditions } = this.#options;
    try {
      this.#computeMs = 0;
      await this.#run();
      this.#failure = null;
      conditions.report("advertise", []);
      await this.#rest(this.#computeMs);
    } catch (error) {
      this.#failure = problemOf(error);
      // Opened anew: what was done of it is not known.
      this.#speaker = null;
      this.#outcomes.clear();
      conditions.report("advertise", [this.#failure]);
      throw error;
    }
  }

  /** All services are looked at after each change: where they are thousands that does not take all of the time. */
  async #rest(computeMs: number): Promise<void> {
    if (computeMs <= intervalMs.least) return;
    // Rejected by stop() only.
    await this.#options.clock.sleep(Math.min(computeMs, longestRestMs), this.#stopping.signal).catch(() => undefined);
  }

  async #run(): Promise<void> {
    const { bgp, clock, log, store } = this.#options;
    if (this.#facts === null) return;
    await this.#compute(this.#facts);
    this.#lookForFaults();
    const { session } = bgp;
    if (session === null || !session.client.protocol.writes) {
      this.#speaker = null;
      this.#outcomes.clear();
      if (session !== null && this.#desired.some(({ path }) => path !== null)) readOnly(session);
      return;
    }
    const { signal } = this.#stopping;
    const now = clock.monotonicMs();
    let speaker = this.#speaker;
    if (speaker?.session !== session) {
      speaker = new Speaker(session);
      const isOff = this.#options.config.advertiseServices === "off";
      await speaker.open(store.table("bgpPaths").values(), !isOff, signal);
      this.#speaker = speaker;
      this.#refreshedMs = now;
      this.#missing.clear();
      this.#outcomes.clear();
    } else if (now - this.#refreshedMs >= refreshMs) {
      await speaker.refresh(signal);
      this.#refreshedMs = now;
    }
    // Computed since this run began, at the latest, is taken by the next one.
    const wanted = this.#desired.filter((each) => each.path !== null && this.#unhealthy(each) === null);
    const rows = store.table("bgpPaths");
    const gone = await speaker.withdrawOthers(new Set(wanted.map((each) => hostPrefix(each).text)), rows, signal);
    for (const text of gone) {
      this.#outcomes.delete(text);
      this.#missing.delete(text);
      log.info({ prefix: text }, "withdrew a service address");
    }
    const turns = new Turns(clock);
    for (const each of wanted) {
      if (turns.isOver) await turns.next();
      await this.#announce(speaker, each, now, signal);
    }
    const kept = new Set(wanted.map((each) => hostPrefix(each).text));
    for (const text of [...this.#outcomes.keys()]) if (!kept.has(text)) this.#outcomes.delete(text);
  }

  async #announce(speaker: Speaker, each: DesiredAddress, now: number, signal: AbortSignal): Promise<void> {
    const { store, log } = this.#options;
    if (each.path === null) return;
    const prefix = hostPrefix(each);
    const row = store.table("bgpPaths").get(prefix.text);
    if (row === undefined && speaker.held.has(prefix.text)) {
      const since = this.#missing.get(prefix.text) ?? now;
      this.#missing.set(prefix.text, since);
      if (now - since >= eventMs) {
        this.#missing.delete(prefix.text);
        speaker.forget(prefix);
      }
    } else this.#missing.delete(prefix.text);
    const path = pathOver(each.path, store.table("bgpPeers").values());
    const outcome = await speaker.announce(each, path, store.table("bgpPaths"), signal);
    if (this.#outcomes.get(prefix.text) === outcome) return;
    this.#outcomes.set(prefix.text, outcome);
    log.info({ prefix: prefix.text, outcome }, "compared a service address with BGP");
  }

  async #compute({
    result,
    tables,
  }: {
    readonly result: ComputeResult;
    readonly tables: TableSnapshot;
  }): Promise<void> {
    if (this.#isComputed) return;
    const { clock } = this.#options;
    const { nodeName, advertiseServices, advertiseAddresses, advertiseDrainTaints, advertiseNextHop } =
      this.#options.config;
    this.#isComputed = true;
    const addresses = desiredAddresses(tables, result.desired.frontends, {
      nodeName,
      mode: advertiseServices,
      kinds: advertiseAddresses,
      drainTaints: advertiseDrainTaints,
      nextHop: advertiseNextHop,
    });
    const start = clock.monotonicMs();
    this.#desired = await inTurns(addresses, clock);
    this.#computeMs = clock.monotonicMs() - start;
  }

  /** Why who comes to this address would not be served; null: he is. */
  #unhealthy({ address }: DesiredAddress): string | null {
    const now = this.#options.clock.monotonicMs();
    const fault = this.#faults.of(address.text, now);
    if (fault !== null) return `the datapath does not serve it: ${fault}`;
    if (this.#failingSince === null || now - this.#failingSince < unhealthyMs) return null;
    return `the datapath could not be written for ${Math.round((now - this.#failingSince) / 1000)} s`;
  }

  /** What failed may be over with the next try, which otherwise would wait for the next change. */
  #lookForFaults(): void {
    const now = this.#options.clock.monotonicMs();
    this.#faults.update(this.#options.servability(), now);
    if (!this.#faults.isUndecided(now) || now - this.#mendedMs < mendMs) return;
    this.#mendedMs = now;
    this.#options.mend();
  }
}

const outcomeTexts: Readonly<Partial<Record<Outcome, string>>> = {
  foreign: "kube-router, or somebody else, announces it itself through this daemon: that path is left alone",
};

function readOnly({ client }: GobgpSession): never {
  throw new GobgpError("GOBGP_READ_ONLY", client.address, `AddPath: ${client.protocol.label} is only read`);
}

function problemOf(error: unknown): Problem {
  const known = error instanceof GobgpError ? error : null;
  return {
    code: known?.code ?? "ADVERTISE_FAILED",
    severity: "warning",
    object: known?.object ?? "gobgpd",
    field: "advertiseServices",
    message: `service addresses are not announced: ${messageOf(error)}`,
    remedy: known?.remedy ?? "read the agent's log; it is tried again",
  };
}
