/**
 * What the silence of a node means: probes say that it does not answer, the kernel's routes that packets go there all the same, BGP that it holds them
 * to be right. Together that is a black hole, and is told as one. Pure.
 */
import type { NodeHealthDto, NodePathDto } from "../api/health-dto.ts";
import type { MtuMismatch, NodeHealthReport, NodeHealthRow, PathReport, SilentPath } from "../model/node-health.ts";
import type { Prefix } from "../model/ip.ts";
import { routeFinder } from "../model/route-lookup.ts";
import type { Problem } from "../model/status.ts";
import type { BgpPeerRow, NodeRow, RouteFactRow } from "../model/tables.ts";
import type { BgpKnowledge } from "./route-reasons.ts";

export interface HealthTables {
  readonly nodes: ReadonlyMap<string, NodeRow>;
  readonly nodeHealth: ReadonlyMap<string, NodeHealthRow>;
  /** By prefix text. */
  readonly routes: ReadonlyMap<string, RouteFactRow>;
  /** By address. */
  readonly bgpPeers: ReadonlyMap<string, BgpPeerRow>;
}

type RouteTo = (to: Prefix) => RouteFactRow | undefined;

/** By name of the node. */
export function nodeHealthProblems(tables: HealthTables, bgp: BgpKnowledge["state"]): readonly Problem[] {
  const odd = [...tables.nodeHealth.values()].filter(({ silent, mtu }) => silent.length > 0 || mtu.length > 0);
  if (odd.length === 0) return [];
  const lost = odd.filter(({ state }) => state === "unreachable");
  if (lost.length > 1 && lost.length === tables.nodeHealth.size) return [cutOff(lost, tables, bgp)];
  const routeTo = routeFinder(tables.routes);
  return odd
    .sort((a, b) => (a.node < b.node ? -1 : 1))
    .flatMap((row) => {
      const node = tables.nodes.get(row.node);
      return node === undefined ? [] : problemsOf(row, node, tables, routeTo, bgp);
    });
}

/** Every other node, by name. */
export function nodeHealthReport(
  tables: HealthTables,
  reports: readonly NodeHealthReport[],
  bgp: BgpKnowledge["state"],
): readonly NodeHealthDto[] {
  const routeTo = routeFinder(tables.routes);
  return reports.map(({ node, paths }) => {
    const row = tables.nodeHealth.get(node);
    const facts = tables.nodes.get(node);
    const problems = row === undefined || facts === undefined ? [] : problemsOf(row, facts, tables, routeTo, bgp);
    return {
      node,
      state: row?.state ?? "unknown",
      since: row === undefined ? null : iso(row.since),
      agent: row?.agent ?? null,
      problems: problems.map(({ code, message, remedy }) => ({ code, text: message, remedy })),
      paths: paths.map(pathDto),
      mtu: row?.mtu ?? [],
    };
  });
}

function problemsOf(
  row: NodeHealthRow,
  node: NodeRow,
  { bgpPeers }: HealthTables,
  routeTo: RouteTo,
  bgp: BgpKnowledge["state"],
): readonly Problem[] {
  const mtu = row.mtu.map((mismatch) => mtuProblem(node.name, mismatch));
  if (row.silent.length === 0) return mtu;
  const route = node.podCidrs.map(routeTo).find((each) => (each?.nextHops.length ?? 0) > 0);
  const session = sessionOf(node, bgpPeers, bgp);
  if (row.state === "unreachable") return [...mtu, unreachable(row, node, route, session)];
  return [...mtu, ...partlySilent(row, node, routeTo, session)];
}

/** In the words that go on "BGP's session with it ". */
function sessionOf(node: NodeRow, peers: HealthTables["bgpPeers"], bgp: BgpKnowledge["state"]): string {
  if (bgp !== "synced") return "is not known here";
  const own = node.addresses.flatMap(({ text }) => peers.get(text) ?? []);
  if (own.length === 0) return "does not exist: its routes come by others";
  return own.some(({ state }) => state === "ESTABLISHED") ? "is up" : "is down";
}

function unreachable(
  { silent }: NodeHealthRow,
  { name }: NodeRow,
  route: RouteFactRow | undefined,
  session: string,
): Problem {
  const since = sinceOf(silent);
  const told = route === undefined ? "there is no route to its pods" : `its ${routeText(route)} is there`;
  // What never answered may be closed by a firewall since ever: that is no news to page anybody for.
  const isHole = route !== undefined && session !== "is down" && silent.some(({ answered }) => answered !== null);
  return {
    code: isHole ? "NODE_BLACK_HOLE" : "NODE_UNREACHABLE",
    severity: isHole ? "error" : "warning",
    object: `Node ${name}`,
    field: "",
    message: `no answer ${since}, by ICMP or TCP, of the node or of its pods' addresses; BGP's session with it ${session}, ${told}${isHole ? ": what is sent there is lost" : ""}`,
    remedy: isHole
      ? "look at the link to it (ip neigh, tcpdump -ni DEVICE icmp) and at firewalls; BGP takes the route away when its hold time is over, if the session is lost, too"
      : `is ${name} up? If it is, let nodes have ICMP echo and the port of the setting healthPort; its routes go with BGP's session`,
  };
}

/** Nobody at all answers: that is told once, and looked for here. */
function cutOff(
  lost: readonly NodeHealthRow[],
  { nodes, bgpPeers }: HealthTables,
  bgp: BgpKnowledge["state"],
): Problem {
  const sessions = lost.map(({ node }) => {
    const row = nodes.get(node);
    return row === undefined ? "" : sessionOf(row, bgpPeers, bgp);
  });
  const up = sessions.filter((text) => text === "is up").length;
  const ever = lost.some(({ silent }) => silent.some(({ answered }) => answered !== null));
  return {
    code: "NODES_UNREACHABLE",
    severity: ever ? "error" : "warning",
    object: "other nodes",
    field: "",
    message: `none of the ${lost.length} other nodes answers ${sinceOf(lost.flatMap(({ silent }) => silent))}, by ICMP or TCP; BGP has sessions with ${up} of them`,
    remedy:
      "this node is cut off, or what it asks is dropped here: look at its uplink, at firewalls, and at policies of nodes, which have to allow ICMP echo and the port of the setting healthPort to remote-node",
  };
}

/** Something of it answers: what does not is told by itself, if it once did. */
function partlySilent(row: NodeHealthRow, node: NodeRow, routeTo: RouteTo, session: string): readonly Problem[] {
  const about = { object: `Node ${node.name}`, field: "" } as const;
  const problems: Problem[] = [];
  for (const cidr of node.podCidrs) {
    const silent = row.silent.filter(({ kind, address }) => kind === "pods" && address.text === cidr.address.text);
    // An agent that is there answers for its pods: without one, nobody does.
    if (silent.length === 0 || (silent.every(({ answered }) => answered === null) && row.agent !== true)) continue;
    const route = routeTo(cidr);
    const devices = silent.flatMap(({ device }) => device?.name ?? []);
    const isWhole = devices.length === 0 || devices.length === new Set(route?.nextHops.map((hop) => hop.ifindex)).size;
    const way = route === undefined ? "" : `; the ${routeText(route)} is there, BGP's session with it ${session}`;
    problems.push(
      isWhole
        ? {
            ...about,
            code: "NODE_PODS_UNREACHABLE",
            severity: "error",
            message: `its pods' addresses ${cidr.text} do not answer ${sinceOf(silent)}, though the node does${way}`,
            remedy: `does ${node.name} forward (sysctl net.ipv4.ip_forward), does a tunnel or firewall between drop packets of pods?`,
          }
        : {
            ...about,
            code: "NODE_PATH_SILENT",
            severity: "warning",
            message: `what goes to ${cidr.text} by ${devices.join(", ")} is not answered ${sinceOf(silent)}, by other devices it is: a part of the flows is lost`,
            remedy: `look at ${devices.join(", ")} and what is behind; whoever wrote the route should take that next hop out`,
          },
    );
  }
  const own = row.silent.filter(({ kind, answered }) => kind !== "pods" && answered !== null);
  if (own.length > 0) {
    const what = own.map(({ kind, address }) => `${kind === "tcp" ? "TCP" : "ICMP"} to ${address.text}`).join(", ");
    problems.push({
      ...about,
      code: "NODE_PROBE_SILENT",
      severity: "warning",
      message: `${what} is not answered ${sinceOf(own)}, though the node is there`,
      remedy:
        "a firewall or a policy of nodes between? Let nodes have ICMP echo and the port of the setting healthPort",
    });
  }
  return problems;
}

function mtuProblem(name: string, { family, claimed, carried }: MtuMismatch): Problem {
  const found = carried === null ? "how large they may be is being tried" : `${carried} bytes are the most that arrive`;
  return {
    code: "NODE_MTU",
    severity: "warning",
    object: `Node ${name}`,
    field: "",
    message: `packets of ${claimed} bytes, which the IPv${family} route to its pods takes, are lost on the way: ${found}`,
    remedy: `make the MTU of both nodes and what is between them equal${carried === null ? "" : `, or set podMtu to ${carried} on all nodes`}`,
  };
}

function routeText({ destination, nextHops }: RouteFactRow): string {
  const hops = nextHops.map(({ gateway, device }) => `${gateway === null ? "" : `via ${gateway.text} `}dev ${device}`);
  return `route to ${destination.text} (${hops.join(", ")})`;
}

/** The last answer of any of them. */
function sinceOf(silent: readonly SilentPath[]): string {
  const last = Math.max(...silent.map(({ answered }) => answered ?? 0));
  return last === 0 ? "since this agent started" : `since ${iso(last)}`;
}

function pathDto(path: PathReport): NodePathDto {
  const { kind, address, device, state, since, answered, p50Us, p99Us, sent, lost, told } = path;
  const ms = (us: number | null) => (us === null ? null : Math.round(us) / 1000);
  return {
    kind,
    address: address.text,
    device: device?.name ?? null,
    state,
    since: iso(since),
    answered: answered === null ? null : iso(answered),
    p50Ms: ms(p50Us),
    p99Ms: ms(p99Us),
    sent,
    lost,
    told,
  };
}

const iso = (ms: number) => new Date(ms).toISOString();
