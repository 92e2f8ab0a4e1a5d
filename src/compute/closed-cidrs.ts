/**
 * Which pod CIDRs of this node are closed (`datapath/closing-routes.ts`): those that cover none of its neighbours. A CIDR inside of the subnet of an uplink
 * is longer than the route on the link, so that closing it would cut off the nodes and routers in it, and with them BGP's sessions. Pure.
 */
import { type Address, type Prefix, prefixContains } from "../model/ip.ts";
import { compareText } from "../model/labels.ts";
import type { Problem } from "../model/status.ts";
import type { NodeRow, RouteFactRow, UplinkRow } from "../model/tables.ts";

export interface ClosedCidrs {
  /** undefined: this node is not known. */
  readonly prefixes: readonly Prefix[] | undefined;
  readonly problems: readonly Problem[];
}

interface Neighbor {
  readonly address: Address;
  readonly name: string;
}

/** How many neighbours a message names. */
const named = 3;

export function closedCidrs(
  nodeName: string,
  nodes: ReadonlyMap<string, NodeRow>,
  routes: ReadonlyMap<string, RouteFactRow>,
  uplinks: ReadonlyMap<string, Pick<UplinkRow, "ifindex">>,
): ClosedCidrs {
  const own = nodes.get(nodeName);
  if (own === undefined) return { prefixes: undefined, problems: none };
  const devices = new Set([...uplinks.values()].map(({ ifindex }) => ifindex));
  const neighbors = neighborsOf(own, nodes, routes, devices);
  const covered = own.podCidrs.map((cidr) => neighbors.filter(({ address }) => prefixContains(cidr, address)));
  if (covered.every(({ length }) => length === 0)) return { prefixes: own.podCidrs, problems: none };
  return {
    prefixes: own.podCidrs.filter((_, at) => covered[at]?.length === 0),
    problems: own.podCidrs.flatMap((cidr, at) => {
      const hidden = covered[at] ?? [];
      return hidden.length === 0 ? [] : [problem(nodeName, cidr, hidden)];
    }),
  };
}

const none: readonly Problem[] = [];

/**
 * Other nodes, and routers that routes lead through on an uplink (a next hop behind another device is a pod, perhaps); each address once, sorted. Own
 * addresses are asked for before any route.
 */
function neighborsOf(
  own: NodeRow,
  nodes: ReadonlyMap<string, NodeRow>,
  routes: ReadonlyMap<string, RouteFactRow>,
  uplinks: ReadonlySet<number>,
): readonly Neighbor[] {
  const found = new Map<string, Neighbor>();
  for (const { name, addresses } of nodes.values()) {
    if (name === own.name) continue;
    for (const address of addresses) found.set(address.text, { address, name: `Node ${name}` });
  }
  for (const { nextHops } of routes.values()) {
    for (const { gateway, ifindex } of nextHops) {
      if (gateway !== null && uplinks.has(ifindex) && !found.has(gateway.text))
        found.set(gateway.text, { address: gateway, name: "a next hop of routes" });
    }
  }
  for (const { text } of own.addresses) found.delete(text);
  return [...found.values()].sort((a, b) => compareText(a.address.text, b.address.text));
}

function problem(nodeName: string, cidr: Prefix, hidden: readonly Neighbor[]): Problem {
  const names = hidden.slice(0, named).map(({ address, name }) => `${address.text} (${name})`);
  const more = hidden.length > named ? ` and ${hidden.length - named} more` : "";
  return {
    code: "POD_CIDR_NOT_CLOSED",
    severity: "warning",
    object: `Node ${nodeName}`,
    field: "spec.podCIDRs",
    message: `${cidr.text} covers ${names.join(", ")}${more}: it is not closed, so that these are reached, and packets to addresses of it that no pod has may circle`,
    remedy:
      "let pods have addresses that no node and no router has: the cluster's pod CIDR (--cluster-cidr) must not cover them",
  };
}
