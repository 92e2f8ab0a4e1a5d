/**
 * Services to frontends: every address of a service with each of its ports, and who answers there. Pure; what is remembered only
 * saves work, and a fresh computation gives the same answer for the same tables.
 *
 * Cost of a change: rows are compared by identity, and only services that a changed row concerns are worked out again. A service
 * is concerned by its own row, its EndpointSlices, and, if it has no slices, the pods that it selects.
 */
import { mapChanges } from "../../lib/map-diff.ts";
import { type Address, compareAddresses, type Prefix } from "../../model/ip.ts";
import { compareText, labelMap } from "../../model/labels.ts";
import type { Problem } from "../../model/status.ts";
import { equalRows, type TableSnapshot } from "../../model/store.ts";
import type { EndpointSliceRow, NodeRow, PodRow, ServiceRow } from "../../model/tables.ts";
import type { DesiredFrontend, DesiredHealthCheck } from "../desired.ts";
import { podBackends, sliceBackends, targetPort } from "./backends.ts";
import { ClusterAddresses, PodCidrs } from "./address-guard.ts";
import {
  type Candidate,
  type Candidates,
  noCandidates,
  type PortRange,
  type ServiceSettings,
  serviceCandidates,
  type Surroundings,
} from "./candidates.ts";
import { FrontendTable } from "./frontend-table.ts";
import { hasLabels, PodIndex } from "./pod-index.ts";

export type ServiceTables = Pick<TableSnapshot, "services" | "endpointSlices" | "pods" | "nodes">;

/** Settings left out: snat, random, no cluster addresses for clients outside. */
export interface FrontendOptions extends Partial<ServiceSettings> {
  /** Node ports are on the addresses of this one. */
  readonly nodeName: string;
  /** Not set: everything is allowed that is nobody's. */
  readonly rules?: ServiceRules;
  /** As `Locality` has it. Not set: none. */
  readonly unreachable?: readonly string[];
}

/** What services may ask for. */
export interface ServiceRules {
  /** `externalIPs` may be of these; addresses of nodes, pods and services are none of them anyhow. */
  readonly externalIps: readonly Prefix[];
  readonly nodePorts: PortRange;
}

export interface FrontendResult {
  /** By address, port and protocol; a service that nobody answers for has its frontends with no backends. */
  readonly frontends: readonly DesiredFrontend[];
  /** By port. */
  readonly healthChecks: readonly DesiredHealthCheck[];
  /** Of services that other nodes serve and this one does not: sorted, each once. Not set: none. */
  readonly elsewhere?: readonly Address[];
  readonly problems: readonly Problem[];
}

export type ComputeFrontends = (tables: ServiceTables, options: FrontendOptions) => FrontendResult;

/** Remembers the last tables, so that the next ones cost what changed. The result is the same object if nothing did. */
export function createFrontends(): ComputeFrontends {
  const memory = new Frontends();
  return (tables, options) => memory.compute(tables, options);
}

/** From nothing. */
export const computeFrontends: ComputeFrontends = (tables, options) => createFrontends()(tables, options);

/** So many changed pods at once that asking each service whether it selects one costs more than working it out. */
const manyPods = 64;

class Frontends {
  #tables: ServiceTables = { services: new Map(), endpointSlices: new Map(), pods: new Map(), nodes: new Map() };
  #nodes: NodeFacts = {
    own: [],
    nodeOf: new Map(),
    podCidrs: new PodCidrs(),
    here: { node: "", zone: null },
    labels: new Map(),
  };
  readonly #cluster = new ClusterAddresses();
  #around: Surroundings = { ...this.#nodes, cluster: this.#cluster, externalIps: null, nodePorts: null };
  #settings: ServiceSettings = { loadBalancerMode: "snat", serviceSelection: "random", externalClusterIps: false };
  readonly #pods = new PodIndex();
  /** Slices by service, by key. */
  readonly #slices = new Map<string, Map<string, EndpointSliceRow>>();
  /** Services that live by their selector. */
  readonly #podBacked = new Map<string, ServiceRow>();
  readonly #candidates = new Map<string, readonly Candidate[]>();
  readonly #problems = new Map<string, readonly Problem[]>();
  readonly #healthChecks = new Map<string, DesiredHealthCheck>();
  /** By service. */
  readonly #elsewhere = new Map<string, readonly Address[]>();
  readonly #table = new FrontendTable();
  #result: FrontendResult = { frontends: [], healthChecks: [], problems: [] };

  compute(tables: ServiceTables, options: FrontendOptions): FrontendResult {
    const { nodeName, rules } = options;
    const { loadBalancerMode = "snat", serviceSelection = "random", externalClusterIps = false } = options;
    const dirty = new Set<string>();
    this.#takePods(mapChanges(this.#tables.pods, tables.pods), dirty);
    for (const { key, before, after } of mapChanges(this.#tables.endpointSlices, tables.endpointSlices)) {
      if (before !== undefined) this.#changeSlice(key, before, null, dirty);
      if (after !== undefined) this.#changeSlice(key, after, after, dirty);
    }
    for (const { key, before, after } of mapChanges(this.#tables.services, tables.services)) {
      dirty.add(key);
      this.#cluster.change(key, before, after, dirty);
    }
    const nodes = this.#facts(tables.nodes, nodeName, options.unreachable ?? none);
    if (!equalFacts(nodes, this.#nodes)) {
      this.#nodes = nodes;
      const { externalIps = null, nodePorts = null } = rules ?? {};
      this.#around = { ...nodes, cluster: this.#cluster, externalIps, nodePorts };
      for (const key of tables.services.keys()) dirty.add(key);
    }
    const settings: ServiceSettings = { loadBalancerMode, serviceSelection, externalClusterIps };
    if (!equalRows(settings, this.#settings)) {
      this.#settings = settings;
      for (const key of tables.services.keys()) dirty.add(key);
    }
    this.#tables = tables;
    if (dirty.size === 0) return this.#result;
    for (const key of dirty) this.#update(key, tables.services.get(key));
    const health = firstOfEachPort([...this.#healthChecks.values()]);
    const elsewhere = sortedAddresses([...this.#elsewhere.values()].flat());
    this.#result = {
      frontends: this.#table.frontends(),
      healthChecks: health.checks,
      ...(elsewhere.length > 0 && { elsewhere }),
      problems: [...[...this.#problems.values()].flat(), ...this.#table.problems(), ...health.problems].sort(
        compareProblems,
      ),
    };
    return this.#result;
  }

  /** Those of before, if the table is. */
  #facts(nodes: ServiceTables["nodes"], nodeName: string, unreachable: readonly string[]): NodeFacts {
    const { here } = this.#nodes;
    const isSame = nodes === this.#tables.nodes && nodeName === here.node && unreachable === here.unreachable;
    return isSame ? this.#nodes : nodeFacts(nodes, nodeName, unreachable);
  }

  #takePods(
    changes: readonly { key: string; before: PodRow | undefined; after: PodRow | undefined }[],
    dirty: Set<string>,
  ): void {
    for (const { key, before, after } of changes) {
      this.#pods.change(key, before, after);
      if (changes.length > manyPods) continue;
      for (const [service, row] of this.#podBacked) {
        const concerned = [before, after].some(
          (pod) => pod?.namespace === row.namespace && hasLabels(pod, row.selector ?? {}),
        );
        if (concerned) dirty.add(service);
      }
    }
    if (changes.length > manyPods) for (const service of this.#podBacked.keys()) dirty.add(service);
  }

  #changeSlice(
    key: string,
    { namespace, service }: EndpointSliceRow,
    row: EndpointSliceRow | null,
    dirty: Set<string>,
  ): void {
    const owner = `${namespace}/${service}`;
    dirty.add(owner);
    const slices = this.#slices.get(owner) ?? new Map<string, EndpointSliceRow>();
    if (row === null) slices.delete(key);
    else slices.set(key, row);
    if (slices.size === 0) this.#slices.delete(owner);
    else this.#slices.set(owner, slices);
  }

  #update(key: string, service: ServiceRow | undefined): void {
    const { candidates, problems, healthCheck, elsewhere } = this.#workOut(key, service);
    if (elsewhere === undefined) this.#elsewhere.delete(key);
    else this.#elsewhere.set(key, elsewhere);
    if (healthCheck === null) this.#healthChecks.delete(key);
    else this.#healthChecks.set(key, healthCheck);
    const before = this.#candidates.get(key) ?? [];
    const after = candidates.map((candidate) => keepFrontend(candidate, before));
    this.#table.change(before, after);
    if (after.length === 0) this.#candidates.delete(key);
    else this.#candidates.set(key, after);
    if (problems.length === 0) this.#problems.delete(key);
    else this.#problems.set(key, problems);
  }

  #workOut(key: string, service: ServiceRow | undefined): Candidates {
    this.#podBacked.delete(key);
    if (service === undefined) return noCandidates;
    const slices = this.#slices.get(key);
    const { here } = this.#nodes;
    if (slices !== undefined) {
      return serviceCandidates(service, sliceBackends([...slices.values()], here), this.#around, this.#settings);
    }
    if (service.selector === null)
      return serviceCandidates(
        service,
        () => ({ backends: [], others: [], local: [], everywhere: [], onNodes: false }),
        this.#around,
        this.#settings,
      );
    this.#podBacked.set(key, service);
    const pods = this.#pods.select(service.namespace, service.selector);
    const own = serviceCandidates(service, podBackends(service, pods, here), this.#around, this.#settings);
    return own.candidates.length === 0 ? own : { ...own, problems: [...own.problems, ...unknownPorts(service, pods)] };
  }
}

/** An API server gives a port once; what a file says may be otherwise, and then the first by name has it. */
function firstOfEachPort(all: readonly DesiredHealthCheck[]): {
  readonly checks: readonly DesiredHealthCheck[];
  readonly problems: readonly Problem[];
} {
  const checks: DesiredHealthCheck[] = [];
  const problems: Problem[] = [];
  const order = (a: DesiredHealthCheck, b: DesiredHealthCheck) =>
    a.port - b.port || compareText(a.namespace, b.namespace) || compareText(a.name, b.name);
  for (const check of [...all].sort(order)) {
    const winner = checks.at(-1);
    if (winner === undefined || winner.port !== check.port) {
      checks.push(check);
      continue;
    }
    problems.push({
      code: "SERVICE_ADDRESS_TAKEN",
      severity: "error",
      object: `Service ${check.namespace}/${check.name}`,
      field: "spec.healthCheckNodePort",
      message: `port ${check.port} answers for Service ${winner.namespace}/${winner.name} already`,
      remedy: "give the services different ports",
    });
  }
  return { checks, problems };
}

/** Each once. */
function sortedAddresses(addresses: readonly Address[]): readonly Address[] {
  return [...new Map(addresses.map((each) => [each.text, each])).values()].sort(compareAddresses);
}

/** The frontend of before where it is equal, so that who follows may compare by identity. */
function keepFrontend(candidate: Candidate, before: readonly Candidate[]): Candidate {
  const old = before.find(({ key }) => key === candidate.key);
  return old !== undefined && equalRows(old.frontend, candidate.frontend)
    ? { ...candidate, frontend: old.frontend }
    : candidate;
}

function unknownPorts(service: ServiceRow, pods: readonly PodRow[]): readonly Problem[] {
  if (pods.length === 0) return [];
  return service.ports.flatMap((port, i): readonly Problem[] => {
    if (typeof port.targetPort === "number" || pods.some((pod) => targetPort(pod, port) !== null)) return [];
    return [
      {
        code: "SERVICE_TARGET_PORT",
        severity: "warning",
        object: `Service ${service.namespace}/${service.name}`,
        field: `spec.ports[${i}].targetPort`,
        message: `none of the ${pods.length} selected pods has a ${port.protocol} port named ${port.targetPort}`,
        remedy: "name a container's port like this, or write its number here",
      },
    ];
  });
}

/** What of the nodes matters to services. */
type NodeFacts = Pick<Surroundings, "own" | "nodeOf" | "podCidrs" | "here" | "labels">;

const zoneLabel = "topology.kubernetes.io/zone";

const none: readonly string[] = [];

function nodeFacts(nodes: ReadonlyMap<string, NodeRow>, nodeName: string, unreachable: readonly string[]): NodeFacts {
  const nodeOf = new Map<string, string>();
  const sorted = [...nodes.values()].sort((a, b) => compareText(b.name, a.name));
  for (const { name, addresses } of sorted) for (const { text } of addresses) nodeOf.set(text, name);
  const { addresses = [], labels = {} } = nodes.get(nodeName) ?? {};
  return {
    own: addresses,
    nodeOf,
    podCidrs: new PodCidrs(sorted),
    here: { node: nodeName, zone: labels[zoneLabel] ?? null, unreachable },
    labels: labelMap(labels),
  };
}

function equalFacts(left: NodeFacts, right: NodeFacts): boolean {
  if (left === right) return true;
  const same = equalRows(left.own, right.own) && equalRows(left.here, right.here);
  const sameMaps = equalMaps(left.nodeOf, right.nodeOf) && equalMaps(left.labels, right.labels);
  return same && sameMaps && left.podCidrs.equals(right.podCidrs);
}

function equalMaps(left: ReadonlyMap<string, string>, right: ReadonlyMap<string, string>): boolean {
  return left.size === right.size && [...left].every(([key, value]) => right.get(key) === value);
}

function compareProblems(left: Problem, right: Problem): number {
  return (
    compareText(left.object, right.object) ||
    compareText(left.field, right.field) ||
    compareText(left.message, right.message)
  );
}
