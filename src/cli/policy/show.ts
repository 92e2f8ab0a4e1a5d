/** `tandem policy show`: the resolved rules of one pod, as the kernel of its node would have them. */
import { type OfflineCluster, podKey } from "../../compute/offline/cluster.ts";
import { findEnd } from "../../compute/offline/ends.ts";
import { type GroupReading, readGroups } from "../../compute/offline/groups.ts";
import { identityText, type PeerReading, readPeers } from "../../compute/offline/peers-text.ts";
import { portsText } from "../../compute/offline/text.ts";
import { portSetText } from "../../compute/policy/port-sets.ts";
import { policyObject } from "../../compute/policy/parse.ts";
import type { PodRow } from "../../model/tables.ts";
import { type CliContext, painter, printJson } from "../context.ts";
import { CliError } from "../errors.ts";
import { type CellInput, table } from "../table.ts";
import { noteAssumed, warnOfErrors } from "./findings.ts";
import { readManifests } from "./manifests.ts";

export interface ShowOptions {
  readonly filename: readonly string[];
  readonly json: boolean;
}

const directions = ["ingress", "egress"] as const;

interface ShownGroup extends Omit<GroupReading, "ports" | "identities" | "blocks" | "anybody" | "outsideOnly"> {
  readonly ports: string;
  readonly peers: readonly PeerReading[];
  /** What L7 rules demand; "" otherwise. */
  readonly l7: string;
}

interface ShownDirection {
  readonly direction: (typeof directions)[number];
  readonly default: "allow" | "deny";
  readonly closedBy: readonly string[];
  readonly groups: readonly ShownGroup[];
}

export function show(context: CliContext, name: string, options: ShowOptions): void {
  const manifests = readManifests(options.filename);
  const { cluster } = manifests;
  const pod = podOf(cluster, name);
  const set = cluster.setOf(name);
  const identity = cluster.result.identityOfPod.get(name) ?? 0;
  const selectedBy = cluster.explainer.selecting(name).map(({ row }) => policyObject(row));
  const shown = directions.map((direction) => showDirection(cluster, name, direction));
  warnOfErrors(context, manifests.findings);
  if (options.json) {
    const labels = cluster.labelsOf(identity);
    const addresses = pod.addresses.map(({ text }) => text);
    const about = { pod: name, node: pod.node, addresses, identity, labels, selectedBy, set: set?.key ?? null };
    return void printJson(context, { ...about, refused: set?.refused ?? null, directions: shown });
  }
  noteAssumed(context, manifests.assumed);
  const others =
    cluster.livePods.filter((each) => cluster.result.identityOfPod.get(podKey(each)) === identity).length - 1;
  const sharing = others === 0 ? "" : `, shared with ${others} other pod${others === 1 ? "" : "s"}`;
  context.write(
    `${painter(context, "bold")(name)}: ${identityText(cluster, identity)}; identity ${identity}${sharing}\n`,
  );
  context.write(`selected by ${selectedBy.join(", ") || "no policy"}\n`);
  if (set?.refused) context.write(`its rules are refused and it is closed: ${set.refused}\n`);
  for (const each of shown) context.write(`\n${directionText(context, each)}`);
}

/** @throws CliError POD_UNKNOWN */
function podOf(cluster: OfflineCluster, name: string): PodRow {
  const pod = cluster.livePods.find((each) => podKey(each) === name);
  if (pod !== undefined) return pod;
  const end = findEnd(cluster, name);
  const hostNetwork = cluster.facts.pods.get(name)?.hostNetwork === true;
  throw new CliError({
    code: "POD_UNKNOWN",
    message:
      end.kind === "unknown"
        ? end.message
        : `${name} is ${hostNetwork ? "on the host network: it is its node" : "not a pod"}`,
    remedy: end.kind === "unknown" ? end.remedy : "name a pod with an address of its own as NAMESPACE/POD",
    exitCode: 1,
  });
}

function showDirection(cluster: OfflineCluster, pod: string, direction: (typeof directions)[number]): ShownDirection {
  const compiled = cluster.setOf(pod)?.[direction];
  if (compiled === undefined) return { direction, default: "deny", closedBy: [], groups: [] };
  const entries = cluster.explainer.entries(pod, direction, compiled.enforced);
  return {
    direction,
    default: compiled.enforced ? "deny" : "allow",
    closedBy: cluster.explainer.closedBy(pod, direction),
    groups: readGroups(compiled).map((reading) => {
      const { group, action, origins, ports } = reading;
      const text = portSetText(ports);
      const behind = entries.find(
        (entry) => entry.action === action && portSetText(entry.ports) === text && origins.includes(entry.origin),
      );
      return {
        group,
        action,
        ports: portsText(ports),
        peers: readPeers(cluster, reading),
        l7: behind?.l7 ?? "",
        origins,
      };
    }),
  };
}

function directionText(
  context: CliContext,
  { direction, default: fallback, closedBy, groups }: ShownDirection,
): string {
  const why = closedBy.length === 0 ? `no policy closes it` : `closed by ${closedBy.join(", ")}`;
  const head = `${painter(context, "bold")(direction.toUpperCase())}  default ${fallback} (${why})\n`;
  if (groups.length === 0) return `${head}no rules\n`;
  const paint = {
    deny: painter(context, "red"),
    allow: painter(context, "green"),
    redirect: painter(context, "yellow"),
  };
  const rows = groups.map(({ group, action, ports, peers, l7, origins }): readonly CellInput[] => [
    group,
    { text: action === "redirect" ? "L7" : action, paint: paint[action] },
    l7 === "" ? ports.replaceAll("; ", "\n") : `${ports}\nif ${short(l7.replaceAll("\n", " and "))}`,
    peers.map(peerText).join("\n"),
    origins.join("\n"),
  ]);
  return head + table(["GROUP", "ACTION", "PORTS", "PEERS", "RULES"], rows);
}

function peerText({ text, pods }: PeerReading): string {
  if (pods.length === 0) return text;
  const some = pods.slice(0, 3).join(", ");
  return `${text} (${some}${pods.length > 3 ? ` and ${pods.length - 3} more` : ""})`;
}

function short(text: string): string {
  return text.length > 70 ? `${text.slice(0, 67)}...` : text;
}
