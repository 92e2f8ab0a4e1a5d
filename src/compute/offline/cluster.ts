/**
 * A cluster of manifests, computed as its agents would: every pod of every node with its policy set, and who every address is. One
 * computation serves all nodes, as a set speaks of "the own node" and "other nodes" and never of a name.
 */
import { TandemError } from "../../lib/errors.ts";
import { normalName } from "../../model/dns-names.ts";
import { nameKey } from "../../model/name-key.ts";
import type { Address } from "../../model/ip.ts";
import { prefixContains } from "../../model/ip.ts";
import { compareText } from "../../model/labels.ts";
import type { Problem } from "../../model/status.ts";
import { TableStore, type TableSnapshot } from "../../model/store.ts";
import type { LocalEndpointRow, NameRow, PodRow, TableName } from "../../model/tables.ts";
import type { CompiledSet, DesiredState } from "../desired.ts";
import { takesPart } from "../identity/pods.ts";
import { identityNumbers, reservedIdentities } from "../identity/reserved.ts";
import {
  type Computation,
  type ComputationOptions,
  type ComputeResult,
  createComputation,
  type IdentityAllocator,
} from "../index.ts";
import { PolicyExplainer } from "./explainer.ts";

/** The tables that manifests fill. */
export type OfflineFacts = Pick<
  TableSnapshot,
  "namespaces" | "nodes" | "pods" | "services" | "endpointSlices" | "policies" | "cidrGroups"
>;

/** What names of DNS have given to clients. */
export type ResolvedNames = readonly { readonly name: string; readonly addresses: readonly Address[] }[];

/** What agents are set to, and what one of them remembers. */
export type ClusterSettings = Pick<
  ComputationOptions,
  "policyEnforcement" | "allowLockout" | "lastValid" | "namesPerEndpoint"
>;

/** How ends that are not there are told. */
export interface ClusterWords {
  /** "in the manifests" */
  readonly where: string;
  /** What to do about it. */
  readonly remedy: string;
}

/** What clusters of the same facts have in common: what one computed need not be computed again for the next. */
export interface Engine {
  readonly settings: ClusterSettings;
  readonly words: ClusterWords;
  readonly allocator: IdentityAllocator;
  /** Addresses of nodes beside those of their Node objects: address -> name of the node. */
  readonly nodeAddresses: ReadonlyMap<string, string>;
  /** By name of the node; "" is no node, as most sets are the same on all of them. */
  readonly computations: Map<string, Computation>;
}

/** Who has an address. */
export type Party =
  | { readonly kind: "pod"; readonly name: string; readonly address: Address; readonly pod: PodRow }
  | { readonly kind: "node"; readonly name: string; readonly address: Address; readonly node: string }
  /** Of the cluster's pod CIDRs, but no pod's. */
  | { readonly kind: "unmanaged"; readonly name: string; readonly address: Address }
  | { readonly kind: "outside"; readonly name: string; readonly address: Address };

export class OfflineCluster {
  readonly facts: OfflineFacts;
  readonly result: ComputeResult;
  readonly #tables: TableSnapshot;
  readonly #engine: Engine;
  readonly #pods = new Map<string, PodRow>();
  readonly #nodes = new Map<string, string>();
  readonly #identities: DesiredState["identities"];
  readonly #setOfPod: Map<string, CompiledSet>;
  /** Rules about nodes by labels never mean the pod's own: there each node's pods have sets of their own. */
  readonly #differsByNode: boolean;
  readonly #hasHostPolicies: boolean;
  readonly #setOfNode = new Map<string, CompiledSet | null>();
  readonly #labels: ReadonlyMap<number, readonly string[]>;
  #explainer: PolicyExplainer | null = null;

  /** @param tables with an endpoint for each pod whose set is certainly asked for; others are compiled when it is */
  constructor(facts: OfflineFacts, tables: TableSnapshot = tablesOf(facts), engine: Engine = newEngine(defaults)) {
    this.facts = facts;
    this.#tables = tables;
    this.#engine = engine;
    // No node is called so: which one is a pod's own is told when somebody asks.
    this.result = this.#compute("");
    const { desired, identities } = this.result;
    for (const node of [...facts.nodes.values()].sort((a, b) => compareText(b.name, a.name))) {
      for (const { text } of node.addresses) this.#nodes.set(text, node.name);
    }
    for (const [, pod] of [...facts.pods].sort(([a], [b]) => compareText(b, a))) {
      if (isLive(pod)) for (const { text } of pod.addresses) this.#pods.set(text, pod);
    }
    this.#identities = desired.identities;
    for (const [text, node] of engine.nodeAddresses) {
      if (!this.#nodes.has(text) && !this.#pods.has(text)) this.#nodes.set(text, node);
    }
    this.#differsByNode = mentions(facts, /"(from|to)Nodes"/);
    this.#setOfPod = this.#differsByNode ? this.#setsByNode() : new Map(setsOf(this.result));
    this.#hasHostPolicies = mentions(facts, /"nodeSelector"/);
    this.#labels = new Map(identities.map(({ id, labels }) => [id, labels]));
  }

  /** Nodes come before pods, pods before the outside, as in the kernel. */
  partyAt(address: Address): Party {
    const node = this.#nodes.get(address.text);
    if (node !== undefined) return { kind: "node", name: `node/${node}`, address, node };
    const pod = this.#pods.get(address.text);
    if (pod !== undefined) return { kind: "pod", name: podKey(pod), address, pod };
    const inside = this.result.desired.clusterPrefixes.some((prefix) => prefixContains(prefix, address));
    return { kind: inside ? "unmanaged" : "outside", name: address.text, address };
  }

  /** What the ipcache of a node says of the party. @param node from where it is seen */
  identityOf(party: Party, node: string): number {
    switch (party.kind) {
      case "node":
        return party.node === node ? identityNumbers.host : identityNumbers.remoteNode;
      case "pod":
        return this.#identities.get(party.address.text)?.identity ?? identityNumbers.unmanaged;
      case "unmanaged":
        return identityNumbers.unmanaged;
      case "outside":
        return party.address.family === 4 ? identityNumbers.worldIpv4 : identityNumbers.worldIpv6;
    }
  }

  /** "k8s:app=web", sorted. */
  labelsOf(identity: number): readonly string[] {
    return this.#labels.get(identity) ?? reservedIdentities.find(({ id }) => id === identity)?.labels ?? [];
  }

  /** Null: it is no pod that takes part. @param pod "namespace/name" */
  setOf(pod: string): CompiledSet | null {
    const known = this.#setOfPod.get(pod);
    if (known !== undefined) return known;
    const row = this.facts.pods.get(pod);
    if (row === undefined || !isLive(row) || this.#tables.localEndpoints.has(pod)) return null;
    const localEndpoints = new Map([[pod, endpointOf(row, 1)]]);
    const found = new Map(setsOf(this.#compute(this.#differsByNode ? row.node : "", localEndpoints))).get(pod);
    if (found !== undefined) this.#setOfPod.set(pod, found);
    return found ?? null;
  }

  get settings(): ClusterSettings {
    return this.#engine.settings;
  }

  get words(): ClusterWords {
    return this.#engine.words;
  }

  /** Of policies of nodes: what is kept open although they close it. */
  get lockoutProblems(): readonly Problem[] {
    return this.#hasHostPolicies ? this.explainer.lockoutProblems() : [];
  }

  /** Null: no policy selects the node. */
  setOfNode(node: string): CompiledSet | null {
    if (!this.#hasHostPolicies) return null;
    const known = this.#setOfNode.get(node);
    if (known !== undefined) return known;
    const { host, sets } = this.#compute(node, new Map()).desired;
    const set = host === undefined ? null : (sets.find(({ key }) => key === host.set) ?? null);
    this.#setOfNode.set(node, set);
    return set;
  }

  /** Pods that take part, in order of their names. */
  get livePods(): readonly PodRow[] {
    return [...this.facts.pods].sort(([a], [b]) => compareText(a, b)).flatMap(([, pod]) => (isLive(pod) ? [pod] : []));
  }

  get explainer(): PolicyExplainer {
    this.#explainer ??= new PolicyExplainer(this.#tables, this.#engine.allocator, this.#engine.settings);
    return this.#explainer;
  }

  /** Names of DNS that clients have got this address for. @param pod "namespace/name", whose own lookups count, too */
  namesOf({ text }: Address, pod: string | null): readonly string[] {
    return [...this.#tables.names.values()]
      .filter(({ endpoint }) => endpoint === undefined || endpoint === pod)
      .filter(({ addresses }) => addresses.some((address) => address.text === text))
      .map(({ name }) => name);
  }

  /** The same cluster when clients have learned these names, and no others. */
  withNames(resolved: ResolvedNames): OfflineCluster {
    const names = new Map<string, NameRow>();
    for (const { name: written, addresses } of resolved) {
      const name = normalName(written);
      const key = nameKey(null, name);
      names.set(key, { name, addresses: [...(names.get(key)?.addresses ?? []), ...addresses] });
    }
    return new OfflineCluster(this.facts, { ...this.#tables, names }, this.#engine);
  }

  #compute(node: string, localEndpoints: TableSnapshot["localEndpoints"] = this.#tables.localEndpoints): ComputeResult {
    const { allocator, computations, settings } = this.#engine;
    const computation =
      computations.get(node) ?? createComputation({ nodeName: node, identities: allocator, ...settings });
    computations.set(node, computation);
    return computation.compute({ ...this.#tables, localEndpoints });
  }

  #setsByNode(): Map<string, CompiledSet> {
    const nodeOf = new Map([...this.#tables.localEndpoints.keys()].map((pod) => [pod, this.facts.pods.get(pod)?.node]));
    const nodes = new Set([...nodeOf.values()].flatMap((node) => node ?? []));
    return new Map(
      [...nodes].flatMap((node) => setsOf(this.#compute(node)).filter(([pod]) => nodeOf.get(pod) === node)),
    );
  }
}

const defaults: ClusterSettings = { policyEnforcement: "default" };

/** A cluster of manifests as agents with these settings would see it. */
export function clusterOfManifests(facts: OfflineFacts, settings: Partial<ClusterSettings>): OfflineCluster {
  return new OfflineCluster(facts, tablesOf(facts), newEngine({ ...defaults, ...settings }));
}

function newEngine(settings: ClusterSettings): Engine {
  return {
    settings,
    words: { where: "in the manifests", remedy: "add its manifest" },
    allocator: countingAllocator(),
    nodeAddresses: new Map(),
    computations: new Map(),
  };
}

function setsOf({ desired }: ComputeResult): readonly (readonly [string, CompiledSet])[] {
  const sets = new Map(desired.sets.map((set) => [set.key, set]));
  return desired.endpoints.flatMap(({ row, set }): (readonly [string, CompiledSet])[] => {
    const found = set === null ? undefined : sets.get(set);
    return found === undefined ? [] : [[row.pod, found]];
  });
}

function mentions({ policies }: OfflineFacts, field: RegExp): boolean {
  return [...policies.values()].some(
    ({ kind, spec, specs }) => kind !== "NetworkPolicy" && field.test(textOf([spec, specs])),
  );
}

/** Data that refers to itself has no text: such a policy is refused anyway. */
function textOf(value: unknown): string {
  try {
    return JSON.stringify(value) ?? "";
  } catch {
    return "";
  }
}

export function podKey({ namespace, name }: PodRow): string {
  return `${namespace}/${name}`;
}

/** It has an address of its own and has not ended. */
export function isLive(pod: PodRow): boolean {
  return takesPart(pod) && pod.addresses.length > 0;
}

function tablesOf(facts: OfflineFacts): TableSnapshot {
  const store = new TableStore();
  for (const table of Object.keys(facts) as (keyof OfflineFacts)[]) {
    for (const [key, row] of facts[table]) store.upsert(table as TableName, key, row);
  }
  let id = 0;
  for (const pod of facts.pods.values()) {
    if (isLive(pod)) store.upsert("localEndpoints", podKey(pod), endpointOf(pod, ++id));
  }
  return store.snapshot();
}

/** A pod as a CNI plugin would have made it; compute reads its name and addresses only. */
function endpointOf(pod: PodRow, id: number): LocalEndpointRow {
  return {
    pod: podKey(pod),
    uid: pod.uid === "" ? null : pod.uid,
    containerId: podKey(pod),
    id,
    ifindex: 0,
    ifname: "",
    netns: "",
    ipv4: pod.addresses.find(({ family }) => family === 4) ?? null,
    ipv6: pod.addresses.find(({ family }) => family === 6) ?? null,
    podMac: "",
    hostMac: "",
    policyAuditMode: null,
  };
}

/** Numbers in the order of asking. */
function countingAllocator(): IdentityAllocator {
  const numbers = new Map<string, number>();
  return {
    numberFor: (key) => {
      const known = numbers.get(key);
      if (known !== undefined) return known;
      const number = 256 + numbers.size;
      if (number > 65_535) {
        throw new TandemError({
          code: "IDENTITIES_EXHAUSTED",
          object: "identities",
          message: "the pods have more than 65280 different sets of labels",
          remedy: "leave out pods that do not matter here",
        });
      }
      numbers.set(key, number);
      return number;
    },
  };
}
