/**
 * The agent as a whole: constructs every part, wires them, starts them in order. The kernel is left as it is whenever this process
 * ends; a start finds what is there and changes only what differs.
 *
 * Order: the lock, so that there is one agent; the API next, so that status is answered while everything else starts; then the datapath on its pins; then the endpoints
 * of before; then the sources; and only when each has seen everything once, the first computation. Until that one the kernel
 * goes on with what the agent before had put there.
 */
import { setMaxListeners } from "node:events";
import { release } from "node:os";
import { bootId } from "../api/boot-file.ts";
import { ApiServer } from "../api/server.ts";
import { ForeignWatch } from "../cleanup/foreign/index.ts";
import { runTool } from "../native/run-tool.ts";
import { CniService } from "../cni/index.ts";
import { Installation, InstallationKeeper, pluginOf } from "../cni/install/index.ts";
import { createComputation } from "../compute/index.ts";
import { parseDemands } from "../compute/l7/parse-demands.ts";
import { type AgentConfig, portRange } from "../config/index.ts";
import { Datapath } from "../datapath/index.ts";
import type { Clock } from "../lib/clock.ts";
import { BoundedFrequencyRunner } from "../lib/runner.ts";
import type { Logger } from "../model/logging.ts";
import { parsePrefix } from "../model/ip.ts";
import { TableStore } from "../model/store.ts";
import type { PolicyRow } from "../model/tables.ts";
import type { NativeBinding } from "../native/contract.ts";
import { packageRoot } from "../native/index.ts";
import { Conditions } from "../observe/conditions.ts";
import { Durations } from "../observe/metrics/durations.ts";
import { networkMetrics } from "../observe/metrics/network-metrics.ts";
import { PolicyRequests } from "../observe/metrics/policy-requests.ts";
import { HealthSource } from "../sources/health/index.ts";
import { GobgpSource } from "../sources/gobgp/index.ts";
import { MasqueradeSource, type MasqueradeVersion } from "../sources/masquerade/index.ts";
import { RoutesSource } from "../sources/routes/index.ts";
import { Advertiser } from "./advertise/index.ts";
import { Answers } from "./answers.ts";
import { clusterOf } from "./cluster.ts";
import { CniGate } from "./cni-gate.ts";
import { ControlLoop } from "./control-loop.ts";
import { EndpointSettings } from "./endpoint-settings.ts";
import { L7, returnMs } from "./l7/index.ts";
import { LastGoodFolder } from "./last-good-folder.ts";
import { AgentLock } from "./lock.ts";
import { MetricsServer } from "./metrics-server.ts";
import { ignoredOf } from "./ignored-annotations.ts";
import { containerOf, createNames, NamesLink } from "./names/index.ts";
import { peerUidOf } from "./peer.ts";
import { ServiceHealth } from "./service-health.ts";
import { Pairing } from "./pairing.ts";
import { PodMtuFollower } from "./pod-mtu.ts";
import { PodWatch } from "./pod-watch.ts";
import { timedCni } from "./timed-cni.ts";

/** ms between two looks for endpoints whose device has gone by itself. */
const sweepMs = 60_000;

export interface AgentOptions {
  readonly config: AgentConfig;
  readonly version: string;
  readonly native: NativeBinding;
  readonly log: Logger;
  readonly clock: Clock;
}

export class Agent {
  readonly #options: AgentOptions;
  readonly #stopping = new AbortController();
  readonly #stopParts: (() => Promise<void>)[] = [];
  #beforeStop: () => Promise<void> = async () => undefined;

  constructor(options: AgentOptions) {
    this.#options = options;
    // Everything that is under way listens to it: that these are many is no leak.
    setMaxListeners(0, this.#stopping.signal);
  }

  /** Resolves when the node is ready: everything seen, computed and in the kernel. Rejects with what makes that impossible, stopped. */
  async start(): Promise<void> {
    try {
      await this.#start();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** Leaves the kernel alone. Each part stops within its own bound; the process has one for all. */
  async stop(): Promise<void> {
    // Clients are sent elsewhere while all of it still runs.
    await this.#beforeStop();
    this.#stopping.abort();
    for (const stopPart of this.#stopParts.splice(0).reverse()) await stopPart();
  }

  async #start(): Promise<void> {
    const { config, version, native, log, clock } = this.#options;
    const conditions = new Conditions(log, clock);
    const store = new TableStore();
    const durations = new Durations();
    const requests = new PolicyRequests();
    const l7 = await L7.open({
      config,
      readDemands: parseDemands,
      conditions,
      log,
      clock,
      onRecords: (records) => answers.publishL7(records),
      onStats: (process, { rules }) => requests.take(process, rules),
      onOther: (message, send) => namesLink?.take(message, send),
    });
    const namesLink: NamesLink | null =
      config.dnsMode === "proxy"
        ? new NamesLink({
            learn: (...told) => names.learn(...told),
            ...(!config.dnsShared && { endpointOf: (number: number) => containerOf(store, number) }),
            store,
            broadcast: (message) => l7.broadcast(message),
          })
        : null;
    const datapath = new Datapath({
      native,
      config,
      log,
      clock,
      conditions,
      demands: l7.demands,
      run: runTool,
      onRound: (name, ms) => durations.round(name, ms),
    });
    const mtu = new PodMtuFollower({
      nodeName: config.nodeName,
      podMtu: config.podMtu,
      tables: () => store.snapshot(),
      cni: () => cni,
      log,
    });
    const cni: CniService = new CniService({
      native,
      store,
      config,
      log,
      clock,
      ready: ({ pod, ifindex }, signal) => datapath.whenReady(pod, signal, ifindex),
      podCidrs: () => store.table("nodes").get(config.nodeName)?.podCidrs ?? [],
      mtu: () => mtu.current.bytes,
    });
    const gate = new CniGate(cni);
    const shared = { native, config, store, conditions, log, clock };
    const { stateDir } = config;
    const policies = new LastGoodFolder<PolicyRow>({ stateDir, name: "policies", conditions, clock });
    const cluster = clusterOf({ ...shared, version });
    const bgp = new GobgpSource({
      addresses: config.gobgp,
      store,
      conditions,
      log,
      clock,
      onSession: () => advertiser.wake(),
    });
    const advertiser: Advertiser = new Advertiser({
      config,
      store,
      bgp,
      conditions,
      log,
      clock,
      servability: () => datapath.servability,
      mend: () => loop.recompute(),
    });
    const nodes = new HealthSource(shared);
    const sources = { cluster: cluster.source, routes: new RoutesSource(shared), bgp };
    const exempt = new LastGoodFolder<MasqueradeVersion>({ stateDir, name: "masquerade", conditions, clock });
    const masquerade = new MasqueradeSource({
      path: config.masqueradeConfig,
      store,
      conditions,
      clock,
      lastGood: exempt,
    });
    const identities = await cluster.identities(() => loop.recompute());
    const computation = createComputation({
      nodeName: config.nodeName,
      identities: identities.allocator,
      policyEnforcement: config.policyEnforcement,
      policyAuditMode: config.policyAuditMode,
      allowLockout: config.allowLockout,
      loadBalancerMode: config.loadBalancerMode,
      serviceSelection: config.serviceSelection,
      externalClusterIps: config.externalClusterIps,
      healthActs: config.healthActs,
      visibility: config.l7Proxy === "on",
      namesPerEndpoint: config.dnsMode === "proxy" && !config.dnsShared,
      masquerade: new Set([
        ...(config.masqueradeIpv4 ? [4 as const] : []),
        ...(config.masqueradeIpv6 ? [6 as const] : []),
      ]),
      services: {
        externalIps: config.externalIps.flatMap((text) => parsePrefix(text) ?? []),
        nodePorts: portRange(config.nodePortRange),
      },
      lastValid: await policies.read(),
    });
    const names = createNames({
      ...shared,
      machine: { boot: bootId(), uptimeMs: () => Number(process.hrtime.bigint() / 1_000_000n) },
      inUse: (addresses) => datapath.addressesInUse(addresses),
      forgotten: (gone) => namesLink?.forgotten(gone),
      gone: (endpoints) => namesLink?.gone(endpoints),
    });
    const health = new ServiceHealth({ conditions });
    const loop = new ControlLoop({
      store,
      compute: (snapshot) => computation.compute(snapshot),
      apply: (desired) => datapath.apply(desired),
      applied: (result, tables) => {
        health.update(result.desired.healthChecks ?? []);
        names.follow(result.desired.sets, result.desired.endpoints);
        namesLink?.applied(result.desired.sets, loop.revision.applied);
        requests.follow(l7.ruleSets, result.desired.sets);
        mtu.follow(tables);
        cluster.tell(result, tables, (endpoint) => answers.stateOf(endpoint));
        advertiser.applied(result, tables);
      },
      failed: () => advertiser.failed(),
      allocator: identities.allocator,
      identityFile: identities.file,
      lastValid: policies,
      unread: new Set(config.healthActs ? [] : ["nodeHealth" as const]),
      conditions,
      durations,
      log,
      clock,
    });
    const podWatch = new PodWatch({
      store,
      nodeName: config.nodeName,
      ignored: (pod) => ignoredOf(pod, config),
      conditions,
      notices: cluster.notices,
      clock,
    });
    const pairing = new Pairing({ ...shared, bgp, loop, cluster });
    const answers = new Answers({
      config,
      version,
      kernel: release(),
      store,
      conditions,
      datapath,
      cni,
      unmanaged: () => podWatch.unmanaged(),
      mtu: () => mtu.current,
      sources,
      bgp,
      network: pairing.network,
      advertiser,
      nodes,
      loop,
      proxy: l7,
      figures: () => [
        ...networkMetrics({
          bgpPeers: store.table("bgpPeers"),
          bgpPaths: store.table("bgpPaths"),
          nodeHealth: store.table("nodeHealth"),
          probes: nodes.totals(),
        }),
        ...durations.metrics(),
        ...requests.metrics(),
      ],
      clock,
      monotonicNs: () => process.hrtime.bigint(),
    });
    const api = new ApiServer({
      socket: config.socket,
      queries: answers,
      events: answers.events,
      cni: timedCni(gate, durations, clock),
      endpoints: new EndpointSettings({ endpoints: cni, loop, clock }),
      names,
      proxy: l7,
      peerUid: peerUidOf(native),
      onError: (error, request) => log.error({ request, error: String(error) }, "a request failed"),
    });

    const metrics = new MetricsServer({
      address: config.metricsAddress,
      metrics: () => answers.metrics(),
      conditions,
      onError: (error) => log.error({ error: String(error) }, "a scrape failed"),
    });

    for (const folder of [config.bpffs, config.stateDir]) {
      const lock = new AgentLock(folder, { pid: process.pid, socket: config.socket });
      await this.#step(
        () => lock.take(),
        () => lock.release(),
      );
    }
    await this.#step(
      () => api.start(),
      () => api.stop(),
    );
    log.info({ node: config.nodeName, version, socket: config.socket }, "answering");
    // What pods were told in the last second of an agent that was killed; without rules of before no proxy has any.
    const retold = l7.ruleSets.length > 0 ? namesLink?.heard(returnMs, clock) : undefined;
    await this.#step(
      () => datapath.start(),
      () => datapath.close(),
    );
    await this.#step(
      () => metrics.start(),
      () => metrics.stop(),
    );
    datapath.onEvents((batch) => answers.publish(batch));
    await this.#step(() => Promise.all([cni.restore(), names.restore(), pairing.network.restore()]));
    namesLink?.restored();
    gate.restored();
    for (const part of [cluster, policies, exempt, health, names, l7]) this.#stopParts.push(() => part.stop());
    this.#stopParts.push(() => mtu.settled());
    cluster.announce();
    const followed = [sources.cluster, sources.routes, masquerade, identities];
    await this.#step(() => Promise.all(followed.map((each) => each.start(this.#stopping.signal))));
    if (this.#stopping.signal.aborted) return;
    gate.synced();
    await retold;
    await this.#step(
      () => loop.start(),
      () => loop.stop(),
    );
    if (this.#stopping.signal.aborted) return;
    // Only explains what the kernel has: reading thousands of its paths holds up no start.
    await this.#step(() => sources.bgp.start(this.#stopping.signal));
    names.start();
    this.#beforeStop = () => advertiser.stop();
    advertiser.start();
    const sweeper = new BoundedFrequencyRunner({
      clock,
      minIntervalMs: sweepMs,
      maxIntervalMs: sweepMs,
      action: () => cni.sweep(),
    });
    await this.#step(
      async () => sweeper.trigger(),
      () => sweeper.stop(),
    );
    await this.#step(
      async () => podWatch.start(),
      () => podWatch.stop(),
    );
    await this.#step(
      async () => nodes.start(),
      () => nodes.stop(),
    );
    await this.#step(
      async () => pairing.start(),
      () => pairing.stop(),
    );
    const foreign = new ForeignWatch({ native, run: runTool, conditions, clock });
    await this.#step(
      async () => foreign.start(),
      () => foreign.stop(),
    );
    l7.start();
    const readyMs = clock.monotonicMs();
    answers.ready(readyMs);
    if (config.cniInstall) {
      // The runtime sends pods as soon as it finds a configuration.
      const installation = new Installation({ plugin: pluginOf(packageRoot()), config, clock });
      const keeper = new InstallationKeeper({ installation, conditions, clock });
      await this.#step(
        () => keeper.start(),
        () => keeper.stop(),
      );
    }
    await this.#step(
      () => pairing.network.start(),
      () => pairing.network.stop(),
    );
    log.info({ readyMs: Math.round(readyMs) }, "ready");
  }

  /** Starts a part, unless the agent is being stopped already. What a part says to being stopped while it starts is no failure. */
  async #step(start: () => Promise<unknown>, stop?: () => Promise<void>): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    if (stop !== undefined) this.#stopParts.push(stop);
    try {
      await start();
    } catch (error) {
      if (!this.#stopping.signal.aborted) throw error;
    }
  }
}
