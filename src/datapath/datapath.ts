/**
 * The datapath as the agent sees it: owns maps, programs and links of this node. It may end at any moment: what the kernel forwards never
 * waits for it, and the next start reads what is pinned and changes only what differs.
 */
import type { AgentConfig } from "../config/index.ts";
import type { DesiredState } from "../compute/desired.ts";
import type { Clock } from "../lib/clock.ts";
import { messageOf, TandemError } from "../lib/errors.ts";
import type { Address } from "../model/ip.ts";
import type { Logger } from "../model/logging.ts";
import type { ConditionSink, Problem } from "../model/status.ts";
import type { NativeBinding } from "../native/contract.ts";
import type { MapName } from "../native/layouts.gen.ts";
import type { RunTool } from "../native/run-tool.ts";
import { readAffinities } from "./affinities.ts";
import { Conntrack } from "./conntrack.ts";
import { EventRing } from "./events.ts";
import { type Capabilities, chooseCapabilities } from "./features.ts";
import { readIdentities, readMaglev, readPolicySets, readServices } from "./kernel-views.ts";
import { allSettledOrThrow, LoadedObjects } from "./load.ts";
import { mapSizes } from "./map-sizes.ts";
import { Nat } from "./nat.ts";
import { type PacketQuestion, readVerdict } from "./kernel-verdict.ts";
import { Periodic } from "./periodic.ts";
import { Pins } from "./pins.ts";
import { ProxyRedirection } from "./proxy-redirection.ts";
import { ReadyWaiters } from "./ready-waiters.ts";
import { Reconciler } from "./reconcile.ts";
import type {
  DatapathReport,
  EndpointState,
  EventBatch,
  KernelAffinity,
  KernelFlow,
  KernelIdentity,
  KernelPolicySet,
  KernelRenaming,
  KernelMaglev,
  KernelService,
  PolicyJudgement,
  ServiceFlowCount,
  TrafficCount,
} from "./report.ts";
import { type Servability, servesNothing } from "./servability.ts";
import { ServiceFlowCounts } from "./service-flows.ts";
import type { DemandsPublisher } from "./set-demands.ts";
import { readLostEvents, readTraffic } from "./traffic.ts";

/** ms between two sweeps of conntrack: the shortest of its time-outs is of this order. */
const sweepIntervalMs = 20_000;
/** ms after which devices that have only filters get links, unless pods still come. */
const settleIntervalMs = 1000;
/** ms between two comparisons of what is in the kernel with what was written there. */
const verifyIntervalMs = 60_000;

export interface DatapathOptions {
  readonly native: NativeBinding;
  readonly config: AgentConfig;
  readonly log: Logger;
  readonly clock: Clock;
  readonly conditions: ConditionSink;
  readonly demands: DemandsPublisher;
  readonly run: RunTool;
  /** Told how long one round of a loop took. */
  readonly onRound?: (loop: "conntrack" | "links" | "verify", ms: number) => void;
}

/** What there is once it has started. */
interface Running {
  readonly capabilities: Capabilities;
  readonly objects: LoadedObjects;
  readonly reconciler: Reconciler;
  readonly conntrack: Conntrack;
  readonly serviceFlows: ServiceFlowCounts;
  readonly nat: Nat;
}

export class Datapath {
  readonly #options: DatapathOptions;
  readonly #events: EventRing;
  readonly #waiters = new ReadyWaiters();
  readonly #timers: readonly Periodic[];
  readonly #redirection: ProxyRedirection;
  #running: Running | null = null;
  #desired: DesiredState | null = null;
  #startProblems: readonly Problem[] = [];
  #queue: Promise<unknown> = Promise.resolve();
  #lostEvents = 0;
  #lastApplyMs = 0;
  #closed = false;

  constructor(options: DatapathOptions) {
    this.#options = options;
    const { native, clock } = options;
    this.#redirection = new ProxyRedirection(options);
    this.#events = new EventRing(native, (set, direction, group) => {
      return this.#running?.reconciler.sets.compiledOf(set)?.[direction].origins[group] ?? [];
    });
    const timed = async (loop: "conntrack" | "links" | "verify", work: () => Promise<void>) => {
      const start = clock.monotonicMs();
      await work();
      options.onRound?.(loop, clock.monotonicMs() - start);
    };
    const rounds = [
      [sweepIntervalMs, "conntrack", "sweep of conntrack", () => this.#sweep()],
      [settleIntervalMs, "links", "links of new devices", () => this.#settle()],
      [verifyIntervalMs, "verify", "comparison with the kernel", () => this.verify()],
    ] as const;
    this.#timers = rounds.map(
      ([intervalMs, loop, what, work]) =>
        new Periodic(clock, intervalMs, () => timed(loop, () => this.#supervised(what, work))),
    );
  }

  /**
   * Takes over what is pinned and brings this version's programs in.
   * @throws TandemError KERNEL_FEATURE_MISSING, BPFFS_UNAVAILABLE, LAYOUT_CHANGED, LOAD_FAILED: nothing was changed then
   */
  async start(): Promise<void> {
    await this.#exclusive(async () => {
      const { native, config, log, conditions, demands } = this.#options;
      const capabilities = chooseCapabilities(await native.probeFeatures(), config);
      const pins = new Pins(config.bpffs);
      await pins.prepare(native);
      const redirect = await this.#redirection.prepare(capabilities);
      const objects = new LoadedObjects({ native, config, capabilities, redirect, pins, log });
      try {
        await objects.loadMaps();
        const map = (name: MapName) => objects.map(name);
        const timeouts = config.conntrackTimeouts;
        const flows = { ct4: map("ct4"), ct6: map("ct6"), affinity: map("affinity") };
        const conntrack = new Conntrack(native, flows, timeouts, monotonicSeconds);
        const nat = new Nat(native, { nat4: map("nat4"), nat6: map("nat6") }, timeouts, monotonicSeconds);
        const reconciler = new Reconciler({ native, config, capabilities, pins, objects, demands });
        await allSettledOrThrow([objects.loadPrograms(), reconciler.readAll(conntrack, nat)]);
        const problems = await reconciler.replacePrograms();
        await objects.finish();
        await this.#redirection.begin();
        const serviceFlows = new ServiceFlowCounts(native, map("service_flows"));
        this.#running = { capabilities, objects, reconciler, conntrack, nat, serviceFlows };
        this.#startProblems = objects.problems;
        conditions.report("datapath", [...objects.problems, ...problems]);
      } catch (error) {
        objects.close();
        throw error;
      }
      this.#events.open(objects.map("events"));
      for (const timer of this.#timers) timer.start();
      log.info(
        { mode: capabilities.mode, redirectPeer: capabilities.redirectPeer, bpffs: config.bpffs },
        "datapath loaded",
      );
    });
  }

  /** Leaves the kernel exactly as it is. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([this.#redirection.stop(), ...this.#timers.map((timer) => timer.stop())]);
    await this.#queue.catch(() => undefined);
    await this.#events.close();
    this.#running?.objects.close();
    this.#running = null;
  }

  /** Makes the kernel hold this. What could not be written is a condition and tried again with the next call. */
  async apply(desired: DesiredState): Promise<void> {
    await this.#exclusive(async () => {
      if (this.#closed) return;
      this.#desired = desired;
      await this.#reconcile(desired);
      this.#lastApplyMs = this.#options.clock.monotonicMs();
    });
  }

  /** Compares the kernel with what was written, and repairs. The timer calls it. */
  async verify(): Promise<void> {
    if (this.#closed || this.#desired === null) return;
    const differs = await this.#must().reconciler.verify((step) => this.#exclusive(step));
    if (!differs) return;
    await this.#exclusive(async () => {
      if (!this.#closed && this.#desired !== null) await this.#reconcile(this.#desired);
    });
  }

  /**
   * Resolves when that pod of this node is open in the kernel with the policy of the last `apply`; rejects when aborted.
   * @param pod "namespace/name"
   * @param ifindex the very endpoint that is meant, where several of one name may follow each other; null: all that there are
   */
  async whenReady(pod: string, signal: AbortSignal, ifindex: number | null = null): Promise<void> {
    await this.#waiters.wait(() => this.#isReady(pod, ifindex), signal);
  }

  /** Batches of the event ring from now on. */
  onEvents(listener: (batch: EventBatch) => void): void {
    this.#events.listen(listener);
  }

  async report(): Promise<DatapathReport> {
    if (this.#running === null) {
      const { tcMode } = this.#options.config;
      const mode = tcMode === "clsact" ? "clsact" : "tcx";
      const none = { attachedEndpoints: 0, attachedUplinks: [], xdp: [], reconcilers: [], maps: [] };
      return { features: {}, mode, proxyRedirect: this.#redirection.report(), cgroup: null, ...none };
    }
    const { capabilities, reconciler } = this.#running;
    const { attachments } = reconciler;
    const { endpoints = [], uplinks = [] } = this.#desired ?? {};
    return {
      features: capabilities.features,
      mode: capabilities.mode,
      attachedEndpoints: endpoints.filter(({ row }) => attachments.isAttached("pod", row.ifindex)).length,
      attachedUplinks: uplinks
        .filter(({ ifindex }) => attachments.isAttached("uplink", ifindex))
        .map(({ name }) => name),
      xdp: reconciler.wire.report(),
      proxyRedirect: this.#redirection.report(),
      cgroup: reconciler.socket.cgroup,
      reconcilers: [...reconciler.counters(), ["proxy redirection", this.#redirection.counters] as const].map(
        ([name, { writes, repaired, failures, lastError }]) => ({
          name,
          writes,
          repaired,
          failures,
          lastError,
        }),
      ),
      maps: mapSizes(this.#running),
    };
  }

  /** Since the maps were made; empty before the start. */
  traffic(): readonly TrafficCount[] {
    const running = this.#running;
    return running === null ? [] : readTraffic(this.#options.native, running.objects.map("metrics"));
  }

  /** null: the kernel has no endpoint of that number. */
  endpointState(id: number): EndpointState | null {
    return this.#running?.reconciler.endpoints.stateOf(id) ?? null;
  }

  async conntrack(): Promise<readonly KernelFlow[]> {
    return this.#running?.conntrack.flows() ?? [];
  }

  async renamings(): Promise<readonly KernelRenaming[]> {
    return this.#running?.nat.flows() ?? [];
  }

  /** Texts of those addresses that a living flow has. @throws Error before the start: nobody knows */
  async addressesInUse(addresses: readonly Address[]): Promise<ReadonlySet<string>> {
    return this.#must().conntrack.inUse(addresses);
  }

  async serviceFlows(): Promise<readonly ServiceFlowCount[]> {
    return this.#running?.serviceFlows.read() ?? [];
  }

  async affinities(): Promise<readonly KernelAffinity[]> {
    const running = this.#running;
    return running === null
      ? []
      : readAffinities(this.#options.native, running.objects.map("affinity"), monotonicSeconds());
  }

  /** Which service addresses could not be served after the last apply. */
  get servability(): Servability {
    return this.#running?.reconciler.servability ?? servesNothing;
  }

  /** As affinities know a network namespace; null: the node's own. */
  namespaceCookie(netns: string | null): Promise<bigint> {
    return this.#options.native.netnsCookie(netns);
  }

  async identities(): Promise<readonly KernelIdentity[]> {
    const running = this.#running;
    return running === null ? [] : readIdentities(this.#options.native, (name) => running.objects.map(name));
  }

  async policySets(): Promise<readonly KernelPolicySet[]> {
    const running = this.#running;
    if (running === null) return [];
    const { objects, reconciler } = running;
    return readPolicySets(
      this.#options.native,
      (name) => objects.map(name),
      (set) => reconciler.sets.compiledOf(set),
    );
  }

  /** Of one packet at an end of this node; null: the end is closed, or nothing runs yet. */
  verdict(question: PacketQuestion): PolicyJudgement | null {
    const running = this.#running;
    return running === null ? null : readVerdict(this.#options.native, (name) => running.objects.map(name), question);
  }

  /** The node itself. */
  hostState(): EndpointState | null {
    const host = this.#running?.reconciler.host.known();
    return host === undefined
      ? null
      : { state: "ready", policyRevision: host.policyRevision, policySet: host.policySet };
  }

  async services(): Promise<readonly KernelService[]> {
    const running = this.#running;
    return running === null ? [] : readServices(this.#options.native, (name) => running.objects.map(name));
  }

  async maglev(): Promise<readonly KernelMaglev[]> {
    const running = this.#running;
    return running === null ? [] : readMaglev(this.#options.native, (name) => running.objects.map(name));
  }

  async #reconcile(desired: DesiredState): Promise<void> {
    const problems = await this.#must().reconciler.apply(desired);
    this.#options.conditions.report("datapath", [...this.#startProblems, ...problems]);
    await this.#waiters.wake();
  }

  async #isReady(pod: string, ifindex: number | null): Promise<boolean> {
    const devices = this.#running?.reconciler.endpoints.readyDevices(pod) ?? null;
    if (devices === null) return false;
    if (ifindex !== null) return devices.includes(ifindex);
    // The last update may still tell of a pod of the same name whose device is gone: that one is not meant.
    const present = new Set((await this.#options.native.links(null)).map(({ index }) => index));
    return devices.every((index) => present.has(index));
  }

  /** One device at a time, so that a pod that comes meanwhile does not wait for all of them. */
  async #settle(): Promise<void> {
    const { attachments } = this.#must().reconciler;
    const quiet = () => this.#options.clock.monotonicMs() - this.#lastApplyMs >= settleIntervalMs;
    for (let left = attachments.unsettledCount; left > 0 && quiet() && !this.#closed; left--) {
      await this.#exclusive(() => attachments.settle());
    }
  }

  async #sweep(): Promise<void> {
    const { log, native, conditions } = this.#options;
    const { conntrack, nat, objects, reconciler, serviceFlows } = this.#must();
    await conntrack.sweep();
    await this.#exclusive(async () => reconciler.kernelFlows?.copy());
    if (this.#desired !== null) await serviceFlows.prune(this.#desired.frontends);
    conditions.report("nat", await nat.sweep());
    const lost = readLostEvents(native, objects.map("events_lost"));
    if (lost > this.#lostEvents) log.warn({ lost: lost - this.#lostEvents }, "events were lost: the ring was full");
    this.#lostEvents = lost;
  }

  /** One at a time: two updates at once would undo each other. */
  #exclusive<T>(action: () => Promise<T>): Promise<T> {
    const turn = this.#queue.then(action, action);
    this.#queue = turn.catch(() => undefined);
    return turn;
  }

  /** What timers do: a failure is told and tried again at the next turn. */
  async #supervised(name: string, action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      this.#options.log.error({ error: messageOf(error) }, `${name} failed`);
    }
  }

  #must(): Running {
    if (this.#running !== null) return this.#running;
    throw new TandemError({
      code: "DATAPATH_NOT_STARTED",
      object: "datapath",
      message: "the datapath has not started",
      remedy: "see why its start failed",
    });
  }
}

/** CLOCK_MONOTONIC, as the programs use it. */
function monotonicSeconds(): number {
  return Math.floor(Number(process.hrtime.bigint() / 1_000_000n) / 1000);
}
