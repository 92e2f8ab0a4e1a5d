/**
 * The frontends that one service asks for: each of its addresses with each of its ports. Whether it gets them is decided where all
 * services meet (`frontend-table.ts`).
 */
import type { Address } from "../../model/ip.ts";
import type { Problem } from "../../model/status.ts";
import type { Protocol, ServicePort, ServiceRow } from "../../model/tables.ts";
import type { DesiredFrontend, DesiredHealthCheck } from "../desired.ts";
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

/** What of the nodes matters to services. */
export interface NodeFacts {
  /** Of this node: node ports are there. */
  readonly own: readonly Address[];
  /** Address text -> name of the node that has it. */
  readonly nodeOf: ReadonlyMap<string, string>;
  /** Where this node's clients are. */
  readonly here: Locality;
}

export interface Candidates {
  /** Each key once. */
  readonly candidates: readonly Candidate[];
  readonly problems: readonly Problem[];
  /** null: nobody asks. */
  readonly healthCheck: DesiredHealthCheck | null;
}

export const noCandidates: Candidates = { candidates: [], problems: [], healthCheck: null };

/** How backends on other nodes answer clients outside: by the node that asked them, directly, or (hybrid) directly over TCP alone. */
export type LoadBalancerMode = "snat" | "dsr" | "hybrid";

export function serviceCandidates(
  service: ServiceRow,
  backendsOf: BackendsOf,
  nodes: NodeFacts,
  mode: LoadBalancerMode,
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
    const outside = outsideOf(service, kind, chosen);
    const sources = kind === "loadBalancer" ? sourcesOf(service, address.family) : undefined;
    const frontend: DesiredFrontend = {
      address,
      port: number,
      protocol,
      external: kind !== "clusterIPs",
      affinitySeconds: service.affinitySeconds,
      backends,
      ...(others.length > 0 && { others }),
      ...(outside !== null && { outside }),
      ...(sources !== undefined && { sources }),
      ...(outside !== null && returnsDirectly(service.forwarding ?? mode, port.protocol) && { directReturn: true }),
      service: `${key}:${port.port}`,
    };
    candidates.set(candidate, { key: candidate, service: key, kind, what, field: fieldOf(kind), frontend });
  };
  for (const address of exposes(service, "ClusterIP") ? service.clusterIps : []) {
    const node = nodes.nodeOf.get(address.text);
    if (node === undefined) for (const port of ports) add("clusterIPs", address, port, port.port);
    else {
      const message = `${address.text} is an address of Node ${node}; the service is not served there`;
      report("error", "SERVICE_NODE_ADDRESS", "spec.clusterIPs", message, "give the service an address of its own");
    }
  }
  const outside: readonly (readonly [Candidate["kind"], readonly Address[]])[] = [
    ["loadBalancer", exposes(service, "LoadBalancer") ? service.loadBalancerIps : []],
    ["externalIPs", service.externalIps],
  ];
  for (const [kind, addresses] of outside) {
    const seen = new Set<string>();
    for (const address of addresses) {
      if (seen.has(address.text)) {
        const message = `${address.text} is listed twice`;
        report("warning", "SERVICE_DUPLICATE_ADDRESS", fieldOf(kind), message, "list it once");
        continue;
      }
      seen.add(address.text);
      const node = nodes.nodeOf.get(address.text);
      if (node !== undefined && kind === "externalIPs") {
        const message = `${address.text} is an address of Node ${node}: its own servers lose the ports of this service`;
        const remedy = "use an address that no node has, or a node port";
        report("warning", "SERVICE_NODE_ADDRESS", fieldOf(kind), message, remedy);
      }
      for (const port of ports) add(kind, address, port, port.port);
    }
  }
  if (exposes(service, "LoadBalancer")) checkSourceRanges(service, report);
  if (exposes(service, "NodePort")) {
    const families = new Set(service.clusterIps.map(({ family }) => family));
    for (const address of nodes.own) {
      if (!families.has(address.family)) continue;
      for (const port of ports) if (port.nodePort !== null) add("nodePort", address, port, port.nodePort);
    }
  }
  const all = [...candidates.values()];
  return { candidates: all, problems, healthCheck: healthCheckOf(service, all) };
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
 * Who serves clients outside that come to this node; null: they are not served here. Hints of zones are for clients inside: every node has the same
 * backends for outside, so that it does not matter to which one the fabric brings a flow. Where nobody is anywhere the packet is the stack's, which
 * answers; Local where nobody is here drops it, as whoever announces the address from here has been told (kube-proxy does the same).
 */
function outsideOf(service: ServiceRow, kind: Candidate["kind"], chosen: Chosen): readonly Backend[] | null {
  if (kind === "clusterIPs") return null;
  if (service.externalTrafficPolicy === "Local") return chosen.local;
  return chosen.everywhere.length > 0 ? chosen.everywhere : null;
}

function returnsDirectly(mode: LoadBalancerMode, protocol: Protocol): boolean {
  return mode === "dsr" || (mode === "hybrid" && protocol === "TCP");
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
