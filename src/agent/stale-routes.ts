/**
 * Takes away, by setting, routes that kube-router left in the kernel to the pod CIDRs of nodes that are gone: it never removes what it did not see
 * withdrawn, and whoever gets such an address later is sent to a host that is none any more.
 *
 * It removes only what is of kube-router's protocol, of the length of the cluster's pod CIDRs, nobody's and unknown to BGP, all that for the whole time
 * of the setting, with the API server and kube-router answering. While one of them does not, the time begins anew.
 */
import type { Clock } from "../lib/clock.ts";
import { BoundedFrequencyRunner } from "../lib/runner.ts";
import type { Logger } from "../model/logging.ts";
import type { ConditionSink, Problem } from "../model/status.ts";
import type { TableSnapshot, TableStore } from "../model/store.ts";
import type { RouteFactRow } from "../model/tables.ts";
import type { NativeBinding } from "../native/contract.ts";
import type { NetlinkChange } from "../native/netlink-contract.ts";
import { staleRoutes } from "../observe/route-problems.ts";

/** ms between two looks. */
const intervalMs = 2_000;
/** kube-router's routes: RTPROT, RT_TABLE_MAIN, RTN_UNICAST. */
const [protocol, mainTable, unicast] = [17, 254, 1] as const;

export interface StaleRoutesOptions {
  readonly native: Pick<NativeBinding, "applyNetlink">;
  /** Seconds that a route has to be stale; null: nothing is removed. */
  readonly graceSeconds: number | null;
  readonly store: Pick<TableStore, "snapshot">;
  /** Cluster and BGP are known as they are now, and whole. */
  readonly isSure: () => boolean;
  readonly conditions: ConditionSink;
  readonly log: Logger;
  readonly clock: Clock;
}

export class StaleRoutes {
  readonly #options: StaleRoutesOptions;
  readonly #runner: BoundedFrequencyRunner;
  /** By prefix: ms of the monotonic clock since when it has been stale. */
  #standing: ReadonlyMap<string, number> = new Map();

  constructor(options: StaleRoutesOptions) {
    this.#options = options;
    const action = () => this.look();
    const { clock } = options;
    this.#runner = new BoundedFrequencyRunner({ clock, minIntervalMs: intervalMs, maxIntervalMs: intervalMs, action });
  }

  start(): void {
    if (this.#options.graceSeconds !== null) this.#runner.trigger();
  }

  stop(): Promise<void> {
    return this.#runner.stop();
  }

  async look(): Promise<void> {
    const { store, isSure, graceSeconds, clock } = this.#options;
    if (graceSeconds === null) return;
    if (!isSure()) {
      this.#standing = new Map();
      return;
    }
    const now = clock.monotonicMs();
    const { routes, bgpPaths, nodes }: TableSnapshot = store.snapshot();
    const stale = staleRoutes(routes, bgpPaths, nodes);
    this.#standing = new Map(
      stale.map(({ destination: { text } }) => [text, this.#standing.get(text) ?? now] as const),
    );
    const over = stale.filter(
      ({ destination: { text } }) => now - (this.#standing.get(text) ?? now) >= graceSeconds * 1000,
    );
    await this.#remove(over);
  }

  async #remove(routes: readonly RouteFactRow[]): Promise<void> {
    const { native, conditions, log } = this.#options;
    if (routes.length === 0) {
      conditions.report("stale-routes", []);
      return;
    }
    const failures = new Map((await native.applyNetlink(null, routes.map(deletion))).map((each) => [each.at, each]));
    const problems: Problem[] = [];
    for (const [at, { destination }] of routes.entries()) {
      const failure = failures.get(at);
      // Somebody else removed it first.
      if (failure === undefined || failure.code === "ESRCH") {
        log.warn({ route: destination.text }, "removed a route that kube-router left to a node that is gone");
        continue;
      }
      problems.push({
        code: "STALE_ROUTE_KEPT",
        severity: "warning",
        object: `Route ${destination.text}`,
        field: "removeStaleRoutes",
        message: `kube-router's route to a node that is gone cannot be removed: ${failure.log ?? failure.code}`,
        remedy: `it is tried again; by hand: ip route del ${destination.text} proto ${protocol}`,
      });
    }
    conditions.report("stale-routes", problems);
  }
}

function deletion({ destination, metric }: RouteFactRow): NetlinkChange {
  return {
    kind: "route",
    op: "delete",
    onlink: false,
    route: {
      family: destination.family,
      destination: Buffer.from(destination.address.bytes),
      prefixLength: destination.length,
      table: mainTable,
      protocol,
      scope: 0,
      type: unicast,
      metric,
      source: null,
      nextHops: [],
      mtu: null,
    },
  };
}
