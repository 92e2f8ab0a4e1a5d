/**
 * What is wrong with pod CIDRs and kube-router's routes as a whole: two nodes with one pod CIDR, a pod CIDR that covers a node's own address, and routes
 * that kube-router left in the kernel, which no row of a node tells because the node is gone. Pure.
 */
import { type Address, makePrefix, type Prefix, prefixContains } from "../model/ip.ts";
import { kubeRouterProtocol } from "../lib/kube-router.ts";
import type { Problem } from "../model/status.ts";
import type { BgpPathRow, NodeRow, RouteFactRow } from "../model/tables.ts";

/** Of one kind, told one by one; the last of them tells how many more there are. */
const told = 20;

type Nodes = ReadonlyMap<string, NodeRow>;

/** Pod CIDRs that are not one node's alone. */
export function podCidrProblems(nodes: Nodes): readonly Problem[] {
  const holders = new Map<string, { readonly cidr: Prefix; readonly node: string }>();
  const problems: Problem[] = [];
  // In the order of names: the same is told whatever came first.
  const sorted = [...nodes.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const { name, podCidrs } of sorted) {
    for (const cidr of podCidrs) {
      const other = holders.get(cidr.text);
      if (other === undefined) holders.set(cidr.text, { cidr, node: name });
      else if (other.node !== name) problems.push(overlap(name, cidr, other.node, other.cidr));
    }
  }
  const lengths = lengthsOf([...holders.values()].map(({ cidr }) => cidr));
  const holderOf = (address: Address, shorterThan: number) => {
    for (const length of lengths[address.family]) {
      const holder = length < shorterThan ? holders.get(makePrefix(address, length).text) : undefined;
      if (holder !== undefined) return holder;
    }
    return undefined;
  };
  for (const { cidr, node } of holders.values()) {
    const other = holderOf(cidr.address, cidr.length);
    if (other !== undefined && other.node !== node) problems.push(overlap(node, cidr, other.node, other.cidr));
  }
  for (const { name, addresses } of sorted) {
    for (const address of addresses) {
      const holder = holderOf(address, Number.POSITIVE_INFINITY);
      if (holder !== undefined) problems.push(covered(name, address, holder.node, holder.cidr));
    }
  }
  return bounded(problems);
}

/**
 * kube-router's routes that BGP has no path to any more. It writes none without a path and takes none away that it did not see withdrawn.
 * @param bgpPaths all best paths: nothing is told where only some are known
 */
export function leftOverRoutes(
  routes: ReadonlyMap<string, RouteFactRow>,
  bgpPaths: ReadonlyMap<string, BgpPathRow>,
  nodes: Nodes,
): readonly Problem[] {
  const left = [...routes.values()].filter(
    ({ protocol, destination }) => protocol === kubeRouterProtocol && !bgpPaths.has(destination.text),
  );
  if (left.length === 0) return [];
  const holders = new Map(
    [...nodes.values()].flatMap(({ name, podCidrs }) => podCidrs.map(({ text }) => [text, name])),
  );
  return bounded(
    left
      .sort((a, b) => (a.destination.text < b.destination.text ? -1 : 1))
      .map(({ destination: { text } }): Problem => {
        const holder = holders.get(text);
        const whose = holder === undefined ? "no node has this pod CIDR" : `it is the pod CIDR of Node ${holder}`;
        return {
          code: "ROUTE_LEFT_OVER",
          severity: "warning",
          object: `Route ${text}`,
          field: "",
          message: `kube-router's route to ${text} is in the kernel, and BGP has no such path: ${whose}`,
          remedy:
            holder === undefined
              ? `kube-router never takes it away, for it was down when the node went: ip route del ${text} proto 17, or the agent's setting removeStaleRoutes`
              : `it works as long as the node is there; look at BGP on ${holder}, and then: ip route del ${text} proto 17`,
        };
      }),
  );
}

/**
 * Of the routes that are left over those that can only be of a node that is gone: as long as the cluster's pod CIDRs are, and touching neither one of
 * those nor an address of a node.
 */
export function staleRoutes(
  routes: ReadonlyMap<string, RouteFactRow>,
  bgpPaths: ReadonlyMap<string, BgpPathRow>,
  nodes: Nodes,
): readonly RouteFactRow[] {
  const left = [...routes.values()].filter(
    ({ protocol, destination }) => protocol === kubeRouterProtocol && !bgpPaths.has(destination.text),
  );
  if (left.length === 0) return [];
  const cidrs = [...nodes.values()].flatMap(({ podCidrs }) => podCidrs);
  const addresses = [...nodes.values()].flatMap((node) => node.addresses);
  const lengths = lengthsOf(cidrs);
  return left.filter(
    ({ destination }) =>
      lengths[destination.family].includes(destination.length) &&
      !cidrs.some((cidr) => prefixContains(cidr, destination.address) || prefixContains(destination, cidr.address)) &&
      !addresses.some((address) => prefixContains(destination, address)),
  );
}

/**
 * A default route that kube-router took from BGP, in place of whatever the node had: since 1.3.1 it rejects those. It is no route to pods, and what leaves
 * by it is masqueraded as ever; but the whole node goes where a peer says. Those of other routing daemons are somebody's intention.
 */
export function bgpDefaultRoutes(
  routes: ReadonlyMap<string, RouteFactRow>,
  bgpPaths: ReadonlyMap<string, BgpPathRow>,
): readonly Problem[] {
  return ["0.0.0.0/0", "::/0"].flatMap((text): readonly Problem[] => {
    const route = routes.get(text);
    if (route?.protocol !== kubeRouterProtocol) return [];
    const via = route.nextHops.map(({ gateway, device }) => gateway?.text ?? device).join(", ");
    const peer = bgpPaths.get(text)?.peer?.text;
    const who = peer === undefined ? "BGP" : `BGP peer ${peer}`;
    return [
      {
        code: "BGP_DEFAULT_ROUTE",
        severity: "warning",
        object: `Route ${text}`,
        field: "",
        message: `kube-router took the default route of this node from ${who}, via ${via}: all that has no other route goes there, and the node's own default route is gone`,
        remedy: `update kube-router (1.3.1 and newer reject default routes), or let ${peer ?? "the peer"} not announce one; then write the node's own again: ip route replace default via …`,
      },
    ];
  });
}

function overlap(node: string, cidr: Prefix, otherNode: string, other: Prefix): Problem {
  const how = cidr.text === other.text ? "is also" : `is inside of ${other.text},`;
  return {
    code: "POD_CIDR_OVERLAP",
    severity: "warning",
    object: `Node ${node}`,
    field: "spec.podCIDRs",
    message: `${cidr.text} ${how} a pod CIDR of Node ${otherNode}: their pods may have the same addresses, and BGP leads to one of the nodes`,
    remedy: "give one of them another: drain it, delete its Node, and let it register again",
  };
}

function covered(node: string, { text }: Address, holder: string, cidr: Prefix): Problem {
  return {
    code: "POD_CIDR_NODE_ADDRESS",
    severity: "warning",
    object: `Node ${node}`,
    field: "status.addresses",
    message: `its address ${text} is inside of ${cidr.text}, a pod CIDR of Node ${holder}: the route to those pods hides the node, and BGP's session with it`,
    remedy: "let pods have addresses that no node has: the cluster's pod CIDR (--cluster-cidr) must not cover nodes",
  };
}

/** Longest first. */
function lengthsOf(cidrs: readonly Prefix[]): Readonly<Record<4 | 6, readonly number[]>> {
  const of = (family: 4 | 6) =>
    [...new Set(cidrs.flatMap((cidr) => (cidr.family === family ? cidr.length : [])))].sort((a, b) => b - a);
  return { 4: of(4), 6: of(6) };
}

/** The first ones; the last of them tells how many more there are. */
export function bounded(problems: readonly Problem[]): readonly Problem[] {
  if (problems.length <= told) return problems;
  const shown = problems.slice(0, told);
  const last = shown.at(-1);
  return last === undefined
    ? shown
    : [...shown.slice(0, -1), { ...last, message: `${last.message} (and ${problems.length - told} more like it)` }];
}
