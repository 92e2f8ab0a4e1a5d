/** What the API asks of the agent; the agent implements it. Answers are the DTOs themselves. */
import type { Duplex } from "node:stream";
import type {
  BgpPathDto,
  BgpPeerDto,
  BgpServiceDto,
  CniRequest,
  CniResponse,
  CtDto,
  EndpointDto,
  EndpointOptionsDto,
  EventDto,
  FqdnCacheDto,
  FqdnNameDto,
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
} from "./dto.ts";
import type { NodeHealthDto } from "./health-dto.ts";
import type { MetricDto } from "./metrics-dto.ts";
import type { ProxyDto, ProxyRulesDto } from "./proxy-dto.ts";
import type { ServiceDetailsDto, ServiceQuestionDto, ServiceTraceDto } from "./service-dto.ts";
import type { EndpointDetailsDto, PolicyTraceDto, TraceQuestionDto } from "./policy-dto.ts";

/** Each may be asked at any time, also while the agent starts; what is not known yet is empty. */
export interface AgentQueries {
  status(): Promise<StatusDto>;
  /** The same that Prometheus is served. */
  metrics(): Promise<readonly MetricDto[]>;
  version(): VersionDto;
  endpoints(): readonly EndpointDto[];
  /** With the verdict tables of this endpoint. */
  endpointDetails(endpoint: EndpointDto): EndpointDetailsDto;
  identities(): readonly IdentityDto[];
  policies(): readonly PolicyDto[];
  /** @throws ApiError TRACE_END, TRACE_FLOW (400), NOT_READY (503) */
  policyTrace(question: TraceQuestionDto): Promise<PolicyTraceDto>;
  services(): readonly ServiceDto[];
  /** @param service "namespace/name" @throws ApiError NOT_FOUND (404) */
  serviceDetails(service: string): Promise<ServiceDetailsDto>;
  /** @throws ApiError TRACE_END, TRACE_FLOW (400), NOT_READY (503) */
  serviceTrace(question: ServiceQuestionDto): Promise<ServiceTraceDto>;
  /** Also asks BGP's daemon why those that are missing are. */
  routes(): Promise<readonly RouteDto[]>;
  /** Of the other nodes, by name. */
  nodeHealth(): readonly NodeHealthDto[];
  bgpPeers(): readonly BgpPeerDto[];
  /** What this agent announces, by address. */
  bgpServices(): readonly BgpServiceDto[];
  /**
   * @param of name of a node: paths to its pod CIDRs; "all": every best path; "": those to pod CIDRs and service addresses
   * @throws ApiError NODE_UNKNOWN (404)
   */
  bgpPaths(of: string): readonly BgpPathDto[];
  conntrack(): Promise<readonly CtDto[]>;
  renamings(): Promise<readonly NatDto[]>;
  ipcache(): Promise<readonly IpcacheDto[]>;
  policyMaps(): Promise<readonly PolicyMapDto[]>;
  serviceMaps(): Promise<readonly ServiceDto[]>;
  maglevTables(): Promise<readonly MaglevTableDto[]>;
}

/** Live events: batches as they come. */
export interface EventFeed {
  /** @returns the end of the subscription */
  subscribe(listener: (events: readonly EventDto[]) => void): () => void;
}

export interface EndpointControl {
  /**
   * Durable, and in the kernel, when it resolves.
   * @param endpoint its number, or "namespace/pod"
   * @returns false: there is no such endpoint
   */
  configure(endpoint: string, options: EndpointOptionsDto): Promise<boolean>;
}

/** Names of DNS in policies. */
export interface NamesControl {
  cache(): readonly FqdnCacheDto[];
  names(): readonly FqdnNameDto[];
  /**
   * Forgets addresses, and asks for the names of policies again at once.
   * @param pattern of the names that are meant, as matchPattern; null: all
   * @returns how many addresses were forgotten
   */
  clean(pattern: string | null): number;
}

/** The proxies of this node. */
export interface ProxyControl {
  /** The agent's setting: none is let in otherwise. */
  readonly isOn: boolean;
  proxy(): ProxyDto;
  rules(): ProxyRulesDto;
  /** The conversation of proxy-dto.ts begins. @param head what came already */
  accept(socket: Duplex, head: Uint8Array): void;
}

export interface CniHandler {
  /** @param signal aborted when the plugin went away before its answer */
  handle(request: CniRequest, signal: AbortSignal): Promise<CniResponse>;
}
