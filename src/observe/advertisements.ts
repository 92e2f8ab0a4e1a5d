/**
 * Who brings clients outside to a service's address, as BGP on this node tells it, and whether they are served there: an address that is announced from
 * where nobody answers is a black hole that no single part of the pairing sees. kube-router counts endpoints whatever their state, and announces
 * cluster addresses when told to, whether or not they are for clients outside. Pure.
 */
import type { ServiceAdvertisementDto } from "../api/dto.ts";
import type { DesiredFrontend } from "../compute/desired.ts";
import { type EndpointTables, endpointsOf } from "../compute/services/explain.ts";
import type { Steps } from "../lib/turns.ts";
import type { Address } from "../model/ip.ts";
import type { Problem } from "../model/status.ts";
import type { BgpPathRow, ServiceRow } from "../model/tables.ts";
import { announcerOf, pathToAddress } from "./announcer.ts";
import type { BgpKnowledge } from "./route-reasons.ts";
import { frontendType } from "./services.ts";
import { protocolName } from "./text.ts";

export interface AdvertisementTables extends EndpointTables {
  /** By prefix text. */
  readonly bgpPaths: ReadonlyMap<string, BgpPathRow>;
  readonly services: ReadonlyMap<string, ServiceRow>;
}

export interface AdvertisementView {
  readonly nodeName: string;
  readonly bgp: BgpKnowledge["state"];
}

/** All of this node, by the text of their address: another service may have what one asks for. */
export type FrontendsAt = ReadonlyMap<string, readonly DesiredFrontend[]>;

export function frontendsByAddress(frontends: readonly DesiredFrontend[]): FrontendsAt {
  const at = new Map<string, DesiredFrontend[]>();
  for (const frontend of frontends) {
    const known = at.get(frontend.address.text);
    if (known === undefined) at.set(frontend.address.text, [frontend]);
    else known.push(frontend);
  }
  return at;
}

/**
 * The addresses of one service that are not its node ports.
 * @param key "namespace/name" of it
 */
export function advertisementReport(
  key: string,
  service: ServiceRow,
  frontends: FrontendsAt,
  tables: AdvertisementTables,
  { nodeName, bgp }: AdvertisementView,
): readonly ServiceAdvertisementDto[] {
  const found = new Map<string, ServiceAdvertisementDto>();
  for (const [type, addresses] of addressesOf(service)) {
    for (const address of addresses) {
      if (found.has(address.text)) continue;
      const path = pathToAddress(address, tables.bgpPaths);
      const by = announcerOf(address, tables.bgpPaths, tables.nodes, nodeName);
      const there = frontends.get(address.text) ?? [];
      const unserved = by === null ? [] : unservedPorts({ key, service, address, by }, there, tables, nodeName);
      const none = bgp === "synced" ? "none" : "unknown";
      const state = path === undefined ? none : path.peer === null ? "own" : "learned";
      found.set(address.text, { address: address.text, type, path: state, by, unserved });
    }
  }
  return [...found.values()];
}

/**
 * What this node announces and does not serve, while BGP is known: what others announce is for them to say. All that is announced is looked at, which
 * takes a while where it is much.
 */
export function* advertisementProblems(
  frontends: readonly DesiredFrontend[],
  tables: AdvertisementTables,
  view: AdvertisementView,
): Steps<readonly Problem[]> {
  if (view.bgp !== "synced") return [];
  const own = new Set<string>();
  for (const { peer, prefix } of tables.bgpPaths.values()) {
    if (peer === null && prefix.length === prefix.address.bytes.length * 8) own.add(prefix.address.text);
  }
  if (own.size === 0) return [];
  const problems: Problem[] = [];
  // Tables that a newer version follows are not to be walked through in several turns.
  const services = [...tables.services];
  yield;
  const at = frontendsByAddress(frontends);
  yield;
  for (const [place, [key, service]] of services.entries()) {
    if (place % stepServices === stepServices - 1) yield;
    // Headless ones are announced by nobody.
    if (service.type === "ExternalName" || service.clusterIps.length === 0) continue;
    if (!addressesOf(service).some(([, addresses]) => addresses.some(({ text }) => own.has(text)))) continue;
    for (const row of advertisementReport(key, service, at, tables, view)) {
      if (row.path === "own" && row.unserved.length > 0)
        problems.push(problemOf(key, service, row, at.get(row.address) ?? [], view));
    }
  }
  return problems;
}

/** Services of one step: less than a millisecond. */
const stepServices = 64;

function problemOf(
  key: string,
  service: ServiceRow,
  { address, type, unserved }: ServiceAdvertisementDto,
  frontends: readonly DesiredFrontend[],
  { nodeName }: AdvertisementView,
): Problem {
  const [why, remedy] = whyUnserved(type, service, frontends);
  return {
    code: "SERVICE_ADVERTISED_UNSERVED",
    severity: "warning",
    object: `Service ${key}`,
    field: "",
    message: `${nodeName} announces ${address} by BGP and does not serve ${unserved.join(", ")} there: ${why}`,
    remedy,
  };
}

function whyUnserved(
  type: string,
  { externalTrafficPolicy, nodes }: ServiceRow,
  frontends: readonly DesiredFrontend[],
): readonly [why: string, remedy: string] {
  if (frontends.length === 0 && nodes !== undefined) {
    const remedy = "have it announced by those alone (annotation tandem.io/advertise instead of kube-router's flags)";
    return ["the service is for other nodes (service.cilium.io/node-selector)", remedy];
  }
  if (frontends.length === 0) {
    return ["this node has no such address of a service", "its other problems say why: tandem service get"];
  }
  if (type === "ClusterIP" && frontends.some(({ outside, backends }) => outside === undefined && backends.length > 0)) {
    return [
      "a cluster address is not for clients outside",
      "set externalClusterIps to true, or let kube-router not announce it (--advertise-cluster-ip, annotation kube-router.io/service.advertise.clusterip)",
    ];
  }
  if (type !== "ClusterIP" && externalTrafficPolicy === "Local") {
    return [
      "externalTrafficPolicy is Local, and no backend on this node is ready",
      "kube-router announces it for endpoints that are not ready, too: make those of this node ready, or use externalTrafficPolicy Cluster",
    ];
  }
  return ["no backend is ready", "see its endpoints: tandem service get"];
}

interface Announced {
  readonly key: string;
  readonly service: ServiceRow;
  readonly address: Address;
  readonly by: string;
}

/** Ports ("80/TCP") at which a client that comes to the announcer gets no answer. */
function unservedPorts(
  { key, service, address, by }: Announced,
  there: readonly DesiredFrontend[],
  tables: AdvertisementTables,
  nodeName: string,
): readonly string[] {
  return service.ports.flatMap((port) => {
    const frontend = there.find((each) => each.port === port.port && protocolName(each.protocol) === port.protocol);
    const text = `${port.port}/${port.protocol}`;
    if (frontend?.outside === undefined) return [text];
    const isLocal =
      frontendType(frontend, tables.services) !== "ClusterIP" && service.externalTrafficPolicy === "Local";
    // Of another service that has the same address: it is served, in whatever way.
    const isOwn = frontend.service === `${key}:${port.port}`;
    if (!isLocal || !isOwn || by === nodeName) return frontend.outside.length > 0 ? [] : [text];
    // Where the fabric is the next hop it is not known which nodes are behind.
    if (!tables.nodes.has(by)) return [];
    const endpoints = endpointsOf(tables, service, port, address.family);
    return endpoints.some(({ node, state }) => node === by && state !== "unusable") ? [] : [text];
  });
}

/** In the order in which a kind wins where one address is of several. */
function addressesOf(service: ServiceRow): readonly (readonly [type: string, addresses: readonly Address[]])[] {
  return [
    ["ClusterIP", service.clusterIps],
    ["ExternalIPs", service.externalIps],
    ["LoadBalancer", service.loadBalancerIps],
  ];
}
