/** The resolved rules of one pod or node, as the kernel of its node would have them, as data for people. */
import { compareText, labelMap } from "../../model/labels.ts";
import type { ResolvedRules, RuleDirection, RuleGroup } from "../../model/policy-reports.ts";
import type { NodeRow, PodRow } from "../../model/tables.ts";
import type { CompiledSet } from "../desired.ts";
import { identityNumbers } from "../identity/reserved.ts";
import { policyObject } from "../policy/parse.ts";
import { portSetText } from "../policy/port-sets.ts";
import type { Entry } from "../policy/resolve.ts";
import type { Direction } from "../policy/rules.ts";
import { type OfflineCluster, podKey } from "./cluster.ts";
import { closedBy, entriesOf, type Judged } from "./connection.ts";
import { type GroupReading, readGroups } from "./groups.ts";
import { identityText, ownNodeText, readPeers } from "./peers-text.ts";
import { portsText } from "./text.ts";

const directions = ["ingress", "egress"] as const;

/** @param pod one that takes part */
export function rulesOfPod(cluster: OfflineCluster, pod: PodRow): ResolvedRules {
  const name = podKey(pod);
  const { identityOfPod } = cluster.result;
  const identity = identityOfPod.get(name) ?? 0;
  const sharing = cluster.livePods.filter((each) => identityOfPod.get(podKey(each)) === identity);
  return {
    subject: name,
    node: pod.node,
    addresses: pod.addresses.map(({ text }) => text),
    identity,
    labels: cluster.labelsOf(identity),
    about: identityText(cluster, identity),
    sharedWith: sharing.length - 1,
    selectedBy: cluster.explainer.selecting(name).map(({ row }) => policyObject(row)),
    ...rulesOf(cluster, { kind: "pod", pod }, cluster.setOf(name)),
  };
}

/** Of a node itself: what policies with nodeSelector say about it, and what its guard keeps open. */
export function rulesOfNode(cluster: OfflineCluster, node: NodeRow): ResolvedRules {
  const labels = [...labelMap(node.labels)].map(([key, value]) => `${key}=${value}`).sort(compareText);
  return {
    subject: `node/${node.name}`,
    node: node.name,
    addresses: node.addresses.map(({ text }) => text),
    identity: identityNumbers.host,
    labels,
    about: labels.join(",") || "no labels",
    sharedWith: 0,
    selectedBy: cluster.explainer.selectingNode(node.name),
    ...rulesOf(cluster, { kind: "node", node: node.name }, cluster.setOfNode(node.name)),
  };
}

function rulesOf(
  cluster: OfflineCluster,
  subject: Judged,
  set: CompiledSet | null,
): Pick<ResolvedRules, "set" | "refused" | "directions"> {
  return {
    set: set?.key ?? null,
    refused: set?.refused ?? null,
    directions: directions.map((direction) => rulesInDirection(cluster, subject, set, direction)),
  };
}

function rulesInDirection(
  cluster: OfflineCluster,
  subject: Judged,
  set: CompiledSet | null,
  direction: Direction,
): RuleDirection {
  // A pod without a set is closed, a node without one is open.
  if (set === null) return { direction, default: subject.kind === "pod" ? "deny" : "allow", closedBy: [], groups: [] };
  const { enforced } = set[direction];
  const entries = entriesOf(cluster, subject, direction, enforced);
  return {
    direction,
    default: enforced ? "deny" : "allow",
    closedBy: enforced ? closedBy(cluster, subject, direction) : [],
    groups: readGroups(set[direction]).map((reading) => ruleGroup(cluster, subject, entries, reading)),
  };
}

function ruleGroup(
  cluster: OfflineCluster,
  subject: Judged,
  entries: readonly Entry[],
  reading: GroupReading,
): RuleGroup {
  const { group, action, origins, ports } = reading;
  const text = portSetText(ports);
  const behind = entries.find(
    (entry) => entry.action === action && portSetText(entry.ports) === text && origins.includes(entry.origin),
  );
  const peers = readPeers(cluster, reading).map((peer) =>
    subject.kind === "node" && peer.text === ownNodeText ? { ...peer, text: "the node itself" } : peer,
  );
  return { group, action, ports: portsText(ports), peers, l7: behind?.l7 ?? "", origins };
}
