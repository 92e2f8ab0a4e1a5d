/**
 * What this node has to do with kube-router besides forwarding by its routes: pods wait for it after a boot, what is wrong between the two is told, and
 * what it left behind is taken away. All of it goes by the tables; none of it is needed to forward.
 */
import type { AgentConfig } from "../config/index.ts";
import type { Clock } from "../lib/clock.ts";
import type { Logger } from "../model/logging.ts";
import type { ConditionSink } from "../model/status.ts";
import type { TableStore } from "../model/store.ts";
import type { NativeBinding } from "../native/contract.ts";
import { NodeNotices } from "../publish/node-notices.ts";
import type { GobgpSource } from "../sources/gobgp/index.ts";
import { bootMarksBeside } from "./boot-marks.ts";
import type { Cluster } from "./cluster.ts";
import { NetworkReadiness } from "./network-readiness.ts";
import { pairingChecks } from "./pairing-checks.ts";
import { StaleRoutes } from "./stale-routes.ts";
import { StandingProblems, type StandingProblemsOptions } from "./standing-problems.ts";

export interface PairingOptions {
  readonly native: NativeBinding;
  readonly config: AgentConfig;
  readonly store: TableStore;
  readonly conditions: ConditionSink;
  readonly log: Logger;
  readonly clock: Clock;
  readonly bgp: Pick<GobgpSource, "state" | "complete">;
  readonly loop: StandingProblemsOptions["loop"];
  readonly cluster: Cluster;
}

export class Pairing {
  /** Whether pods are let in: started by itself, when they can be added. */
  readonly network: NetworkReadiness;
  readonly #problems: StandingProblems;
  readonly #stale: StaleRoutes;

  constructor(options: PairingOptions) {
    const { config, bgp, cluster, log } = options;
    const { nodeName } = config;
    const families = new Set<4 | 6>([...(config.ipv4 ? [4 as const] : []), ...(config.ipv6 ? [6 as const] : [])]);
    const notices = new NodeNotices(nodeName, cluster.notices);
    const onTold: NodeNotices["tell"] = (topic, problems) => notices.tell(topic, problems);
    this.network = new NetworkReadiness({
      ...options,
      nodeName,
      families,
      share: config.networkRoutes,
      timeoutSeconds: config.networkTimeout,
      marks: bootMarksBeside(config.socket, log),
      onWaiting: (lack) => cluster.waiting(lack),
      onOpen: (lack) => cluster.ready(lack),
      onTold,
    });
    const checks = pairingChecks(nodeName, families, () => bgp.complete);
    this.#problems = new StandingProblems({ ...options, checks, onTold });
    this.#stale = new StaleRoutes({
      ...options,
      graceSeconds: config.removeStaleRoutes,
      isSure: () => bgp.state === "synced" && bgp.complete && isCurrent(cluster.source.status()),
    });
  }

  /** Once everything has been computed for the first time. */
  start(): void {
    this.#problems.start();
    this.#stale.start();
  }

  async stop(): Promise<void> {
    await Promise.all([this.#problems.stop(), this.#stale.stop()]);
  }
}

/** Of a source: it has seen everything, and goes on seeing it. */
function isCurrent({ synced, stale }: { readonly synced: boolean; readonly stale: boolean }): boolean {
  return synced && !stale;
}
