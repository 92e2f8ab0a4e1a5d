/** Which pod CIDRs this node should reach, and which it does: through whom, on what device, and who wrote the route. */
import type { RouteDto } from "../api/dto.ts";
import { type Prefix, prefixContainsPrefix } from "../model/ip.ts";
import type { NodeRow, RouteFactRow } from "../model/tables.ts";

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

/** One row per pod CIDR of every node, the own ones marked local; sorted by node. */
export function routeReport(
  nodes: ReadonlyMap<string, NodeRow>,
  routes: ReadonlyMap<string, RouteFactRow>,
  nodeName: string,
): readonly RouteDto[] {
  const facts = [...routes.values()];
  return [...nodes.values()]
    .sort((a, b) => a.name.localeCompare(b.name))
    .flatMap((node) => node.podCidrs.map((cidr) => routeRow(node.name, cidr, node.name === nodeName, facts)));
}

function routeRow(node: string, cidr: Prefix, local: boolean, facts: readonly RouteFactRow[]): RouteDto {
  const route = local ? undefined : bestRoute(cidr, facts);
  return {
    node,
    podCidr: cidr.text,
    present: route !== undefined,
    local,
    via: route?.nextHops.flatMap(({ gateway }) => (gateway === null ? [] : [gateway.text])) ?? [],
    device: route?.nextHops.map(({ device }) => device) ?? [],
    origin: route === undefined ? "" : originOf(route.protocol),
    since: route === undefined ? null : new Date(route.since).toISOString(),
    mtu: route?.mtu ?? null,
  };
}

/** The longest prefix that covers the CIDR, then the lowest metric. A default route is not a route to pods. */
function bestRoute(cidr: Prefix, facts: readonly RouteFactRow[]): RouteFactRow | undefined {
  return facts
    .filter(
      ({ destination, nextHops }) =>
        destination.length > 0 && nextHops.length > 0 && prefixContainsPrefix(destination, cidr),
    )
    .sort((a, b) => b.destination.length - a.destination.length || a.metric - b.metric)[0];
}
