/**
 * What people ask the agent about services: one with all that is known of it, and which backend a client gets and why. Compute's answer is told, with
 * what the kernel has beside it: the two differ while a change is on its way, and else it is a fault worth seeing.
 */
import type { StatusDto } from "../api/dto.ts";
import { ApiError } from "../api/errors.ts";
import type { PolicyTraceDto, TraceQuestionDto } from "../api/policy-dto.ts";
import type {
  ServiceBackendDto,
  ServiceChoiceDto,
  ServiceDetailsDto,
  ServiceFrontendDto,
  ServiceQuestionDto,
  ServiceTraceDto,
} from "../api/service-dto.ts";
import type { DesiredBackend, DesiredFrontend } from "../compute/desired.ts";
import type { ComputeResult } from "../compute/result.ts";
import type { Endpoint } from "../compute/services/backends.ts";
import { endpointsOf, explainEndpoints, zoneOf } from "../compute/services/explain.ts";
import { unreachableNodes } from "../compute/services/unreachable.ts";
import type { AgentConfig } from "../config/index.ts";
import type {
  KernelAffinity,
  KernelFlow,
  KernelRenaming,
  KernelService,
  ServiceFlowCount,
} from "../datapath/report.ts";
import { type Address, compareAddresses, prefixContains } from "../model/ip.ts";
import type { Requirement } from "../model/labels.ts";
import { reasons } from "../model/reasons.gen.ts";
import type { ToldProblem } from "../model/status.ts";
import type { TableSnapshot, TableStore } from "../model/store.ts";
import type { ServicePort, ServiceRow } from "../model/tables.ts";
import { type AdvertisedAddress, withAdvertising } from "./advertise/report.ts";
import { advertisementReport, frontendsByAddress } from "../observe/advertisements.ts";
import type { BgpKnowledge } from "../observe/route-reasons.ts";
import { frontendType } from "../observe/services.ts";
import { protocolName, socketText } from "../observe/text.ts";
import { type Client, readClient, readDestination } from "./service-ends.ts";

export interface ServiceAnswersOptions {
  readonly config: Pick<AgentConfig, "nodeName"> & Partial<Pick<AgentConfig, "healthActs">>;
  readonly store: Pick<TableStore, "snapshot" | "table">;
  readonly conditions: { problems(): readonly ToldProblem[] };
  readonly datapath: {
    services(): Promise<readonly KernelService[]>;
    conntrack(): Promise<readonly KernelFlow[]>;
    renamings(): Promise<readonly KernelRenaming[]>;
    affinities(): Promise<readonly KernelAffinity[]>;
    serviceFlows(): Promise<readonly ServiceFlowCount[]>;
    namespaceCookie(netns: string | null): Promise<bigint>;
    report(): Promise<{ readonly cgroup: string | null }>;
  };
  readonly loop: { readonly result: ComputeResult | null; readonly revision: StatusDto["revision"] };
  readonly bgp: { readonly state: BgpKnowledge["state"] };
  /** Not set: nothing is announced. */
  readonly advertiser?: { rows(): readonly AdvertisedAddress[] };
  readonly policyTrace: (question: TraceQuestionDto) => Promise<PolicyTraceDto>;
}

/** Backends of which policies are asked: a trace of each costs milliseconds. */
const judged = 16;

export class ServiceAnswers {
  readonly #options: ServiceAnswersOptions;

  constructor(options: ServiceAnswersOptions) {
    this.#options = options;
  }

  /** @throws ApiError NOT_FOUND (404) */
  async details(key: string): Promise<ServiceDetailsDto> {
    const tables = this.#options.store.snapshot();
    const service = tables.services.get(key);
    if (service === undefined) {
      throw new ApiError(404, "NOT_FOUND", `there is no service ${key}`, "list what there is: tandem service list");
    }
    const { datapath, config, bgp, loop } = this.#options;
    const at = frontendsByAddress(loop.result?.desired.frontends ?? []);
    const view = { nodeName: config.nodeName, bgp: bgp.state };
    const kernel = { services: await datapath.services(), flows: await datapath.serviceFlows() };
    const object = `Service ${key}`;
    return {
      service: key,
      type: service.type,
      policies: policiesOf(service),
      frontends: this.#frontendsOf(key).map((each) => frontendOf(each, tables.services, kernel)),
      advertisements: withAdvertising(
        key,
        advertisementReport(key, service, at, tables, view),
        this.#options.advertiser?.rows() ?? [],
      ),
      backends: this.#backendsOf(tables, service),
      problems: this.#options.conditions.problems().filter((problem) => problem.object === object),
    };
  }

  /** @throws ApiError TRACE_END, TRACE_FLOW (400), NOT_READY (503) */
  async trace(question: ServiceQuestionDto): Promise<ServiceTraceDto> {
    const { store, loop, config } = this.#options;
    if (loop.result === null) {
      const remedy = "tandem status says what it waits for";
      throw new ApiError(503, "NOT_READY", "the agent has not seen everything yet", remedy);
    }
    const to = readDestination(question.to);
    const tables = store.snapshot();
    const client = readClient(question.client, to.address.family, tables, config.nodeName);
    const frontend = loop.result.desired.frontends.find(
      ({ address, port, protocol }) => address.text === to.address.text && port === to.port && protocol === to.protocol,
    );
    const { cgroup } = await this.#options.datapath.report();
    const scope = client.kind === "outside" ? "outside" : "inside";
    const common = {
      node: config.nodeName,
      revision: loop.revision,
      client: { name: client.name, address: client.address.text },
      destination: socketText(to.address, to.port),
      protocol: protocolName(to.protocol),
      scope,
      how: howOf(client, to.protocol, cgroup),
    } as const;
    if (frontend === undefined) {
      const because = this.#nearby(to.address) ?? "no service has this address on this node: it goes where routes lead";
      const outcome = "not translated" as const;
      return { ...common, service: null, type: null, outcome, because, candidates: [], choices: [] };
    }
    const chosen = scope === "outside" ? (frontend.outside ?? []) : frontend.backends;
    const candidates = await this.#candidates(tables, frontend, chosen, client, question.client);
    return {
      ...common,
      service: serviceOf(frontend),
      type: frontendType(frontend, tables.services),
      ...outcomeOf(frontend, client, chosen.length, cgroup),
      candidates,
      choices: await this.#choices(frontend, client),
    };
  }

  #frontendsOf(key: string): readonly DesiredFrontend[] {
    const { result } = this.#options.loop;
    return (result?.desired.frontends ?? []).filter((frontend) => serviceOf(frontend) === key);
  }

  #backendsOf(tables: TableSnapshot, service: ServiceRow): readonly ServiceBackendDto[] {
    const { nodeName } = this.#options.config;
    return service.ports.flatMap((port) =>
      ([4, 6] as const).flatMap((family) =>
        sorted(endpointsOf(tables, service, port, family)).map((endpoint) =>
          backendOf(endpoint, port, zoneOf(tables, endpoint.node), nodeName),
        ),
      ),
    );
  }

  async #candidates(
    tables: TableSnapshot,
    frontend: DesiredFrontend,
    chosen: readonly DesiredBackend[],
    client: Client,
    clientText: string,
  ): Promise<ServiceTraceDto["candidates"]> {
    const { nodeName } = this.#options.config;
    const service = tables.services.get(serviceOf(frontend));
    const number = Number(frontend.service.slice(frontend.service.lastIndexOf(":") + 1));
    const protocol = protocolName(frontend.protocol);
    const port = service?.ports.find((each) => each.port === number && each.protocol === protocol);
    if (service === undefined || port === undefined) return [];
    const outside = client.kind === "outside";
    const policy = outside
      ? service.externalTrafficPolicy
      : frontend.external
        ? "Cluster"
        : service.internalTrafficPolicy;
    const unreachable = this.#options.config.healthActs === true ? unreachableNodes(tables.nodeHealth) : [];
    const here = { node: nodeName, zone: zoneOf(tables, nodeName), unreachable };
    const endpoints = sorted(endpointsOf(tables, service, port, frontend.address.family));
    const explained = explainEndpoints(tables, endpoints, chosen, here, policy === "Local");
    let asked = 0;
    return Promise.all(
      explained.map(async ({ endpoint, zone, leftOut }) => ({
        ...backendOf(endpoint, port, zone, nodeName),
        leftOut,
        verdict: leftOut === null && asked++ < judged ? await this.#verdict(clientText, endpoint, port) : null,
      })),
    );
  }

  async #verdict(from: string, { address, port }: Endpoint, { protocol }: ServicePort) {
    const { family, text } = address;
    const question = { from, to: text, port: `${port}/${protocol}`, icmp: null, icmp6: null, family };
    try {
      return (await this.#options.policyTrace(question)).verdict;
    } catch (error) {
      // An end that policies know nothing of: the answer about the service stands without them.
      if (error instanceof ApiError) return null;
      throw error;
    }
  }

  async #choices({ address, port, protocol }: DesiredFrontend, client: Client): Promise<readonly ServiceChoiceDto[]> {
    const { datapath } = this.#options;
    const isFrontend = (to: { readonly address: Address; readonly port: number }) =>
      to.port === port && to.address.text === address.text;
    const isClient = (from: Address) => from.text === client.address.text;
    const flows = (await datapath.conntrack()).flatMap((flow): readonly ServiceChoiceDto[] => {
      const own = flow.state === "service" && flow.protocol === protocol && isFrontend(flow.destination);
      if (!own || flow.nat === null || !isClient(flow.source.address)) return [];
      const { state, idleSeconds, source } = flow;
      return [{ backend: textOf(flow.nat), by: "flow", clientPort: source.port, state, idleSeconds }];
    });
    const renamed = (await datapath.renamings()).flatMap((flow): readonly ServiceChoiceDto[] => {
      const own = flow.kind === "service" && flow.protocol === protocol && isFrontend(flow.destination);
      if (!own || !isClient(flow.source.address)) return [];
      const { state, idleSeconds, source, to } = flow;
      return [{ backend: textOf(to.destination), by: "flow", clientPort: source.port, state, idleSeconds }];
    });
    const cookie = client.kind === "outside" ? null : await datapath.namespaceCookie(client.netns).catch(() => null);
    const affinities = (await datapath.affinities()).flatMap((each): readonly ServiceChoiceDto[] => {
      if (each.protocol !== protocol || !isFrontend(each.service)) return [];
      const { client: who, backend, idleSeconds } = each;
      const own = who.kind === "address" ? isClient(who.address) : who.kind === "netns" && who.cookie === cookie;
      return own ? [{ backend: textOf(backend), by: "affinity", clientPort: null, state: "kept", idleSeconds }] : [];
    });
    return [...flows, ...renamed, ...affinities].sort((a, b) => a.idleSeconds - b.idleSeconds);
  }

  /** The ports that services have at an address; null: none. */
  #nearby({ text }: Address): string | null {
    const { frontends, elsewhere = [] } = this.#options.loop.result?.desired ?? { frontends: [] };
    if (elsewhere.some((each) => each.text === text))
      return "its service is for other nodes: it goes where routes lead";
    const ports = frontends.flatMap((each) =>
      each.address.text === text ? [`${each.port}/${protocolName(each.protocol)} (${serviceOf(each)})`] : [],
    );
    return ports.length === 0 ? null : `services have other ports at this address: ${ports.join(", ")}`;
  }
}

/** As kubectl writes it. */
function requirementText({ key, operator, values }: Requirement): string {
  if (operator === "Exists") return key;
  if (operator === "DoesNotExist") return `!${key}`;
  return `${key} ${operator === "In" ? "in" : "notin"} (${values.join(",")})`;
}

function policiesOf(service: ServiceRow): ServiceDetailsDto["policies"] {
  const { sourceRanges } = service;
  return {
    internalTrafficPolicy: service.internalTrafficPolicy,
    externalTrafficPolicy: service.externalTrafficPolicy,
    affinitySeconds: service.affinitySeconds,
    publishNotReadyAddresses: service.publishNotReady,
    healthCheckNodePort: service.healthCheckNodePort,
    sourceRanges: sourceRanges && {
      policy: sourceRanges.policy,
      prefixes: sourceRanges.prefixes.map(({ text }) => text),
    },
    exposed: service.exposed ?? null,
    nodes: service.nodes?.requirements.map(requirementText) ?? null,
  };
}

function frontendOf(
  frontend: DesiredFrontend,
  services: ReadonlyMap<string, ServiceRow>,
  kernel: { readonly services: readonly KernelService[]; readonly flows: readonly ServiceFlowCount[] },
): ServiceFrontendDto {
  const { address, port, protocol, backends, outside = null } = frontend;
  const isIt = (each: Pick<KernelService, "frontend" | "protocol">) =>
    each.protocol === protocol && each.frontend.port === port && each.frontend.address.text === address.text;
  const has = (ofOutside: boolean, wanted: readonly DesiredBackend[] | null) => {
    const found = kernel.services.find((each) => each.outside === ofOutside && isIt(each));
    if (wanted === null || found === undefined) return wanted === null && found === undefined;
    return texts(found.backends).join() === texts(wanted).join();
  };
  const begun = (ofOutside: boolean) =>
    kernel.flows.find((each) => each.outside === ofOutside && isIt(each))?.begun ?? 0;
  return {
    frontend: socketText(address, port),
    protocol: protocolName(protocol),
    type: frontendType(frontend, services),
    servicePort: Number(frontend.service.slice(frontend.service.lastIndexOf(":") + 1)),
    inside: texts(backends),
    outside: outside && texts(outside),
    flows: { inside: begun(false), outside: begun(true) },
    inKernel: has(false, backends) && has(true, outside),
  };
}

const states = { ready: "ready", ending: "terminating", unusable: "not ready" } as const;

function backendOf(
  { address, port, node, state, drained = false }: Endpoint,
  { port: servicePort, protocol }: ServicePort,
  zone: string | null,
  nodeName: string,
): ServiceBackendDto {
  const backend = socketText(address, port);
  return {
    backend,
    protocol,
    servicePort,
    state: drained ? "ready" : states[state],
    node,
    zone,
    local: node === nodeName,
  };
}

const udp = 17;
const sctp = 132;

function howOf({ kind }: Client, protocol: number, cgroup: string | null): string {
  if (kind === "outside") return "packets that come by an uplink";
  const packets =
    kind === "pod" ? "packet by packet, as they leave the pod" : "nowhere: there is no hook for its sockets";
  if (cgroup === null || protocol === sctp) return packets;
  const socket = protocol === udp ? "at the socket, by connect() or sendmsg()" : "at the socket, by connect()";
  return kind === "pod" ? `${socket}; what skips that, packet by packet` : socket;
}

const reasonOf = (name: (typeof reasons)[number]["name"]): string =>
  reasons.find((reason) => reason.name === name)?.text ?? name;

function outcomeOf(
  frontend: DesiredFrontend,
  client: Client,
  count: number,
  cgroup: string | null,
): Pick<ServiceTraceDto, "outcome" | "because"> {
  const { sources, outside, affinitySeconds, selection } = frontend;
  const isOutside = client.kind === "outside";
  if (isOutside) {
    if (outside === undefined) {
      const because = "a cluster address is for clients inside: the packet is left to the node";
      return { outcome: "not translated", because };
    }
    const listed = sources?.prefixes.find((prefix) => prefixContains(prefix, client.address)) ?? null;
    if (sources !== undefined && (listed === null) === (sources.policy === "allow")) {
      const why = listed === null ? "no source range holds it" : `source range ${listed.text} denies it`;
      return { outcome: "dropped", because: `${reasonOf("sourceRange")}: ${why}` };
    }
  }
  if (count === 0) {
    if (isOutside && frontend.backends.length === 0) {
      const because = "nobody serves it anywhere: the packet is left to the node, which answers";
      return { outcome: "not translated", because };
    }
    if (isOutside || cgroup === null) return { outcome: "dropped", because: reasonOf("noBackend") };
    return { outcome: "refused", because: `${reasonOf("noBackend")}: connect() fails, packets are dropped` };
  }
  const one = count === 1 ? "the only one" : `one of ${count}`;
  const by = isOutside || selection === "maglev" ? "by a hash of the client" : "by chance";
  const kept =
    affinitySeconds === null ? "" : `, the same for ${affinitySeconds} s after the last use (sessionAffinity)`;
  return { outcome: "backend", because: `${one}${count === 1 ? "" : `, ${by}`}${kept}` };
}

function serviceOf({ service }: DesiredFrontend): string {
  return service.slice(0, service.lastIndexOf(":"));
}

function sorted(endpoints: readonly Endpoint[]): readonly Endpoint[] {
  return [...endpoints].sort((a, b) => compareAddresses(a.address, b.address) || a.port - b.port);
}

function textOf({ address, port }: DesiredBackend): string {
  return socketText(address, port);
}

function texts(backends: readonly DesiredBackend[]): readonly string[] {
  return backends.map(textOf);
}
