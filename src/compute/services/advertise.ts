/**
 * Which service addresses this node should announce by BGP, and why not the others: an address is announced only where who comes to it is served,
 * so that the fabric has no way to a node that would let clients wait. Pure.
 */
import type { Steps } from "../../lib/turns.ts";
import { type Address, compareAddresses, parseAddress } from "../../model/ip.ts";
import { labelMap } from "../../model/labels.ts";
import type { TableSnapshot } from "../../model/store.ts";
import type { AdvertisedKind, BgpPeerRow, EndpointSliceRow, NodeRow, ServiceRow } from "../../model/tables.ts";
import type { DesiredFrontend } from "../desired.ts";
import { isServedOn } from "./candidates.ts";
import { endpointsOf } from "./explain.ts";

export interface AdvertiseSettings {
  readonly nodeName: string;
  /** annotated: services that say so; all: those that say nothing, too. */
  readonly mode: "off" | "annotated" | "all";
  /** Where a service does not name them. */
  readonly kinds: readonly AdvertisedKind[];
  /** Keys of taints with which the node announces nothing. */
  readonly drainTaints: readonly string[];
  /** node: the node's address; self: what the speaker puts in for each peer. */
  readonly nextHop: "node" | "self";
}

export type AdvertiseTables = Pick<TableSnapshot, "services" | "endpointSlices" | "pods" | "nodes">;

/** An address that some service has and that is not opted out. */
export interface DesiredAddress {
  readonly address: Address;
  readonly kind: AdvertisedKind;
  /** "namespace/name", sorted. */
  readonly services: readonly string[];
  /** null: it is not to be announced. */
  readonly path: DesiredPath | null;
  /** For people, in either case. */
  readonly why: string;
}

export interface DesiredPath {
  /** Unspecified: the speaker's own, for each peer the address of its session. */
  readonly nextHop: Address;
  /** The node's own address of that family. */
  readonly node: Address;
  /** "64512:100" and "64512:1:2". */
  readonly communities: readonly string[];
  readonly localPref: number | null;
  readonly prepend: number;
}

/** A label of nodes that load balancers leave out (KEP-1143). */
const excludeLabel = "node.kubernetes.io/exclude-from-external-load-balancers";

/** By address; sorted, each address once. Empty: the setting is off. All services are looked at, which takes a while where they are many. */
export function* desiredAddresses(
  tables: AdvertiseTables,
  frontends: readonly DesiredFrontend[],
  settings: AdvertiseSettings,
): Steps<readonly DesiredAddress[]> {
  if (settings.mode === "off") return [];
  const found = new Map<string, DesiredAddress>();
  // Tables that a newer version follows are not to be walked through in several turns.
  const services = [...tables.services].sort(([a], [b]) => (a < b ? -1 : 1));
  const slices = slicesByService(tables.endpointSlices);
  yield;
  const at = byAddress(frontends);
  yield;
  const node = tables.nodes.get(settings.nodeName);
  const blocked = whyNodeNot(node, settings);
  for (const [place, [key, service]] of services.entries()) {
    if (place % stepServices === stepServices - 1) yield;
    const kinds = kindsOf(service, settings);
    if (kinds.length === 0) continue;
    const ofService = { ...tables, endpointSlices: slices.get(key) ?? noSlices };
    for (const [kind, address] of addressesOf(service, kinds)) {
      const blocker =
        blocked ?? whyUnserved(key, service, kind, address, at.get(address.text) ?? [], ofService, settings.nodeName);
      const own = node?.addresses.find(({ family }) => family === address.family);
      add(found, { address, kind, key, service, own, nextHop: nextHopTo(own, settings), blocker });
    }
  }
  return [...found.values()].sort((a, b) => compareAddresses(a.address, b.address));
}

/** Services of one step: less than a millisecond. */
const stepServices = 64;

interface Candidate {
  readonly address: Address;
  readonly kind: AdvertisedKind;
  readonly key: string;
  readonly service: ServiceRow;
  readonly own: Address | undefined;
  readonly nextHop: Address | undefined;
  readonly blocker: string | null;
}

/** Of several services with one address the first that is served says how it is announced. */
function add(found: Map<string, DesiredAddress>, candidate: Candidate): void {
  const { address, kind, key, service, own, nextHop, blocker } = candidate;
  const known = found.get(address.text);
  const services = known === undefined ? [key] : [...new Set([...known.services, key])];
  if (known !== undefined && (known.path !== null || blocker !== null)) {
    found.set(address.text, { ...known, services });
    return;
  }
  const { communities = [], localPref = null, prepend = 0 } = service.advertise ?? {};
  if (blocker !== null || own === undefined || nextHop === undefined) {
    const why = blocker ?? `this node has no IPv${address.family} address to be the next hop`;
    found.set(address.text, { address, kind, services, path: null, why });
    return;
  }
  const why =
    kind !== "ClusterIP" && service.externalTrafficPolicy === "Local"
      ? "a backend on this node is ready"
      : "backends are ready, and any node takes clients to them";
  found.set(address.text, {
    address,
    kind,
    services,
    path: { nextHop, node: own, communities, localPref, prepend },
    why,
  });
}

/** GoBGP replaces an unspecified next hop of a path of its own by the address that the session with the peer has here. */
const unspecified = { 4: parseAddress("0.0.0.0"), 6: parseAddress("::") } as const;

function nextHopTo(own: Address | undefined, settings: AdvertiseSettings): Address | undefined {
  return settings.nextHop === "self" && own !== undefined ? (unspecified[own.family] ?? own) : own;
}

/**
 * As it can be announced over these sessions: where all are of the other family, the address that a session has here is one of that family, which
 * routers take for an error and drop the path. The node's own is right there on each link where it has but one.
 */
export function pathOver(path: DesiredPath, peers: Iterable<Pick<BgpPeerRow, "address">>): DesiredPath {
  const { family, text } = path.nextHop;
  if (text !== unspecified[family]?.text) return path;
  const families = new Set([...peers].map(({ address }) => address.family));
  return families.size === 0 || families.has(family) ? path : { ...path, nextHop: path.node };
}

function kindsOf({ type, clusterIps, advertise }: ServiceRow, settings: AdvertiseSettings): readonly AdvertisedKind[] {
  // Headless ones have no address of their own.
  if (type === "ExternalName" || clusterIps.length === 0) return [];
  const { kinds } = advertise ?? {};
  if (kinds === undefined) return settings.mode === "all" ? settings.kinds : [];
  return kinds === true ? settings.kinds : kinds;
}

function whyNodeNot(node: NodeRow | undefined, { nodeName, drainTaints }: AdvertiseSettings): string | null {
  if (node === undefined) return `there is no Node ${nodeName}`;
  const taint = node.taints?.find((key) => drainTaints.includes(key));
  if (taint !== undefined) return `this node is being drained: it has the taint ${taint}`;
  return excludeLabel in node.labels ? `this node has the label ${excludeLabel}` : null;
}

function whyUnserved(
  key: string,
  service: ServiceRow,
  kind: AdvertisedKind,
  address: Address,
  there: readonly DesiredFrontend[],
  tables: AdvertiseTables,
  nodeName: string,
): string | null {
  if (!isServedOn(service, labelMap(tables.nodes.get(nodeName)?.labels ?? {}))) return "it is for other nodes";
  const own = there.filter((frontend) => frontend.service.startsWith(`${key}:`));
  if (own.length === 0) return "this node does not serve it: its problems say why";
  if (kind !== "ClusterIP" && service.externalTrafficPolicy === "Local") {
    // One that is terminating still serves who comes; that nobody new comes is what the withdrawal is for.
    const isReady = service.ports.some((port) =>
      endpointsOf(tables, service, port, address.family).some(
        ({ node, state }) => node === nodeName && state === "ready",
      ),
    );
    return isReady ? null : "externalTrafficPolicy is Local, and no backend on this node is ready";
  }
  if (own.some(({ outside = [] }) => outside.length > 0)) return null;
  if (own.every(({ backends }) => backends.length === 0)) return "no backend is ready";
  return kind === "ClusterIP"
    ? "cluster addresses are not for clients outside: the setting externalClusterIps is false"
    : "it is not served to clients outside";
}

function addressesOf(
  { clusterIps, externalIps, loadBalancerIps }: ServiceRow,
  kinds: readonly AdvertisedKind[],
): readonly (readonly [kind: AdvertisedKind, address: Address])[] {
  const all = { ClusterIP: clusterIps, ExternalIPs: externalIps, LoadBalancer: loadBalancerIps };
  return kinds.flatMap((kind) => all[kind].map((address) => [kind, address] as const));
}

function byAddress(frontends: readonly DesiredFrontend[]): ReadonlyMap<string, readonly DesiredFrontend[]> {
  const at = new Map<string, DesiredFrontend[]>();
  for (const frontend of frontends) {
    const known = at.get(frontend.address.text);
    if (known === undefined) at.set(frontend.address.text, [frontend]);
    else known.push(frontend);
  }
  return at;
}

const noSlices: ReadonlyMap<string, EndpointSliceRow> = new Map();

function slicesByService(
  slices: ReadonlyMap<string, EndpointSliceRow>,
): ReadonlyMap<string, ReadonlyMap<string, EndpointSliceRow>> {
  const found = new Map<string, Map<string, EndpointSliceRow>>();
  for (const [name, slice] of slices) {
    const key = `${slice.namespace}/${slice.service}`;
    const known = found.get(key);
    if (known === undefined) found.set(key, new Map([[name, slice]]));
    else known.set(name, slice);
  }
  return found;
}
