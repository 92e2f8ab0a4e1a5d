/**
 * What becomes of a connection: services are translated, then the egress of the source and the ingress of each destination are judged
 * by their compiled sets, as the two nodes' kernels do. The rules themselves are only asked for the explanation.
 */
import type { Address } from "../../model/ip.ts";
import type { CompiledSet } from "../desired.ts";
import { type Flow, meet } from "../policy/explain.ts";
import type { Entry } from "../policy/resolve.ts";
import { type Action, type Direction, protocolNumbers } from "../policy/rules.ts";
import { type OfflineCluster, type Party, podKey } from "./cluster.ts";
import type { End } from "./ends.ts";
import { protocolName } from "./text.ts";
import { groupsOf, lowest, vectorsOf } from "./vectors.ts";

/** redirect: L7 rules decide. */
export type Verdict = Action;

export type EndBasis =
  /** Outside of the cluster, or a node that no policy selects. */
  | { readonly kind: "unpoliced" }
  /** No group, and no policy closes the direction. */
  | { readonly kind: "open" }
  | { readonly kind: "group"; readonly group: number }
  /** No group, and these policies close the direction. */
  | { readonly kind: "default"; readonly closedBy: readonly string[] }
  /** The set exceeds a limit. */
  | { readonly kind: "refused"; readonly why: string };

/** What one end says. */
export interface EndVerdict {
  readonly side: Direction;
  /** Whose policies they are, and who is on the other side. */
  readonly subject: Party;
  readonly peer: Party;
  /** As the subject's node sees it. */
  readonly peerIdentity: number;
  readonly verdict: Verdict;
  readonly basis: EndBasis;
  readonly set: CompiledSet | null;
  /** All groups that are set, the deciding one first. */
  readonly groups: readonly number[];
  readonly flow: Flow;
}

/** The way to one destination. */
export interface Path {
  readonly source: Party;
  readonly destination: Party;
  readonly flow: Flow;
  /** Null: traffic of a pod or node to itself meets no policy. */
  readonly egress: EndVerdict | null;
  readonly ingress: EndVerdict | null;
  readonly verdict: Verdict;
}

export interface Connection {
  /** The worst of all paths. */
  readonly verdict: Verdict;
  /** One for each backend of a service; none if there is nowhere to go. */
  readonly paths: readonly Path[];
  readonly service: { readonly name: string; readonly address: Address | null } | null;
  /** Why there is no path. */
  readonly nowhere: string | null;
}

export interface Attempt {
  readonly from: Extract<End, { kind: "addresses" }>;
  readonly to: Exclude<End, { kind: "unknown" }>;
  readonly flow: Flow;
  /** Null: ICMP's own, else IPv4 where both ends have it, else IPv6. */
  readonly family: 4 | 6 | null;
}

const severity: Readonly<Record<Verdict, number>> = { allow: 0, redirect: 1, deny: 2 };

export function worst(verdicts: readonly Verdict[]): Verdict {
  return verdicts.reduce<Verdict>((bad, verdict) => (severity[verdict] > severity[bad] ? verdict : bad), "allow");
}

export function connect(cluster: OfflineCluster, attempt: Attempt): Connection {
  return attempt.to.kind === "service"
    ? connectService(cluster, { ...attempt, family: attempt.family ?? attempt.to.family }, attempt.to.service)
    : connectPeer(cluster, attempt, attempt.to);
}

function connectPeer(
  cluster: OfflineCluster,
  { from, flow, family }: Attempt,
  to: Extract<End, { kind: "addresses" }>,
): Connection {
  const [source, destination] = pair(from.addresses, to.addresses, familiesOf(flow, family)) ?? [];
  if (source === undefined || destination === undefined)
    return nowhere(null, `${from.text} and ${to.text} have no address family in common`);
  const path = judgePath(cluster, cluster.partyAt(source), cluster.partyAt(destination), flow);
  return { verdict: path.verdict, paths: [path], service: null, nowhere: null };
}

function connectService(cluster: OfflineCluster, { from, flow, family }: Attempt, service: string): Connection {
  const frontends = cluster.result.desired.frontends.filter(
    (frontend) =>
      !frontend.external &&
      frontend.protocol === flow.protocol &&
      frontend.service === `${service}:${flow.port}` &&
      frontend.port === flow.port,
  );
  const what = `svc/${service}`;
  if (frontends.length === 0) {
    const row = cluster.facts.services.get(service);
    if (row !== undefined && row.clusterIps.length === 0) {
      return nowhere({ name: service, address: null }, `${what} has no cluster address: clients of it connect to pods`);
    }
    return nowhere({ name: service, address: null }, `${what} has no port ${flow.port}/${protocolName(flow.protocol)}`);
  }
  const families = familiesOf(flow, family).filter((each) => from.addresses.some((address) => address.family === each));
  const usable = families.flatMap((each) => frontends.find(({ address }) => address.family === each) ?? []);
  const frontend = usable.find(({ backends }) => backends.length > 0) ?? usable[0];
  if (frontend === undefined)
    return nowhere({ name: service, address: null }, `${from.text} and ${what} have no address family in common`);
  const named = { name: service, address: frontend.address };
  if (frontend.backends.length === 0) return nowhere(named, `${what} port ${flow.port} has no ready backend`);
  const source = from.addresses.find((address) => address.family === frontend.address.family) ?? frontend.address;
  const paths = frontend.backends.map(({ address, port }) =>
    judgePath(cluster, cluster.partyAt(source), cluster.partyAt(address), { protocol: flow.protocol, port }),
  );
  return { verdict: worst(paths.map(({ verdict }) => verdict)), paths, service: named, nowhere: null };
}

function nowhere(service: Connection["service"], why: string): Connection {
  return { verdict: "deny", paths: [], service, nowhere: why };
}

function familiesOf({ protocol }: Flow, family: 4 | 6 | null): readonly (4 | 6)[] {
  if (family !== null) return [family];
  if (protocol === protocolNumbers.ICMP) return [4];
  return protocol === protocolNumbers.ICMPv6 ? [6] : [4, 6];
}

function pair(
  from: readonly Address[],
  to: readonly Address[],
  families: readonly (4 | 6)[],
): readonly [Address, Address] | null {
  for (const family of families) {
    const source = from.find((address) => address.family === family);
    const destination = to.find((address) => address.family === family);
    if (source !== undefined && destination !== undefined) return [source, destination];
  }
  return null;
}

/** Egress of the source, then ingress of the destination: the first that refuses ends it. */
export function judgePath(cluster: OfflineCluster, source: Party, destination: Party, flow: Flow): Path {
  if (isSame(source, destination)) return { source, destination, flow, egress: null, ingress: null, verdict: "allow" };
  const egress = judgeEnd(cluster, "egress", source, destination, flow);
  const ingress = judgeEnd(cluster, "ingress", destination, source, flow);
  const verdict = egress.verdict === "deny" || ingress.verdict === "allow" ? egress.verdict : ingress.verdict;
  return { source, destination, flow, egress, ingress, verdict };
}

function isSame(left: Party, right: Party): boolean {
  return (
    left.address.text === right.address.text ||
    ((left.kind === "pod" || left.kind === "node") && left.name === right.name && left.kind === right.kind)
  );
}

export function judgeEnd(
  cluster: OfflineCluster,
  side: Direction,
  subject: Party,
  peer: Party,
  flow: Flow,
): EndVerdict {
  const node = subject.kind === "pod" ? subject.pod.node : subject.kind === "node" ? subject.node : "";
  const about = { side, subject, peer, peerIdentity: cluster.identityOf(peer, node), flow };
  const set = setOf(cluster, subject);
  if (set === null && subject.kind !== "pod") {
    return { ...about, verdict: "allow", basis: { kind: "unpoliced" }, set, groups: [] };
  }
  if (set === null) {
    return { ...about, verdict: "deny", basis: { kind: "refused", why: "the pod has no identity" }, set, groups: [] };
  }
  // A node is never closed for what cannot be enforced.
  if (set.refused !== null && subject.kind !== "pod")
    return { ...about, verdict: "allow", basis: { kind: "unpoliced" }, set: null, groups: [] };
  if (set.refused !== null)
    return { ...about, verdict: "deny", basis: { kind: "refused", why: set.refused }, set, groups: [] };
  const vectors = vectorsOf(set[side]);
  const vector = vectors.who(about.peerIdentity, peer.address) & vectors.where(flow.protocol, flow.port);
  const group = lowest(vector);
  const basis: EndBasis =
    group !== null
      ? { kind: "group", group }
      : set[side].enforced
        ? { kind: "default", closedBy: closedBy(cluster, subject, side) }
        : { kind: "open" };
  return { ...about, verdict: vectors.verdictOf(vector), basis, set, groups: groupsOf(vector) };
}

function setOf(cluster: OfflineCluster, subject: Party): CompiledSet | null {
  if (subject.kind === "pod") return cluster.setOf(podKey(subject.pod));
  return subject.kind === "node" ? cluster.setOfNode(subject.node) : null;
}

/** One whose policies are asked for; all others have none. */
export type Judged =
  | Pick<Extract<Party, { kind: "pod" }>, "kind" | "pod">
  | { readonly kind: "node"; readonly node: string };

/** Policies that put the direction of this end into default deny, sorted; the agents' setting, if it does. */
export function closedBy(
  { explainer, settings }: OfflineCluster,
  subject: Party | Judged,
  side: Direction,
): readonly string[] {
  if (subject.kind === "node") return explainer.nodeClosedBy(subject.node, side);
  if (subject.kind !== "pod") return [];
  const policies = explainer.closedBy(podKey(subject.pod), side);
  return settings.policyEnforcement === "always" ? [...policies, "the setting policyEnforcement (always)"] : policies;
}

/** What the rules say about one end, in one direction. @param enforced the direction is closed */
export function entriesOf(
  { explainer }: OfflineCluster,
  subject: Party | Judged,
  side: Direction,
  enforced: boolean,
): readonly Entry[] {
  if (subject.kind === "pod") return explainer.entries(podKey(subject.pod), side, enforced);
  return subject.kind === "node" ? explainer.nodeEntries(subject.node, side) : [];
}

export interface EndRules {
  /** Those that decide: of the deciding group, and about this peer. */
  readonly deciding: readonly Entry[];
  /** Those that hold too, without a say. */
  readonly others: readonly Entry[];
  /** Those that name the peer on other ports, and the port for other peers. */
  readonly otherPorts: readonly Entry[];
  readonly otherPeers: readonly Entry[];
}

/** The rules behind what an end says. */
export function rulesBehind(cluster: OfflineCluster, end: EndVerdict): EndRules {
  const { subject, side, set } = end;
  if (set === null) return { deciding: [], others: [], otherPorts: [], otherPeers: [] };
  const entries = entriesOf(cluster, subject, side, set[side].enforced);
  const { address } = end.peer;
  const names = cluster.namesOf(address, subject.kind === "pod" ? podKey(subject.pod) : null);
  const met = meet(entries, { identity: end.peerIdentity, address, names }, end.flow);
  const action = end.basis.kind === "group" ? end.verdict : null;
  return {
    deciding: met.matches.filter((entry) => entry.action === action),
    others: met.matches.filter((entry) => entry.action !== action),
    otherPorts: met.otherPorts,
    otherPeers: met.otherPeers,
  };
}
