/**
 * Who peers with whom in each topology, seen from a node and from a router. In all of them nodes announce their pod CIDRs; the routers,
 * where they speak BGP, announce the prefix of the hosts behind them.
 *
 * - fabric: nodes in a full mesh (iBGP), each with the router as well (eBGP). IPv4 sessions carry both families.
 * - ipv6: the same over IPv6 sessions.
 * - mesh: the nodes alone. Out of the cluster goes a default route.
 * - reflectors: node-1 (as kube-router with `rr.server`) and the router reflect what the other nodes (`rr.client`) tell them.
 * - per-node-asn: each node has an AS number of its own, and peers with two routers (eBGP) on the nodes' link. A next hop is the node.
 * - ecmp: the same with two links: a router on each, which is the next hop, by one session for each family.
 */
import { type LabPlan, type NodePlan, type RouterPlan, nodeAs, torAs } from "./plan.ts";

export type Family = "ipv4" | "ipv6";

export interface Peer {
  /** A name for the other end that configurations can have. */
  readonly name: string;
  readonly address: string;
  readonly localAddress: string;
  readonly as: number;
  readonly families: readonly Family[];
  /** Of the fabric: kube-router's "external peers". */
  readonly external: boolean;
  /** What it tells is reflected to others, and theirs to it. */
  readonly client: boolean;
}

const both: readonly Family[] = ["ipv4", "ipv6"];

export function routerAs(lab: LabPlan): number {
  return lab.topology === "reflectors" ? nodeAs : torAs;
}

export function isReflector(lab: LabPlan, node: NodePlan): boolean {
  return lab.topology === "reflectors" && node === lab.nodes[0];
}

export function peersOfNode(lab: LabPlan, node: NodePlan): readonly Peer[] {
  const { topology } = lab;
  const toNodes = lab.nodes
    .filter((other) => other !== node)
    .filter((other) => hasMesh(lab) || isReflector(lab, node) || isReflector(lab, other))
    .map((other) => nodeSession(lab, node, other));
  const toRouters = lab.routers.flatMap((router, i) => routerSessions(lab, node, router, i).map(({ peer }) => peer));
  switch (topology) {
    case "fabric":
    case "ipv6":
    case "reflectors":
      return [...toNodes, ...toRouters];
    case "mesh":
      return toNodes;
    case "per-node-asn":
    case "ecmp":
      return toRouters;
  }
}

/** None: the router speaks no BGP. */
export function peersOfRouter(lab: LabPlan, router: RouterPlan): readonly Peer[] {
  if (lab.topology === "mesh") return [];
  const i = lab.routers.indexOf(router);
  return lab.nodes.flatMap((node) => routerSessions(lab, node, router, i).map(({ back }) => back));
}

function hasMesh({ topology }: LabPlan): boolean {
  return topology === "fabric" || topology === "ipv6" || topology === "mesh";
}

function nodeSession(lab: LabPlan, node: NodePlan, other: NodePlan): Peer {
  const v6 = lab.topology === "ipv6";
  return {
    name: other.slot,
    address: v6 ? other.ipv6 : other.ipv4,
    localAddress: v6 ? node.ipv6 : node.ipv4,
    as: other.as,
    families: both,
    external: false,
    client: isReflector(lab, node),
  };
}

/** Each session from both ends. */
function routerSessions(lab: LabPlan, node: NodePlan, router: RouterPlan, i: number) {
  const uplink = node.uplinks[i] ?? node;
  const session = (family: Family, families: readonly Family[], suffix = "") => {
    const [here, there] = [uplink[family], router[family]];
    const peer: Peer = {
      name: `tor${i + 1}${suffix}`,
      address: there,
      localAddress: here,
      as: routerAs(lab),
      families,
      external: true,
      client: false,
    };
    const back: Peer = {
      name: `${node.slot}${suffix}`,
      address: here,
      localAddress: there,
      as: node.as,
      families,
      external: false,
      client: lab.topology === "reflectors" && !isReflector(lab, node),
    };
    return { peer, back };
  };
  if (lab.topology === "ecmp") return [session("ipv4", ["ipv4"]), session("ipv6", ["ipv6"], "-6")];
  return [session(lab.topology === "ipv6" ? "ipv6" : "ipv4", both)];
}
