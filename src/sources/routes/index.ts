/**
 * The `routes` source: devices that lead to other nodes, addresses and routes of this node, followed through rtnetlink. The kernel is the
 * truth; who wrote a route (kube-router, an operator) is told by its protocol.
 *
 * Everything is listed when the monitor starts or lost events, when an event says less than what changed, and each minute; in
 * between events are followed. kube-router announces a route again by deleting and adding it, microseconds apart or some ms on a busy
 * node, so what goes is believed only after it stayed away for a while; an uplink that is one by such a route stays one as long.
 */
import type { AgentConfig } from "../../config/index.ts";
import type { Clock, Timer } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { BoundedFrequencyRunner } from "../../lib/runner.ts";
import type { Logger } from "../../model/logging.ts";
import { isBgp } from "../../model/route-protocols.ts";
import type { ConditionSink } from "../../model/status.ts";
import { equalRows, type TableStore } from "../../model/store.ts";
import type { NativeBinding } from "../../native/contract.ts";
import type { Handle } from "../../native/handle.ts";
import type { NetlinkEvent } from "../../native/netlink-contract.ts";
import { deviceAddresses } from "./device-addresses.ts";
import { bestOf, FactMaker, prefixOf, prefixText } from "./facts.ts";
import { localAddresses } from "./local-addresses.ts";
import { NetworkView } from "./network-view.ts";
import { OwnPodCidrs } from "./own-pod-cidrs.ts";
import { chooseUplinks } from "./uplinks.ts";

/** ms that events wait for more. */
const settleMs = 20;
/** ms that a route has to stay away before it is gone: nothing waits for that news, and a false one detaches programs. */
const goneMs = 100;
/** ms between two lists at least, and at most. */
const listIntervalMs = { least: 100, most: 60_000 } as const;
/** Rows written before the event loop gets a turn. */
const rowsPerTurn = 200;
const groups = ["link", "address", "route"] as const;

export interface RoutesSourceOptions {
  readonly native: Pick<NativeBinding, "openMonitor" | "closeMonitor" | "links" | "addresses" | "routes">;
  readonly config: Pick<AgentConfig, "nodeName" | "uplinks">;
  readonly store: TableStore;
  readonly conditions: ConditionSink;
  readonly log: Logger;
  readonly clock: Clock;
  /** Namespace to watch; null: the agent's own. */
  readonly netns?: string | null;
}

export interface RoutesStatus {
  readonly name: "routes";
  readonly synced: boolean;
  readonly stale: boolean;
  readonly detail: string;
}

export class RoutesSource {
  readonly #options: RoutesSourceOptions;
  readonly #netns: string | null;
  readonly #view = new NetworkView();
  readonly #facts = new FactMaker((ifindex) => this.#view.links.get(ifindex)?.name ?? `ifindex ${ifindex}`);
  readonly #ownCidrs: OwnPodCidrs;
  readonly #lister: BoundedFrequencyRunner;
  /** Events that came while lists were read: newer than what the lists say. */
  #sinceList: NetlinkEvent[] | null = null;
  #timer: Timer | null = null;
  #writing: Promise<void> | null = null;
  #writeAgain = false;
  /** The uplinks were chosen by routes that may be gone: they are chosen again. */
  #uplinksUnsure = false;
  #synced = false;
  #failure: string | null = null;
  #overruns = 0;
  #stopped = false;
  #settle: () => void = () => undefined;

  constructor(options: RoutesSourceOptions) {
    this.#options = options;
    this.#netns = options.netns ?? null;
    this.#ownCidrs = new OwnPodCidrs(options.store, options.config.nodeName);
    this.#lister = new BoundedFrequencyRunner({
      clock: options.clock,
      minIntervalMs: listIntervalMs.least,
      maxIntervalMs: listIntervalMs.most,
      action: () => this.#list(),
    });
  }

  /**
   * Follows the kernel until the signal. Resolves when links, addresses and routes were seen once, or with the signal.
   * @throws NativeError when the kernel refuses a monitor
   */
  async start(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const { native, store, config, log } = this.#options;
    const seen = new Promise<void>((resolve) => {
      this.#settle = resolve;
    });
    const monitor = native.openMonitor(this.#netns, groups, (events) => this.#take(events));
    const unsubscribe = store.onChange(({ table, key }) => {
      if (table !== "nodes" || key !== config.nodeName) return;
      this.#ownCidrs.nodeChanged();
      this.#scheduleWrite();
    });
    const stop = () => {
      this.#stopped = true;
      unsubscribe();
      this.#timer?.cancel();
      this.#settle();
      this.#close(monitor).catch((error: unknown) =>
        log.warn({ error: messageOf(error) }, "closing the monitor failed"),
      );
    };
    signal.addEventListener("abort", stop, { once: true });
    await seen;
  }

  status(): RoutesStatus {
    const { routes, bgp } = this.#view.counts;
    const names = [...this.#options.store.table("uplinks").values()].map(({ name }) => name);
    const known = `${routes} routes, ${bgp} of BGP; uplinks: ${names.join(" ") || "none"}`;
    const overruns = this.#overruns === 0 ? "" : `; listed again ${this.#overruns} times after lost events`;
    const detail = this.#failure === null ? `${known}${overruns}` : `${this.#failure}; last known: ${known}`;
    return { name: "routes", synced: this.#synced, stale: this.#failure !== null, detail };
  }

  async #close(monitor: Handle): Promise<void> {
    await this.#lister.stop();
    await this.#options.native.closeMonitor(monitor);
  }

  #take(events: readonly NetlinkEvent[]): void {
    if (this.#stopped) return;
    if (this.#synced && events.some(({ kind }) => kind === "resync")) this.#overruns++;
    this.#sinceList?.push(...events);
    this.#follow(events);
    this.#scheduleWrite();
  }

  #follow(events: readonly NetlinkEvent[]): void {
    const now = this.#options.clock.monotonicMs();
    for (const event of events) this.#view.apply(event, now);
    if (this.#view.takeListWanted()) this.#lister.trigger();
  }

  async #list(): Promise<void> {
    const { native, conditions, clock } = this.#options;
    this.#sinceList = [];
    try {
      const [links, addresses, routes] = await Promise.all([
        native.links(this.#netns),
        native.addresses(this.#netns),
        native.routes(this.#netns, { family: null, table: null, protocol: null }),
      ]);
      this.#view.replace({ links, addresses, routes }, clock.monotonicMs());
      const events = this.#sinceList;
      this.#sinceList = null;
      this.#follow(events.filter(({ kind }) => kind !== "resync"));
      this.#failure = null;
      conditions.report("routes-list", []);
      await this.#write();
      if (!this.#synced) this.#sayFirst();
    } catch (error) {
      this.#failure = `the kernel's lists cannot be read: ${messageOf(error)}`;
      const object = "rtnetlink of this node";
      const remedy = "it is tried again; the uplinks and routes of before are kept";
      const about = { code: "ROUTES_UNREADABLE", severity: "error", object, field: "", remedy } as const;
      conditions.report("routes-list", [{ ...about, message: this.#failure }]);
      throw error;
    } finally {
      this.#sinceList = null;
    }
  }

  #sayFirst(): void {
    this.#synced = true;
    this.#options.log.info({ source: "routes", detail: this.status().detail }, "seen everything once");
    this.#settle();
  }

  #scheduleWrite(): void {
    if (this.#stopped || this.#timer !== null) return;
    this.#timer = this.#options.clock.setTimer(settleMs, () => {
      this.#timer = null;
      // A late timer comes before the events that waited as long as it did: they are heard first.
      setImmediate(() => {
        // Nothing is known before the first list, and a table without its rows would be taken for the truth.
        if (this.#synced) void this.#write();
      });
    });
  }

  /** One at a time: what changes meanwhile is written right after. */
  #write(): Promise<void> {
    this.#writeAgain = true;
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = null;
    });
    return this.#writing;
  }

  async #writeAll(): Promise<void> {
    while (this.#writeAgain && !this.#stopped) {
      this.#writeAgain = false;
      const { settled, leaving } = this.#view.takeDirty(this.#options.clock.monotonicMs() - goneMs);
      this.#writeDevices(leaving);
      for (let at = 0; at < settled.length; at += rowsPerTurn) {
        if (at > 0) await new Promise((resolve) => setImmediate(resolve));
        for (const key of settled.slice(at, at + rowsPerTurn)) this.#writePrefix(key);
      }
      if (leaving.length > 0) this.#scheduleWrite();
      this.#options.conditions.report("routes-own-cidr", this.#ownCidrs.problems());
    }
  }

  /** @param leaving prefixes whose routes may be gone: the devices of those still written count as if they held */
  #writeDevices(leaving: readonly string[]): void {
    const { store, conditions, config } = this.#options;
    const { links } = this.#view;
    const changed = this.#view.takeDevicesChanged();
    if (!changed && !this.#uplinksUnsure) return;
    const addresses = [...this.#view.addresses];
    const routed = new Set(this.#view.bgpDevices());
    const sure = routed.size;
    for (const key of leaving) {
      const row = store.table("routes").get(prefixText(key));
      if (row !== undefined && isBgp(row.protocol)) for (const { ifindex } of row.nextHops) routed.add(ifindex);
    }
    this.#uplinksUnsure = routed.size > sure;
    const { uplinks, problems } = chooseUplinks(config.uplinks, links.values(), addresses, routed);
    store.replaceAll("uplinks", new Map(uplinks.map((row) => [String(row.ifindex), row])));
    conditions.report("uplinks", problems);
    if (!changed) return;
    store.replaceAll("localAddresses", localAddresses(links, addresses));
    store.replaceAll("deviceAddresses", deviceAddresses(links, addresses));
  }

  #writePrefix(key: string): void {
    const { store, clock } = this.#options;
    // It changed again while others were written: whether it is gone, the next write says.
    if (this.#view.isDirty(key)) return;
    const route = bestOf(this.#view.routesTo(key));
    if (route === undefined) {
      const text = prefixText(key);
      store.delete("routes", text);
      this.#ownCidrs.routeGone(text);
      return;
    }
    const prefix = prefixOf(route);
    const before = store.table("routes").get(prefix.text);
    if (before !== undefined && equalRows(before, this.#facts.fact(route, prefix, before.since))) return;
    const row = this.#facts.fact(route, prefix, clock.now());
    store.upsert("routes", prefix.text, row);
    this.#ownCidrs.routeSeen(prefix.text, row);
  }
}
