/** Which pod CIDRs this node should reach, and which it does: through whom, on what device, who wrote the route, and why one is missing. */
import type { RouteDto, StatusDto } from "../api/dto.ts";
import { isTunnelDevice } from "../lib/kube-router.ts";
import { routeFinder, routeMtu } from "../model/route-lookup.ts";
import type { NodeRow, RouteFactRow, UplinkRow } from "../model/tables.ts";
import { type BgpKnowledge, type BgpTables, whatIsOdd, whyMissing } from "./route-reasons.ts";

/** Names of rtnetlink's protocols (linux/rtnetlink.h, /etc/iproute2/rt_protos); 17 is kube-router's, 158 ours. */
const origins: Readonly<Record<number, string>> = {
  1: "icmp redirect",
  2: "kernel",
  3: "boot",
  4: "static",
  9: "router advertisement",
  11: "zebra",
  12: "bgp (bird)",
  13: "dhcp",
  16: "dhcp",
  17: "bgp (kube-router)",
  158: "tandem",
  186: "bgp (routing daemon)",
  187: "isis",
  188: "ospf",
  189: "rip",
  192: "eigrp",
};

export const originOf = (protocol: number): string => origins[protocol] ?? `protocol ${protocol}`;

export interface RouteTables extends Omit<BgpTables, "hasOverlay" | "nodeAt"> {
  readonly nodes: ReadonlyMap<string, NodeRow>;
  /** By prefix text. */
  readonly routes: ReadonlyMap<string, RouteFactRow>;
  /** By ifindex. */
  readonly uplinks: ReadonlyMap<string, UplinkRow>;
}

/** One row per pod CIDR of every node, the own ones marked local; sorted by node. */
export function routeReport(tables: RouteTables, nodeName: string, bgp: BgpKnowledge): readonly RouteDto[] {
  const bestRoute = routeFinder(tables.routes);
  const { bgpPeers, bgpPaths, deviceAddresses } = tables;
  const nodeAt = nodesByAddress(tables.nodes);
  const facts = { bgpPeers, bgpPaths, deviceAddresses, hasOverlay: overlayIn(tables.routes), nodeAt };
  return [...tables.nodes.values()]
    .sort((a, b) => compareText(a.name, b.name))
    .flatMap((node) =>
      node.podCidrs.map((cidr): RouteDto => {
        const about = { node: node.name, podCidr: cidr.text, local: node.name === nodeName };
        if (about.local) return { ...about, ...absent, why: null };
        const route = bestRoute(cidr);
        // A route that says "unreachable" is one that leads nowhere.
        const present = route !== undefined && route.nextHops.length > 0;
        const why = present ? whatIsOdd(cidr, node, route, facts, bgp) : whyMissing(cidr, node, route, facts, bgp);
        return { ...about, ...(route === undefined ? absent : routeOf(route, node, tables.uplinks)), why };
      }),
    );
}

/** @returns the name of the node that has an address */
export function nodesByAddress(nodes: RouteTables["nodes"]): BgpTables["nodeAt"] {
  const names = new Map(
    [...nodes.values()].flatMap(({ name, addresses }) => addresses.map(({ text }) => [text, name])),
  );
  return (address) => names.get(address);
}

/** Looked for once, however many routes are missing. */
function overlayIn(routes: RouteTables["routes"]): () => boolean {
  let known: boolean | null = null;
  return () => {
    known ??= [...routes.values()].some(({ nextHops }) => nextHops.some(({ device }) => isTunnelDevice(device)));
    return known;
  };
}

const absent = { present: false, via: [], device: [], origin: "", since: null, mtu: null, kind: null } as const;

/** Nodes differ in names by a number at their end. */
const { compare: compareText } = new Intl.Collator("en", { numeric: true });

function routeOf(
  route: RouteFactRow,
  node: NodeRow,
  uplinks: RouteTables["uplinks"],
): Omit<RouteDto, "node" | "podCidr" | "local" | "why"> {
  const { nextHops, protocol, since } = route;
  return {
    present: nextHops.length > 0,
    via: nextHops.flatMap(({ gateway }) => (gateway === null ? [] : [gateway.text])),
    device: nextHops.map(({ device }) => device),
    origin: originOf(protocol),
    since: new Date(since).toISOString(),
    mtu: routeMtu(route, (ifindex) => uplinks.get(String(ifindex))?.mtu),
    kind: kindOf(nextHops, node, uplinks),
  };
}

/** kube-router's tunnels are called tun-… and begin at the IP header; of several next hops the farthest way counts. */
function kindOf(
  nextHops: RouteFactRow["nextHops"],
  { addresses }: NodeRow,
  uplinks: RouteTables["uplinks"],
): RouteDto["kind"] {
  if (nextHops.length === 0) return null;
  const own = new Set(addresses.map(({ text }) => text));
  const isTunnel = (hop: (typeof nextHops)[number]) =>
    hop.gateway === null && (isTunnelDevice(hop.device) || uplinks.get(String(hop.ifindex))?.l3 === true);
  if (nextHops.some(isTunnel)) return "tunnel";
  return nextHops.every(({ gateway }) => gateway === null || own.has(gateway.text)) ? "direct" : "fabric";
}

/** How many pod CIDRs of other nodes can be reached. @param families those that pods have here */
export function routeSummary(rows: readonly RouteDto[], families: ReadonlySet<4 | 6>): StatusDto["routes"] {
  const expected = rows.filter(({ local, podCidr }) => !local && families.has(podCidr.includes(":") ? 6 : 4));
  const missing = expected.filter(({ present }) => !present);
  return {
    expected: expected.length,
    present: expected.length - missing.length,
    missing: missing.map(({ node, podCidr, why }) =>
      why === null || why.code === "unknown" ? `${podCidr} (${node})` : `${podCidr} (${node}: ${why.text})`,
    ),
  };
}
