/**
 * Why a node's pod CIDR has no route here, or one that should not be: the kernel's routes are what holds, BGP's tables the reason. Pure. It walks the
 * way that a route comes: session, announcement, import policy, best path, next hop, kernel (kube-router's `injectRoute`).
 */
import type { RouteReasonDto } from "../api/dto.ts";
import { makePrefix, type Prefix, prefixContains } from "../model/ip.ts";
import { kubeRouterProtocol, tunnelName } from "../lib/kube-router.ts";
import type { BgpPathRow, BgpPeerRow, DeviceAddressesRow, NodeRow, RouteFactRow } from "../model/tables.ts";
import { isKept } from "./kept-paths.ts";

export interface BgpTables {
  /** By address. */
  readonly bgpPeers: ReadonlyMap<string, BgpPeerRow>;
  /** By prefix text. */
  readonly bgpPaths: ReadonlyMap<string, BgpPathRow>;
  /** By ifindex. */
  readonly deviceAddresses: ReadonlyMap<string, DeviceAddressesRow>;
  /** Whether some route of the kernel leads into a tunnel of kube-router's, which only its overlay makes. */
  readonly hasOverlay: () => boolean;
  /** Name of the node that has the address. */
  readonly nodeAt: (address: string) => string | undefined;
}

export interface BgpKnowledge {
  /** off: the setting says not to ask; waiting: never reached; stale: not any more. */
  readonly state: "off" | "waiting" | "synced" | "stale";
  /** What peers sent although it is in no table here. */
  readonly received: readonly { readonly prefix: Prefix; readonly peer: string; readonly filtered: boolean }[];
}

/** Of a pod CIDR of another node without a usable route. @param route one that leads nowhere */
export function whyMissing(
  cidr: Prefix,
  node: NodeRow,
  route: RouteFactRow | undefined,
  tables: BgpTables,
  bgp: BgpKnowledge,
): RouteReasonDto {
  if (route !== undefined) {
    return {
      code: "unreachable",
      text: `the kernel's route to ${route.destination.text} (protocol ${route.protocol}) leads nowhere`,
      remedy: `find who wrote it: ip route show ${route.destination.text}`,
    };
  }
  if (bgp.state !== "synced") return unknown(bgp.state);
  const path = pathTo(cidr, tables.bgpPaths);
  if (path !== undefined) return whyNotWritten(path, tables);
  return whyNoPath(cidr, node, tables, bgp);
}

/** Of a route that is there. null: nothing is odd about it. */
export function whatIsOdd(
  cidr: Prefix,
  node: NodeRow,
  route: RouteFactRow,
  tables: BgpTables,
  bgp: BgpKnowledge,
): RouteReasonDto | null {
  if (bgp.state !== "synced" || route.protocol !== kubeRouterProtocol) return null;
  const path = pathTo(cidr, tables.bgpPaths);
  if (path === undefined) {
    return {
      code: "left-over",
      text: `kube-router's route to ${route.destination.text} is in the kernel, and BGP has no such path any more`,
      remedy: `it goes on working as long as the node is there; else delete it: ip route del ${route.destination.text} proto 17`,
    };
  }
  const elsewhere = leadsElsewhere(cidr, node, path, tables.nodeAt);
  if (elsewhere !== null) return elsewhere;
  if (!isKept(path, tables.bgpPeers)) return null;
  return {
    code: "stale-path",
    text: `the session with ${path.peer?.text ?? "its peer"} is gone; the path is kept for its graceful restart`,
    remedy: "nothing, if kube-router restarts there; else look at it on that node",
  };
}

/**
 * A path to exactly the pod CIDR of a node, and another node's: kube-router reads its own pod CIDR when it starts, and a node that comes back with another one may
 * leave the old to somebody.
 */
export function leadsElsewhere(
  cidr: Prefix,
  node: NodeRow,
  path: BgpPathRow,
  nodeAt: BgpTables["nodeAt"],
): RouteReasonDto | null {
  const { prefix, nextHop } = path;
  if (prefix.text !== cidr.text) return null;
  if (path.peer === null) {
    return {
      code: "own",
      text: `this node announces ${cidr.text} itself, and it is a pod CIDR of ${node.name}: others may send here what is for its pods`,
      remedy: `restart kube-router on this node, which reads its pod CIDR once; who else added the path? gobgp global rib ${cidr.text}`,
    };
  }
  const other = nextHop === null ? undefined : nodeAt(nextHop.text);
  if (other === undefined || other === node.name || !isFrom(other, path, nodeAt)) return null;
  return {
    code: "other-node",
    text: `BGP leads ${cidr.text} to ${other}, and it is a pod CIDR of ${node.name}`,
    remedy: `restart kube-router on ${other}, which reads its pod CIDR once; who else added the path? gobgp global rib ${cidr.text}`,
  };
}

/** A node that is a router for others passes on what they announce, with itself as next hop: of that its reflected origin or a second AS tells. */
function isFrom(node: string, { originatorId, asPath }: BgpPathRow, nodeAt: BgpTables["nodeAt"]): boolean {
  const systems = new Set(asPath.split(" ").filter((text) => text !== ""));
  return systems.size < 2 && (originatorId === null || nodeAt(originatorId) === node);
}

function unknown(state: Exclude<BgpKnowledge["state"], "synced">): RouteReasonDto {
  const reasons = {
    off: ["BGP is not asked: the setting `gobgp` is null", "name kube-router's admin address in the setting `gobgp`"],
    waiting: [
      "kube-router's API was not reached yet",
      "is kube-router running on this node, with --gobgp-admin-port as in the setting `gobgp`?",
    ],
    stale: [
      "kube-router's API does not answer any more",
      "is kube-router running on this node? Routes come back with it",
    ],
  } as const;
  const [text, remedy] = reasons[state];
  return { code: "unknown", text, remedy };
}

/** The longest that covers it. A default route is no route to pods. */
function pathTo(cidr: Prefix, paths: ReadonlyMap<string, BgpPathRow>): BgpPathRow | undefined {
  for (let length = cidr.length; length > 0; length--) {
    const path = paths.get(makePrefix(cidr.address, length).text);
    if (path !== undefined) return path;
  }
  return undefined;
}

/** In BGP's table, and not in the kernel. */
function whyNotWritten(path: BgpPathRow, { deviceAddresses, hasOverlay }: BgpTables): RouteReasonDto {
  const prefix = path.prefix.text;
  if (path.peer === null) {
    return {
      code: "own",
      text: `this node announces ${prefix} itself: its own path is better than the other node's, and never becomes a route`,
      remedy: "two nodes with one pod CIDR? Give one of them another",
    };
  }
  const { nextHop } = path;
  if (nextHop === null) {
    return {
      code: "no-next-hop",
      text: `the path to ${prefix} of ${path.peer.text} has no next hop that could be read`,
      remedy: "look at it: gobgp global rib",
    };
  }
  const onLink = [...deviceAddresses.values()].some(({ addresses }) =>
    addresses.some(({ address, length }) => prefixContains(makePrefix(address, length), nextHop)),
  );
  if (!onLink && hasOverlay()) {
    return {
      code: "no-tunnel",
      text: `BGP has ${prefix} by ${nextHop.text}, and the kernel has no route into the tunnel to it (${tunnelName(nextHop.text)})`,
      remedy: "kube-router makes it when it is told the path: restart it on this node, if it does not; see its log",
    };
  }
  if (!onLink) {
    return {
      code: "not-on-link",
      text: `BGP has ${prefix} by ${nextHop.text}, which is in no subnet of this node: without overlay kube-router writes no route for it`,
      remedy: "start kube-router with --enable-overlay=true, or let the fabric be the next hop",
    };
  }
  return {
    code: "not-written",
    text: `BGP has ${prefix} by ${nextHop.text}, and the kernel has no route: kube-router writes it again within a minute`,
    remedy: "if it stays so, somebody deletes it: systemd-networkd needs ManageForeignRoutes=no; see kube-router's log",
  };
}

/** In no table of BGP: the session, what is sent by it, or a policy. */
function whyNoPath(cidr: Prefix, node: NodeRow, { bgpPeers }: BgpTables, bgp: BgpKnowledge): RouteReasonDto {
  const sent = bgp.received.filter(({ prefix }) => prefix.text === cidr.text);
  const rejected = sent.find(({ filtered }) => filtered);
  if (rejected !== undefined) {
    return {
      code: "filtered",
      text: `${rejected.peer} announces ${cidr.text}, and an import policy of this node rejects it`,
      remedy:
        "kube-router rejects service addresses, default routes, and the annotation kube-router.io/node.bgp.customimportreject",
    };
  }
  const own = node.addresses.flatMap(({ text }) => bgpPeers.get(text) ?? []);
  const down = own.find(({ state }) => state !== "ESTABLISHED");
  const up = own.some(({ state }) => state === "ESTABLISHED");
  if (down !== undefined && !up) return peerDown(down, node.name);
  if (up) {
    return {
      code: "not-announced",
      text: `the session with ${node.name} stands, and it does not announce ${cidr.text}`,
      remedy: `on ${node.name}: does kube-router run with --advertise-pod-cidr, and does its pod CIDR agree with the Node object?`,
    };
  }
  return noPeer(cidr, node, [...bgpPeers.values()]);
}

function peerDown(peer: BgpPeerRow, name: string): RouteReasonDto {
  const since = peer.since === null ? "" : ` since ${new Date(peer.since).toISOString()}`;
  const text = peer.adminDown
    ? `the session with ${name} (${peer.address.text}) is switched off`
    : `the session with ${name} (${peer.address.text}) is ${peer.state}, not established${since}`;
  return {
    code: "peer-down",
    text,
    remedy: peer.adminDown
      ? `gobgp neighbor ${peer.address.text} enable`
      : `is ${name} up, does kube-router run there, and does TCP port 179 pass between the nodes?`,
  };
}

/** The node is no peer: its path would come by the fabric or a route reflector. */
function noPeer(cidr: Prefix, node: NodeRow, peers: readonly BgpPeerRow[]): RouteReasonDto {
  const established = peers.filter(({ state }) => state === "ESTABLISHED");
  if (peers.length === 0) {
    return {
      code: "no-peer",
      text: "kube-router has no BGP peers",
      remedy: "does it know the other nodes? A Node without an address in its status is left out for up to 5 minutes",
    };
  }
  if (established.length === 0) {
    return {
      code: "peer-down",
      text: `none of the ${peers.length} BGP sessions is established`,
      remedy: "does TCP port 179 pass, and is kube-router's address the one that its peers expect?",
    };
  }
  return {
    code: "not-announced",
    text: `${node.name} is no peer of this node, and none of the ${established.length} established peers announces ${cidr.text}`,
    remedy: `does ${node.name} announce it to the fabric? Nodes of one AS number behind an eBGP fabric drop each other's paths`,
  };
}
