/**
 * The frontends that one service asks for: each of its addresses with each of its ports. Whether it gets them is decided where all
 * services meet (`frontend-table.ts`).
 */
import type { Address } from "../../model/ip.ts";
import { type LabelMap, selects } from "../../model/labels.ts";
import type { Problem } from "../../model/status.ts";
import type { Protocol, ServicePort, ServiceRow } from "../../model/tables.ts";
import type { DesiredFrontend, DesiredHealthCheck } from "../desired.ts";
import { type AddressGuard, refusalOf } from "./address-guard.ts";
import type { Backend, BackendsOf, Chosen, Locality } from "./backends.ts";
import { checkSourceRanges, type Report, sourcesOf } from "./source-ranges.ts";

const protocolNumbers: Readonly<Record<Protocol, number>> = { TCP: 6, UDP: 17, SCTP: 132 };

/** In this order they win where two services want the same: nobody takes over a cluster address by naming it as his own. */
export const kinds = ["clusterIPs", "loadBalancer", "externalIPs", "nodePort"] as const;

export interface Candidate {
  /** Address, port and protocol: what can be had once. */
  readonly key: string;
  /** "namespace/name" of the service. */
  readonly service: string;
  readonly kind: (typeof kinds)[number];
  /** "10.96.0.1 port 80/TCP", "node port 30080/TCP". */
  readonly what: string;
  readonly field: string;
  readonly frontend: DesiredFrontend;
}

/** What of the cluster matters to each service. */
export interface Surroundings extends AddressGuard {
  /** Addresses of this node: node ports are there. */
  readonly own: readonly Address[];
  /** Where this node's clients are. */
  readonly here: Locality;
  /** Of this node. */
  readonly labels: LabelMap;
  /** null: any. */
  readonly nodePorts: PortRange | null;
}

export interface PortRange {
  readonly first: number;
  readonly last: number;
}

export interface Candidates {
  /** Each key once. */
  readonly candidates: readonly Candidate[];
  readonly problems: readonly Problem[];
  /** null: nobody asks. */
  readonly healthCheck: DesiredHealthCheck | null;
  /** Addresses of a service that other nodes serve and this one does not. Not set: none. */
  readonly elsewhere?: readonly Address[];
}

export const noCandidates: Candidates = { candidates: [], problems: [], healthCheck: null };

/** How backends on other nodes answer clients outside: by the node that asked them, directly, or (hybrid) directly over TCP alone. */
export type LoadBalancerMode = "snat" | "dsr" | "hybrid";

/** What a service does that says nothing else. */
export interface ServiceSettings {
  readonly loadBalancerMode: LoadBalancerMode;
  /** What chooses a backend for clients inside. */
  readonly serviceSelection: "random" | "maglev";
  /** Clients outside may use cluster addresses, too. */
  readonly externalClusterIps: boolean;
}

export function serviceCandidates(
  service: ServiceRow,
  backendsOf: BackendsOf,
  around: Surroundings,
  settings: ServiceSettings,
): Candidates {
  // A headless service has no address, also not those that it lists: kube-proxy does the same.
  if (service.type === "ExternalName" || service.clusterIps.length === 0) return noCandidates;
  const key = `${service.namespace}/${service.name}`;
  const problems: Problem[] = [];
  const report: Report = (severity, code, field, message, remedy) => {
    problems.push({ code, severity, object: `Service ${key}`, field, message, remedy });
  };
  const ports = distinctPorts(service, report);
  const candidates = new Map<string, Candidate>();
  let isLocalNowhere = false;
  const add = (kind: Candidate["kind"], address: Address, port: ServicePort, number: number) => {
    const protocol = protocolNumbers[port.protocol];
    const candidate = candidateKey(address, number, protocol);
    if (candidates.has(candidate)) return;
    const what =
      kind === "nodePort" ? `node port ${number}/${port.protocol}` : `${address.text} port ${number}/${port.protocol}`;
    // Who comes from inside by an outside address is told nothing of where its backend is to be: kube-proxy does the same.
    const policy = kind === "clusterIPs" ? service.internalTrafficPolicy : "Cluster";
    const chosen = backendsOf(port, address.family, policy);
    const { backends, others } = chosen;
    const outside = outsideOf(service, kind, chosen, settings);
    isLocalNowhere ||= outside?.length === 0 && chosen.everywhere.length > 0 && !chosen.onNodes;
    const sources = kind === "loadBalancer" ? sourcesOf(service, address.family) : undefined;
    const frontend: DesiredFrontend = {
      address,
      port: number,
      protocol,
      external: kind !== "clusterIPs",
      ...(kind === "nodePort" && { nodePort: true }),
      affinitySeconds: service.affinitySeconds,
      backends,
      ...(others.length > 0 && { others }),
      ...(outside !== null && { outside }),
      ...(sources !== undefined && { sources }),
      ...(outside !== null && returnsDirectly(service, port.protocol, settings) && { directReturn: true }),
      ...((service.selection ?? settings.serviceSelection) === "maglev" && { selection: "maglev" }),
      service: `${key}:${port.port}`,
    };
    candidates.set(candidate, { key: candidate, service: key, kind, what, field: fieldOf(kind), frontend });
  };
  for (const address of exposes(service, "ClusterIP") ? service.clusterIps : []) {
    const node = around.nodeOf.get(address.text);
    if (node === undefined) for (const port of ports) add("clusterIPs", address, port, port.port);
    else {
      const message = `${address.text} is an address of Node ${node}; the service is not served there`;
      report("error", "SERVICE_NODE_ADDRESS", "spec.clusterIPs", message, "give the service an address of its own");
    }
  }
  const outside: readonly (readonly ["loadBalancer" | "externalIPs", readonly Address[]])[] = [
    ["loadBalancer", exposes(service, "LoadBalancer") ? service.loadBalancerIps : []],
    ["externalIPs", service.externalIps],
  ];
  for (const [kind, addresses] of outside) {
    for (const address of usableAddresses(kind, addresses, around, report)) {
      for (const port of ports) add(kind, address, port, port.port);
    }
  }
  if (exposes(service, "LoadBalancer")) checkSourceRanges(service, report);
  if (exposes(service, "NodePort")) {
    const families = new Set(service.clusterIps.map(({ family }) => family));
    const nodePorts = usableNodePorts(ports, around.nodePorts, report);
    for (const address of around.own) {
      if (!families.has(address.family)) continue;
      for (const [port, number] of nodePorts) add("nodePort", address, port, number);
    }
  }
  if (isLocalNowhere) {
    const message = "none of its backends is on a node: with externalTrafficPolicy Local nobody outside is served";
    const remedy = "write nodeName in its EndpointSlices, or use externalTrafficPolicy Cluster";
    report("warning", "SERVICE_LOCAL_NOWHERE", "spec.externalTrafficPolicy", message, remedy);
  }
  const all = [...candidates.values()];
  if (isServedOn(service, around.labels))
    return { candidates: all, problems, healthCheck: healthCheckOf(service, all) };
  const elsewhere = all.flatMap(({ kind, frontend }) => (kind === "nodePort" ? [] : [frontend.address]));
  return { candidates: [], problems, healthCheck: null, elsewhere };
}

/** Nodes of these labels are among those that serve it. */
export function isServedOn({ nodes }: ServiceRow, labels: LabelMap): boolean {
  return nodes === undefined || selects(nodes, labels);
}

/** Its type brings addresses of this kind, and nobody said that it is to have others alone. */
function exposes({ type, exposed }: ServiceRow, kind: "ClusterIP" | "NodePort" | "LoadBalancer"): boolean {
  const brought = kind === "ClusterIP" || type === "LoadBalancer" || type === kind;
  return brought && (exposed?.includes(kind) ?? true);
}

function healthCheckOf(service: ServiceRow, candidates: readonly Candidate[]): DesiredHealthCheck | null {
  const { namespace, name, type, externalTrafficPolicy, healthCheckNodePort: port } = service;
  if (port === null || type !== "LoadBalancer" || externalTrafficPolicy !== "Local") return null;
  const pods = candidates.flatMap(({ frontend }) => frontend.outside ?? []).map(({ address }) => address);
  // A pod of both families is one.
  const count = (family: 4 | 6) => new Set(pods.flatMap((each) => (each.family === family ? each.text : []))).size;
  return { port, namespace, name, localEndpoints: Math.max(count(4), count(6)) };
}

/**
 * Who serves clients outside that come to this node; null: it is not for them. Hints of zones are for clients inside: every node has the same
 * backends for outside, so that it does not matter to which one the fabric brings a flow. Where nobody is anywhere the stack answers who begins; Local
 * where nobody is here drops it, as whoever announces the address from here has been told (kube-proxy does the same). Connections go on in any case.
 */
function outsideOf(
  service: ServiceRow,
  kind: Candidate["kind"],
  chosen: Chosen,
  settings: ServiceSettings,
): readonly Backend[] | null {
  if (kind === "clusterIPs" && !settings.externalClusterIps) return null;
  // A cluster address is not among those that the policy is for (core/v1, ServiceSpec.externalTrafficPolicy).
  if (service.externalTrafficPolicy === "Local" && kind !== "clusterIPs") return chosen.local;
  return chosen.everywhere;
}

/** A node that does not serve the address answers nobody in its name, so backends there answer by the node that was asked. */
function returnsDirectly(service: ServiceRow, protocol: Protocol, settings: ServiceSettings): boolean {
  const mode = service.forwarding ?? settings.loadBalancerMode;
  if (service.nodes !== undefined) return false;
  return mode === "dsr" || (mode === "hybrid" && protocol === "TCP");
}

/** Each once, without those that are others'. */
function usableAddresses(
  kind: "loadBalancer" | "externalIPs",
  addresses: readonly Address[],
  around: Surroundings,
  report: Report,
): readonly Address[] {
  const field = fieldOf(kind);
  const seen = new Set<string>();
  return addresses.filter((address) => {
    const { text } = address;
    if (seen.has(text)) {
      report("warning", "SERVICE_DUPLICATE_ADDRESS", field, `${text} is listed twice`, "list it once");
      return false;
    }
    seen.add(text);
    const refusal = refusalOf(address, kind, around);
    if (refusal !== null) {
      report(
        "error",
        "SERVICE_ADDRESS_REFUSED",
        field,
        `${text} ${refusal.why}: the service is not served there`,
        refusal.remedy,
      );
      return false;
    }
    const node = around.nodeOf.get(text);
    if (node !== undefined) {
      const message = `${text} is an address of Node ${node}: its own servers lose the ports of this service`;
      report("warning", "SERVICE_NODE_ADDRESS", field, message, "use an address that no node has, or a node port");
    }
    return true;
  });
}

/** Ports with the number that they have on nodes: each number once, of those that are for services. */
function usableNodePorts(
  ports: readonly ServicePort[],
  range: PortRange | null,
  report: Report,
): readonly (readonly [ServicePort, number])[] {
  const seen = new Set<string>();
  return ports.flatMap((port, i): readonly (readonly [ServicePort, number])[] => {
    const { nodePort, protocol } = port;
    if (nodePort === null) return [];
    const field = `spec.ports[${i}].nodePort`;
    if (range !== null && (nodePort < range.first || nodePort > range.last)) {
      const message = `${nodePort} is not among the ports of nodes that are for services (${range.first}-${range.last}): it is not served there`;
      const remedy = "use a port of that range, or make the agent's setting nodePortRange that of the API server";
      report("error", "SERVICE_NODE_PORT", field, message, remedy);
      return [];
    }
    const text = `${nodePort}/${protocol}`;
    if (!seen.has(text)) return seen.add(text) && [[port, nodePort]];
    report("error", "SERVICE_DUPLICATE_PORT", field, `node port ${text} is listed twice`, "list it once");
    return [];
  });
}

export function candidateKey(address: Address, port: number, protocol: number): string {
  return `${address.text} ${port} ${protocol}`;
}

function fieldOf(kind: Candidate["kind"]): string {
  if (kind === "loadBalancer") return "status.loadBalancer";
  return kind === "nodePort" ? "spec.ports" : `spec.${kind}`;
}

function distinctPorts(service: ServiceRow, report: Report): readonly ServicePort[] {
  const seen = new Set<string>();
  return service.ports.filter(({ port, protocol }, i) => {
    const text = `${port}/${protocol}`;
    if (!seen.has(text)) return seen.add(text);
    report("error", "SERVICE_DUPLICATE_PORT", `spec.ports[${i}]`, `port ${text} is listed twice`, "list it once");
    return false;
  });
}
