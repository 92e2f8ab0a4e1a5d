/** What rules are resolved against: everything that the peers and ports of a policy can refer to, as it is at the moment. */
import type { NamePattern } from "../../model/dns-names.ts";
import {
  compareText,
  type LabelMap,
  labelMap,
  makeSelector,
  requirement,
  type Selector,
  selects,
} from "../../model/labels.ts";
import type { CidrGroupRow, NodeRow, ServiceRow } from "../../model/tables.ts";
import { clusterKey, clusterName, namespaceKey } from "../identity/labels.ts";
import { hostBlock } from "./host-block.ts";
import type { PeerIndex } from "./peer-index.ts";
import type { Block, Peer } from "./rules.ts";
import type { SelectorIndex } from "./selector-index.ts";
import type { ServiceEndpoints } from "./service-endpoints.ts";

/** A node as rules select it. */
export interface NodePeer {
  readonly labels: LabelMap;
  /** Its addresses. They have the identity of all nodes, so they are named one by one. */
  readonly blocks: readonly Block[];
}

/** What rules ask. Each part is the same object as long as it says the same, so that what was made from it stays (`reads.ts`). */
export interface RuleSurroundings {
  readonly selectors: Pick<SelectorIndex, "match" | "all">;
  readonly peers: Pick<PeerIndex, "podsOf">;
  /** The endpoints of default/kubernetes, in or outside of the cluster. */
  readonly apiServer: readonly Block[];
  readonly services: ReadonlyMap<string, ServiceRow>;
  readonly endpoints: Pick<ServiceEndpoints, "blocks">;
  /** By name. */
  readonly groups: ReadonlyMap<string, CidrGroupRow>;
  /** All but the one that is computed for, in order of their names. */
  readonly nodes: readonly NodePeer[];
}

/** As they are at one moment: another one is another object. */
export interface Surroundings extends RuleSurroundings {
  /** Of `nextMoment`: no other surroundings have it. */
  readonly moment: number;
  readonly peers: Pick<PeerIndex, "podsOf" | "version">;
}

let moments = 0;

export function nextMoment(): number {
  return ++moments;
}

/** Peers of a rule, looked up: who is any of all this. */
export interface Peers {
  readonly any: boolean;
  /** Lists of identities, which may overlap. */
  readonly identities: readonly (readonly number[])[];
  readonly blocks: readonly Block[];
  /** Names of DNS, whatever they stand for at the moment; outside of the cluster only. Not set: none. */
  readonly names?: readonly NamePattern[];
}

export type ServicePeer = Extract<Peer, { readonly kind: "service" }>;

/** The services that the peer names, in order of their names. */
export function servicesOf(peer: ServicePeer, services: ReadonlyMap<string, ServiceRow>): readonly ServiceRow[] {
  if (peer.name !== null && peer.namespace !== null) {
    const service = services.get(`${peer.namespace}/${peer.name}`);
    return service === undefined ? [] : [service];
  }
  return [...services.values()]
    .filter(
      ({ namespace, name, labels }) =>
        (peer.namespace === null || peer.namespace === namespace) &&
        (peer.name === null || peer.name === name) &&
        selects(peer.selector, labelMap(labels)),
    )
    .sort((a, b) => compareText(a.namespace, b.namespace) || compareText(a.name, b.name));
}

/** The pods behind a service, ready or not; null where it has no selector and its EndpointSlices say who is. */
export function podsBehind({ namespace, selector }: ServiceRow): Selector | null {
  if (selector === null || Object.keys(selector).length === 0) return null;
  const labels = Object.entries(selector).map(([key, value]) => requirement(key, "In", [value]));
  return makeSelector([...labels, requirement(namespaceKey, "In", [namespace])]);
}

/** @param nodeName of the node that is computed for */
export function nodePeers(nodes: ReadonlyMap<string, NodeRow>, nodeName: string): readonly NodePeer[] {
  return [...nodes.values()]
    .filter(({ name }) => name !== nodeName)
    .sort((a, b) => compareText(a.name, b.name))
    .map(({ labels, addresses }) => ({
      labels: new Map([...labelMap(labels), [clusterKey, clusterName]]),
      blocks: addresses.map((address) => hostBlock(address, false)),
    }));
}
