/** A connection's decision step by step, as data for people: both ends, the groups that are looked up, the one that decides, and what comes near. */
import type { PolicyTrace, TraceEnd, TraceParty, TracePath, TraceVerdict } from "../../model/policy-reports.ts";
import type { Flow } from "../policy/explain.ts";
import { type Entry, ownNode } from "../policy/resolve.ts";
import type { OfflineCluster, Party } from "./cluster.ts";
import { closedBy, connect, type EndVerdict, type Path, rulesBehind, type Verdict } from "./connection.ts";
import { type End, findEnd } from "./ends.ts";
import { explainEnd } from "./explanation.ts";
import { readGroups } from "./groups.ts";
import { identityText } from "./peers-text.ts";
import { flowText, portsText } from "./text.ts";
import { groupsOf, vectorsOf } from "./vectors.ts";

export interface TraceQuestion {
  /** As `findEnd` takes them. */
  readonly from: string;
  readonly to: string;
  readonly flow: Flow;
  /** Null: whichever both ends have. */
  readonly family: 4 | 6 | null;
}

/** An end that nothing can be said about. */
export interface TraceMistake {
  /** "from shop/wep: there is no pod shop/wep in the manifests" */
  readonly message: string;
  readonly remedy: string;
}

export function traceConnection(
  cluster: OfflineCluster,
  { from, to, flow, family }: TraceQuestion,
): PolicyTrace | TraceMistake {
  const source = findEnd(cluster, from);
  const destination = findEnd(cluster, to);
  if (source.kind === "unknown") return mistake("from", source);
  if (destination.kind === "unknown") return mistake("to", destination);
  if (source.kind === "service") {
    return { message: `from ${from}: nothing connects from a service`, remedy: "name a pod behind it" };
  }
  const connection = connect(cluster, { from: source, to: destination, flow, family });
  const { verdict, service, nowhere, paths } = connection;
  return {
    title: `${from} -> ${to} ${flowText(flow.protocol, flow.port)}`,
    verdict: verdictOf(verdict),
    service: service === null ? null : { name: service.name, address: service.address?.text ?? null },
    nowhere,
    paths: paths.map((path) => tracePath(cluster, path)),
  };
}

export function isMistake(answer: PolicyTrace | TraceMistake): answer is TraceMistake {
  return "message" in answer;
}

function mistake(side: "from" | "to", { text, message, remedy }: Extract<End, { kind: "unknown" }>): TraceMistake {
  return { message: `${side} ${text}: ${message}`, remedy };
}

function verdictOf(verdict: Verdict): TraceVerdict {
  return verdict === "redirect" ? "l7" : verdict;
}

function tracePath(cluster: OfflineCluster, path: Path): TracePath {
  const { source, destination, flow, egress, ingress, verdict } = path;
  return {
    verdict: verdictOf(verdict),
    flow,
    flowText: flowText(flow.protocol, flow.port),
    source: traceParty(cluster, source, ingress),
    destination: traceParty(cluster, destination, egress),
    ends: [egress, ingress].flatMap((end) => (end === null ? [] : [traceEnd(cluster, end)])),
  };
}

/** @param seenBy the other end; who has no policies sees nobody's identity, but a pod has one for everybody */
function traceParty(cluster: OfflineCluster, party: Party, seenBy: EndVerdict | null): TraceParty {
  const { kind, name, address } = party;
  const identity = seenBy !== null && (seenBy.set !== null || kind === "pod") ? seenBy.peerIdentity : null;
  return {
    kind,
    name,
    address: address.text,
    node: nodeOf(party),
    identity,
    labels: identity === null ? [] : cluster.labelsOf(identity),
    about: identity === null ? "" : identityText(cluster, identity),
  };
}

/** Null: it is on no node. */
function nodeOf(party: Party): string | null {
  if (party.kind === "pod") return party.pod.node || null;
  return party.kind === "node" ? party.node : null;
}

function traceEnd(cluster: OfflineCluster, end: EndVerdict): TraceEnd {
  const { set, side, subject, peerIdentity, peer, flow, basis } = end;
  const direction = set?.[side];
  const readings = direction === undefined ? [] : readGroups(direction);
  const vectors =
    direction === undefined || readings.length === 0 || basis.kind === "refused" ? null : vectorsOf(direction);
  return {
    ...explainEnd(cluster, end),
    node: nodeOf(subject),
    basis: basis.kind,
    enforced: direction?.enforced ?? false,
    closedBy: direction?.enforced ? closedBy(cluster, subject, side) : [],
    lookup: vectors && {
      peer: groupsOf(vectors.who(peerIdentity, peer.address)),
      port: groupsOf(vectors.where(flow.protocol, flow.port)),
    },
    groups: end.groups.flatMap((group) => {
      const reading = readings[group];
      if (reading === undefined) return [];
      return [{ group, action: reading.action, ports: portsText(reading.ports), origins: reading.origins }];
    }),
    near: end.verdict === "deny" && basis.kind === "default" ? nearRules(cluster, end) : [],
  };
}

function nearRules(cluster: OfflineCluster, end: EndVerdict): readonly string[] {
  const { otherPorts, otherPeers } = rulesBehind(cluster, end);
  return [
    ...meant(otherPorts).map((entry) => `${entry.origin} names this peer, but allows ${portsText(entry.ports)}`),
    ...meant(otherPeers).map((entry) => `${entry.origin} allows ${portsText(entry.ports)}, but not this peer`),
  ];
}

/** The first of each rule, allowing ones only: what the user may have meant. */
function meant(entries: readonly Entry[]): readonly Entry[] {
  const allowing = entries.filter(
    ({ action, origin, guard }) => action !== "deny" && guard !== true && origin !== ownNode.origin,
  );
  return [...new Map(allowing.map((entry) => [entry.origin, entry])).values()].slice(0, 3);
}
