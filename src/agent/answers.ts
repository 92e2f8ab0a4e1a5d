/**
 * Answers what the API asks, from what each part of the agent knows. Everything may be asked at any time, also while the agent starts;
 * what a part does not know yet is empty.
 */
import type {
  BgpPathDto,
  BgpPeerDto,
  BgpServiceDto,
  CtDto,
  EndpointDto,
  EventDto,
  IdentityDto,
  IpcacheDto,
  MaglevTableDto,
  NatDto,
  PolicyDto,
  PolicyMapDto,
  RouteDto,
  ServiceDto,
  StatusDto,
  VersionDto,
} from "../api/dto.ts";
import type { NodeHealthDto } from "../api/health-dto.ts";
import type { MetricDto } from "../api/metrics-dto.ts";
import type { EndpointDetailsDto, PolicyTraceDto, TraceQuestionDto } from "../api/policy-dto.ts";
import type { ProxyDto } from "../api/proxy-dto.ts";
import type { AgentQueries, EventFeed } from "../api/queries.ts";
import type { ServiceDetailsDto, ServiceQuestionDto, ServiceTraceDto } from "../api/service-dto.ts";
import type { DesiredEndpoint } from "../compute/desired.ts";
import type { PodMtu } from "../compute/pod-mtu.ts";
import type { ComputeResult } from "../compute/result.ts";
import type { AgentConfig } from "../config/index.ts";
import type { PacketQuestion } from "../datapath/kernel-verdict.ts";
import type {
  DatapathEvent,
  DatapathReport,
  EndpointState as KernelEndpointState,
  EventBatch,
  KernelAffinity,
  ServiceFlowCount,
  KernelFlow,
  KernelIdentity,
  KernelMaglev,
  KernelPolicySet,
  KernelRenaming,
  KernelService,
  PolicyJudgement,
  TrafficCount,
} from "../datapath/report.ts";
import type { Clock } from "../lib/clock.ts";
import type { EndpointState, PendingChanges } from "../model/endpoint-state.ts";
import { parsePrefix, type Prefix } from "../model/ip.ts";
import type { ToldProblem } from "../model/status.ts";
import type { TableStore } from "../model/store.ts";
import type { PodRow } from "../model/tables.ts";
import { ApiError } from "../api/errors.ts";
import { type AdvertisedAddress, advertisedDto } from "./advertise/report.ts";
import { pathReport, peerReport } from "../observe/bgp.ts";
import {
  conditionOf,
  type EndpointKnowledge,
  endpointReport,
  hostReport,
  unmanagedReport,
} from "../observe/endpoints.ts";
import { eventReport } from "../observe/events.ts";
import {
  flowReport,
  identityReport,
  kernelServiceReport,
  type LabelsOf,
  policySetReport,
  renamingReport,
} from "../observe/kernel.ts";
import { type L7RequestRecord, l7EventReport } from "../observe/l7-events.ts";
import { maglevReport } from "../observe/maglev.ts";
import { nodeHealthReport } from "../observe/node-health.ts";
import { agentMetrics } from "../observe/metrics/agent-metrics.ts";
import type { NodeHealthReport } from "../model/node-health.ts";
import { type NameOf, namesOf } from "../observe/names.ts";
import { policyReport } from "../observe/policies.ts";
import type { BgpKnowledge } from "../observe/route-reasons.ts";
import { routeReport, routeSummary } from "../observe/routes.ts";
import { serviceReport } from "../observe/services.ts";
import { statusReport } from "../observe/status.ts";
import { EventHub } from "./event-hub.ts";
import { PolicyAnswers } from "./policy-answers.ts";
import { ServiceAnswers } from "./service-answers.ts";

/** What the datapath tells of itself and of the kernel. */
export interface DatapathAnswers {
  report(): Promise<DatapathReport>;
  traffic(): readonly TrafficCount[];
  endpointState(id: number): KernelEndpointState | null;
  hostState(): KernelEndpointState | null;
  verdict(question: PacketQuestion): PolicyJudgement | null;
  conntrack(): Promise<readonly KernelFlow[]>;
  renamings(): Promise<readonly KernelRenaming[]>;
  identities(): Promise<readonly KernelIdentity[]>;
  policySets(): Promise<readonly KernelPolicySet[]>;
  services(): Promise<readonly KernelService[]>;
  maglev(): Promise<readonly KernelMaglev[]>;
  affinities(): Promise<readonly KernelAffinity[]>;
  serviceFlows(): Promise<readonly ServiceFlowCount[]>;
  namespaceCookie(netns: string | null): Promise<bigint>;
}

/** What BGP's daemon is asked, and how far it is known. */
export interface BgpAnswers {
  readonly state: BgpKnowledge["state"];
  /** @param peers addresses of those that are asked */
  received(prefixes: readonly Prefix[], peers: readonly string[]): Promise<BgpKnowledge["received"]>;
}

export interface AnswersOptions {
  readonly config: Pick<AgentConfig, "nodeName" | "ipv4" | "ipv6" | "policyEnforcement" | "allowLockout"> &
    Partial<Pick<AgentConfig, "healthActs">>;
  readonly version: string;
  /** Release of the kernel. */
  readonly kernel: string;
  readonly store: TableStore;
  readonly conditions: { problems(): readonly ToldProblem[] };
  readonly datapath: DatapathAnswers;
  readonly cni: { addresses(): StatusDto["addresses"]; isLeaving(containerId: string): boolean };
  /** Pods of this node that have no network of Tandem. */
  readonly unmanaged: () => readonly PodRow[];
  readonly mtu: () => PodMtu;
  readonly sources: Readonly<Record<string, { status(): StatusDto["sources"][number] }>>;
  readonly bgp: BgpAnswers;
  readonly network: { status(): StatusDto["network"] };
  /** Not set: nothing is announced. */
  readonly advertiser?: { rows(): readonly AdvertisedAddress[] };
  readonly nodes: { report(): readonly NodeHealthReport[] };
  readonly loop: {
    readonly result: ComputeResult | null;
    readonly revision: StatusDto["revision"];
    readonly pending: PendingChanges;
  };
  readonly proxy: { proxy(): ProxyDto; watch(isWatched: boolean): void };
  /** Those that no status has. */
  readonly figures?: () => readonly MetricDto[];
  readonly clock: Pick<Clock, "now" | "monotonicMs">;
  /** CLOCK_MONOTONIC. */
  readonly monotonicNs: () => bigint;
}

export class Answers implements AgentQueries {
  readonly #options: AnswersOptions;
  readonly #hub: EventHub;
  readonly #policies: PolicyAnswers;
  readonly #services: ServiceAnswers;
  readonly #started: number;
  #readyMs: number | null = null;
  /** What they were made from is referred to weakly: an old table or result keeps all that changed since. */
  #names: { readonly from: readonly WeakRef<object>[]; readonly nameOf: NameOf } | null = null;
  #labels: { readonly from: WeakRef<ComputeResult>; readonly labelsOf: LabelsOf } | null = null;

  constructor(options: AnswersOptions) {
    this.#options = options;
    this.#hub = new EventHub(
      (events) => this.#describe(events),
      (isWatched) => options.proxy.watch(isWatched),
    );
    this.#policies = new PolicyAnswers(options);
    this.#services = new ServiceAnswers({ ...options, policyTrace: (question) => this.policyTrace(question) });
    // The monotonic clock began with the process.
    this.#started = options.clock.now() - options.clock.monotonicMs();
  }

  get events(): EventFeed {
    return this.#hub;
  }

  publish(batch: EventBatch): void {
    this.#hub.publish(batch);
  }

  /** What the proxy saw. */
  publishL7(records: readonly L7RequestRecord[]): void {
    this.#hub.tell(() => l7EventReport(records, this.#nameOf()));
  }

  /** @param ms from the start of the process */
  ready(ms: number): void {
    this.#readyMs = ms;
  }

  async status(): Promise<StatusDto> {
    const { config, version, kernel, store, conditions, datapath, cni, sources, loop, proxy } = this.#options;
    const report = await datapath.report();
    const families = new Set<4 | 6>([...(config.ipv4 ? [4 as const] : []), ...(config.ipv6 ? [6 as const] : [])]);
    return statusReport({
      node: config.nodeName,
      version,
      kernel,
      started: this.#started,
      readyMs: this.#readyMs,
      revision: loop.revision,
      sources: Object.values(sources).map((source) => source.status()),
      addresses: cni.addresses(),
      endpoints: store.table("localEndpoints").size,
      result: loop.result,
      datapath: report,
      traffic: datapath.traffic(),
      proxy: proxy.proxy(),
      network: this.#options.network.status(),
      routes: routeSummary(this.#routes([]), families),
      mtu: this.#options.mtu(),
      rssBytes: process.memoryUsage.rss(),
      problems: conditions.problems(),
    });
  }

  async metrics(): Promise<readonly MetricDto[]> {
    return [...agentMetrics(await this.status()), ...(this.#options.figures?.() ?? [])];
  }

  version(): VersionDto {
    const { version, config, kernel } = this.#options;
    return { version, node: config.nodeName, kernel };
  }

  endpoints(): readonly EndpointDto[] {
    const { config, store, loop, datapath, unmanaged } = this.#options;
    const pods = endpointReport(store.table("localEndpoints").values(), loop.result, this.#knowledge());
    const node = store.table("nodes").get(config.nodeName);
    // Without enforcement no policy is about the node.
    const hosts = node === undefined || config.policyEnforcement === "never" ? [] : [node];
    return [
      ...pods,
      ...hosts.map((host) => hostReport(host, loop.result, datapath.hostState())),
      ...unmanaged().map((pod) => unmanagedReport(pod, loop.result)),
    ];
  }

  /** Of an endpoint as the last computation wants it, for those who need not know of every change on its way. */
  stateOf(endpoint: DesiredEndpoint): EndpointState {
    return conditionOf(endpoint.row, endpoint, { ...this.#knowledge(), pending: "none" }).state;
  }

  endpointDetails(endpoint: EndpointDto): EndpointDetailsDto {
    return this.#policies.details(endpoint);
  }

  identities(): readonly IdentityDto[] {
    return this.#options.loop.result?.identities ?? [];
  }

  policies(): readonly PolicyDto[] {
    const { loop, store } = this.#options;
    return loop.result === null ? [] : policyReport(loop.result, store.table("localEndpoints").values());
  }

  async policyTrace(question: TraceQuestionDto): Promise<PolicyTraceDto> {
    return this.#policies.trace(question);
  }

  services(): readonly ServiceDto[] {
    const { loop, store, config } = this.#options;
    return serviceReport(loop.result?.desired.frontends ?? [], store.snapshot(), config.nodeName);
  }

  serviceDetails(service: string): Promise<ServiceDetailsDto> {
    return this.#services.details(service);
  }

  serviceTrace(question: ServiceQuestionDto): Promise<ServiceTraceDto> {
    return this.#services.trace(question);
  }

  async routes(): Promise<readonly RouteDto[]> {
    const { bgp, store } = this.#options;
    const rows = this.#routes([]);
    const missing = rows.filter(({ local, present, why }) => !local && !present && why?.code !== "unknown");
    if (missing.length === 0) return rows;
    const peers = [...store.table("bgpPeers").values()].filter(({ state }) => state === "ESTABLISHED");
    const prefixes = missing.flatMap(({ podCidr }) => parsePrefix(podCidr) ?? []);
    return this.#routes(
      await bgp.received(
        prefixes,
        peers.map(({ address }) => address.text),
      ),
    );
  }

  #routes(received: BgpKnowledge["received"]): readonly RouteDto[] {
    const { store, config, bgp } = this.#options;
    const tables = {
      nodes: store.table("nodes"),
      routes: store.table("routes"),
      uplinks: store.table("uplinks"),
      bgpPeers: store.table("bgpPeers"),
      bgpPaths: store.table("bgpPaths"),
      deviceAddresses: store.table("deviceAddresses"),
    };
    return routeReport(tables, config.nodeName, { state: bgp.state, received });
  }

  nodeHealth(): readonly NodeHealthDto[] {
    const { store, nodes, bgp } = this.#options;
    const tables = {
      nodes: store.table("nodes"),
      nodeHealth: store.table("nodeHealth"),
      routes: store.table("routes"),
      bgpPeers: store.table("bgpPeers"),
    };
    return nodeHealthReport(tables, nodes.report(), bgp.state);
  }

  bgpPeers(): readonly BgpPeerDto[] {
    const { store } = this.#options;
    return peerReport(store.table("bgpPeers"), store.table("nodes"));
  }

  bgpServices(): readonly BgpServiceDto[] {
    return (this.#options.advertiser?.rows() ?? []).map(advertisedDto);
  }

  bgpPaths(of: string): readonly BgpPathDto[] {
    const { store } = this.#options;
    const nodes = store.table("nodes");
    if (of !== "" && of !== "all" && !nodes.has(of)) {
      throw new ApiError(404, "NODE_UNKNOWN", `there is no node ${of}`, "nodes are listed by: tandem routes");
    }
    const [bgpPaths, bgpPeers] = [store.table("bgpPaths"), store.table("bgpPeers")];
    return pathReport({ nodes, bgpPaths, bgpPeers, services: store.table("services") }, of);
  }

  async conntrack(): Promise<readonly CtDto[]> {
    return (await this.#options.datapath.conntrack()).map(flowReport);
  }

  async renamings(): Promise<readonly NatDto[]> {
    return renamingReport(await this.#options.datapath.renamings());
  }

  async ipcache(): Promise<readonly IpcacheDto[]> {
    return identityReport(await this.#options.datapath.identities(), this.#labelsOf());
  }

  async policyMaps(): Promise<readonly PolicyMapDto[]> {
    const labelsOf = this.#labelsOf();
    return (await this.#options.datapath.policySets()).map((set) => policySetReport(set, labelsOf));
  }

  async serviceMaps(): Promise<readonly ServiceDto[]> {
    const { datapath, loop, store } = this.#options;
    const frontends = loop.result?.desired.frontends ?? [];
    return kernelServiceReport(await datapath.services(), frontends, store.table("services"));
  }

  async maglevTables(): Promise<readonly MaglevTableDto[]> {
    const { datapath, loop } = this.#options;
    return maglevReport(await datapath.maglev(), loop.result?.desired.frontends ?? []);
  }

  #knowledge(): EndpointKnowledge {
    const { datapath, cni, loop } = this.#options;
    return {
      kernelOf: (id) => datapath.endpointState(id),
      isLeaving: (containerId) => cni.isLeaving(containerId),
      pending: loop.pending,
    };
  }

  #describe(events: readonly DatapathEvent[]): readonly EventDto[] {
    const { clock, monotonicNs } = this.#options;
    return eventReport(events, this.#nameOf(), { monotonicNs: monotonicNs(), wallMs: clock.now() });
  }

  /** Built anew when a table that it reads has changed: a snapshot of an unchanged table is the same object. */
  #nameOf(): NameOf {
    const { pods, nodes, services, localAddresses } = this.#options.store.snapshot();
    const from = [pods, nodes, services, localAddresses];
    if (this.#names === null || from.some((table, at) => table !== this.#names?.from[at]?.deref())) {
      this.#names = {
        from: from.map((table) => new WeakRef<object>(table)),
        nameOf: namesOf({ pods, nodes, services, localAddresses, nodeName: this.#options.config.nodeName }),
      };
    }
    return this.#names.nameOf;
  }

  #labelsOf(): LabelsOf {
    const { result } = this.#options.loop;
    if (result === null) return () => [];
    if (this.#labels?.from.deref() !== result) {
      const labels = new Map(result.identities.map(({ id, labels: own }) => [id, own]));
      this.#labels = { from: new WeakRef(result), labelsOf: (identity) => labels.get(identity) ?? [] };
    }
    return this.#labels.labelsOf;
  }
}
