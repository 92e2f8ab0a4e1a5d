/** The operator as a whole: a client, an election, and the duties of whoever wins it. A stop lets what is under way end and gives the lease back. */
import { clusterNumbers } from "../identities/index.ts";
import type { KubeClient } from "../kube/index.ts";
import { agentNamespace } from "../kube-objects/index.ts";
import type { Clock } from "../lib/clock.ts";
import { messageOf } from "../lib/errors.ts";
import type { Logger } from "../model/logging.ts";
import { MetricsServer } from "../agent/metrics-server.ts";
import { Conditions } from "../observe/conditions.ts";
import { Duties } from "./duties.ts";
import { HealthServer, type OperatorStatus } from "./health.ts";
import { LeaderElection } from "./leader-election.ts";
import { Counters } from "./metrics.ts";
import type { OperatorConfig } from "./settings.ts";

/** In a pod it is told; elsewhere it is where such things are. */
const usualNamespace = "kube-system";

export interface OperatorOptions {
  readonly config: OperatorConfig;
  readonly version: string;
  /** Of this process and no other. */
  readonly identity: string;
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Logger;
}

export class Operator {
  readonly #options: OperatorOptions;
  readonly #health: HealthServer;
  readonly #metrics: MetricsServer;
  readonly #stopping = new AbortController();
  readonly #counters = new Counters();
  readonly #conditions: Conditions;
  #election: LeaderElection | null = null;
  #running: Promise<void> = Promise.resolve();

  constructor(options: OperatorOptions) {
    const { config, log } = options;
    this.#options = options;
    this.#conditions = new Conditions(log, options.clock);
    this.#health = new HealthServer({
      address: config.healthAddress,
      status: () => this.status(),
      metrics: () => this.#figures().text(),
    });
    this.#metrics = new MetricsServer({
      address: config.metricsAddress,
      metrics: async () => this.#figures().families(),
      conditions: this.#conditions,
      onError: (error) => log.error({ error: messageOf(error) }, "figures cannot be told"),
    });
  }

  /** Port of /healthz; 0 on a unix socket. */
  get healthPort(): number {
    return this.#health.port;
  }

  /** Port of `metricsAddress`; null: there is none, or it cannot be had. */
  get metricsPort(): number | null {
    return this.#metrics.port;
  }

  #figures(): Counters {
    this.#counters.set("leading", this.status().election.leading ? 1 : 0);
    return this.#counters;
  }

  status(): OperatorStatus {
    const { version, identity } = this.#options;
    const election = this.#election?.status() ?? { leading: false, holder: "", problem: null, terms: 0 };
    return { version, identity, election, problems: this.#conditions.problems() };
  }

  /** Answers and stands for election. @throws TandemError HEALTH_ADDRESS; KubeConfigError for credentials that cannot be read */
  async start(): Promise<void> {
    const { config, identity, client, clock, log, version } = this.#options;
    const namespace = config.leaseNamespace || (await client.namespace()) || usualNamespace;
    await this.#health.start();
    await this.#metrics.start();
    const duties = new Duties({
      client,
      range: clusterNumbers(config.clusterId),
      gcIntervalMs: config.gcInterval * 1_000,
      identityGraceMs: config.identityGrace * 1_000,
      agentNamespace: agentNamespace(namespace),
      nodeTaint: config.nodeTaint,
      nodeCondition: config.nodeCondition,
      conditions: this.#conditions,
      counters: this.#counters,
      clock,
      log,
    });
    this.#election = new LeaderElection({
      client,
      namespace,
      name: config.leaseName,
      identity,
      leaseDurationMs: config.leaseDuration * 1_000,
      renewDeadlineMs: config.leaseRenewDeadline * 1_000,
      retryMs: config.leaseRetry * 1_000,
      lead: (term) => duties.run(term),
      onHistory: () => {
        log.warn({}, "versions of objects went back, as after a restore of etcd: everything is listed again");
        client.historyReplaced();
      },
      clock,
      log,
    });
    log.info({ version, identity, lease: `${namespace}/${config.leaseName}` }, "standing for election");
    this.#running = this.#election.run(this.#stopping.signal);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    await this.#metrics.stop();
    await this.#health.stop();
    await this.#options.client.close();
  }
}
