/** `tandem policy trace`: the decision about one connection, step by step. */
import type { OfflineCluster, Party } from "../../compute/offline/cluster.ts";
import {
  type Connection,
  connect,
  type EndVerdict,
  type Path,
  closedBy,
  rulesBehind,
  type Verdict,
} from "../../compute/offline/connection.ts";
import { type End, findEnd } from "../../compute/offline/ends.ts";
import { explainEnd } from "../../compute/offline/explanation.ts";
import { readGroups } from "../../compute/offline/groups.ts";
import { identityText } from "../../compute/offline/peers-text.ts";
import { flowText, portsText } from "../../compute/offline/text.ts";
import { groupsOf, vectorsOf } from "../../compute/offline/vectors.ts";
import { type Entry, ownNode } from "../../compute/policy/resolve.ts";
import { type CliContext, painter, printJson } from "../context.ts";
import { CliError } from "../errors.ts";
import { type FlowOptions, readFlow } from "./flow-options.ts";
import { noteAssumed, warnOfErrors } from "./findings.ts";
import { readManifests } from "./manifests.ts";

export interface TraceOptions extends FlowOptions {
  readonly filename: readonly string[];
  readonly json: boolean;
  readonly from: string;
  readonly to: string;
  readonly family?: "4" | "6";
}

export function trace(context: CliContext, options: TraceOptions): void {
  const flow = readFlow(options);
  const manifests = readManifests(options.filename);
  const { cluster } = manifests;
  const from = endOf(cluster, options.from, "--from");
  const to = endOf(cluster, options.to, "--to");
  if (from.kind === "service") {
    throw new CliError({
      code: "TRACE_END",
      message: `--from ${from.text}: nothing connects from a service`,
      remedy: "name a pod behind it",
      exitCode: 2,
    });
  }
  const family = options.family === undefined ? null : options.family === "4" ? 4 : 6;
  const connection = connect(cluster, { from, to, flow, family });
  warnOfErrors(context, manifests.findings);
  if (manifests.findings.some(({ severity }) => severity === "error")) context.setExitCode(1);
  const title = `${from.text} -> ${to.text} ${flowText(flow.protocol, flow.port)}`;
  if (options.json)
    return void printJson(context, { title, ...connectionJson(cluster, connection), assumed: manifests.assumed });
  noteAssumed(context, manifests.assumed);
  context.write(connectionText(context, cluster, title, connection));
}

/** @throws CliError TRACE_END */
function endOf(cluster: OfflineCluster, text: string, option: string): Exclude<End, { kind: "unknown" }> {
  const end = findEnd(cluster, text);
  if (end.kind !== "unknown") return end;
  throw new CliError({
    code: "TRACE_END",
    message: `${option} ${text}: ${end.message}`,
    remedy: end.remedy,
    exitCode: 2,
  });
}

const words: Readonly<Record<Verdict, string>> = { allow: "ALLOW", deny: "DENY", redirect: "L7 DECIDES" };

function painted(context: CliContext, verdict: Verdict): string {
  const colour = { allow: "green", deny: "red", redirect: "yellow" } as const;
  return painter(context, colour[verdict])(words[verdict]);
}

function connectionText(context: CliContext, cluster: OfflineCluster, title: string, connection: Connection): string {
  const { service, paths, nowhere, verdict } = connection;
  const lines = [painter(context, "bold")(title)];
  if (service?.address)
    lines.push(
      `service svc/${service.name} at ${service.address.text}: ${paths.length} ready backend${paths.length === 1 ? "" : "s"}, each is judged by itself`,
    );
  if (nowhere !== null) lines.push(nowhere);
  const [first] = paths;
  if (first !== undefined)
    lines.push(...partyLines(cluster, "from", first.source, first.ingress?.peerIdentity ?? null));
  for (const [index, path] of paths.entries()) {
    if (service !== null)
      lines.push(
        "",
        `backend ${index + 1} of ${paths.length}: ${path.destination.name} ${flowText(path.flow.protocol, path.flow.port)}`,
      );
    lines.push(...pathLines(context, cluster, path));
  }
  const proxy = verdict === "redirect" ? " (no proxy enforces L7 rules yet: until then it is dropped)" : "";
  lines.push("", `verdict: ${painted(context, verdict)}${proxy}`);
  return `${lines.join("\n")}\n`;
}

function pathLines(context: CliContext, cluster: OfflineCluster, path: Path): readonly string[] {
  const { destination, egress, ingress } = path;
  const lines = partyLines(cluster, "to", destination, egress?.peerIdentity ?? null);
  if (egress === null || ingress === null) return [...lines, "a pod or node to itself: never subject to policy"];
  return [...lines, ...endLines(context, cluster, egress), ...endLines(context, cluster, ingress)];
}

function partyLines(cluster: OfflineCluster, word: string, party: Party, identity: number | null): readonly string[] {
  const { kind, name, address } = party;
  const where = party.kind === "pod" ? ` on ${party.pod.node || "no node"}` : "";
  const kinds = {
    pod: "pod",
    node: "node",
    unmanaged: "an address of a pod CIDR that no pod has",
    outside: "outside of the cluster",
  };
  const who = name === address.text ? name : `${name} (${address.text})`;
  const lines = [`${word.padEnd(5)}${who}, ${kinds[kind]}${where}${identity === null ? "" : `, identity ${identity}`}`];
  if (identity !== null) lines.push(`     ${identityText(cluster, identity)}`);
  return lines;
}

function endLines(context: CliContext, cluster: OfflineCluster, end: EndVerdict): readonly string[] {
  const { side, subject, set, peerIdentity, peer, flow, verdict, basis } = end;
  const lines = [`${side} of ${subject.name}: ${painted(context, verdict)}`];
  const tell = (text: string) => lines.push(`  ${text}`);
  if (set !== null && basis.kind !== "refused") {
    const direction = set[side];
    const vectors = vectorsOf(direction);
    if (direction.enforced) tell(`closed by ${closedBy(cluster, subject, side).join(", ")}`);
    else if (direction.origins.length > 0) tell("open, with rules that deny");
    const readings = readGroups(direction);
    if (readings.length > 0) {
      const who = groupsOf(vectors.who(peerIdentity, peer.address));
      const where = groupsOf(vectors.where(flow.protocol, flow.port));
      tell(
        `groups of rules that name the peer: ${listText(who)}; that hold the port: ${listText(where)}; both: ${listText(end.groups)}`,
      );
    }
    for (const [index, group] of end.groups.entries()) {
      const reading = readings[group];
      if (reading === undefined) continue;
      tell(
        `${index === 0 ? "=>" : "  "} group ${group} (${reading.action === "redirect" ? "L7" : reading.action}, ${portsText(reading.ports)}): ${reading.origins.join(", ")}`,
      );
    }
  }
  tell(explainEnd(cluster, end).because);
  if (verdict === "deny" && basis.kind === "default") {
    const behind = rulesBehind(cluster, end);
    for (const entry of some(behind.otherPorts)) tell(`near: ${entry.origin} names this peer, but ${actsOn(entry)}`);
    for (const entry of some(behind.otherPeers)) tell(`near: ${entry.origin} ${actsOn(entry)}, but not this peer`);
  }
  return lines;
}

function actsOn({ action, ports }: Entry): string {
  const verb = action === "deny" ? "denies" : "allows";
  return `${verb} ${portsText(ports)}`;
}

/** The first of each rule, allowing ones only: what the user may have meant. */
function some(entries: readonly Entry[]): readonly Entry[] {
  const allowing = entries.filter(
    ({ action, origin, guard }) => action !== "deny" && guard !== true && origin !== ownNode.origin,
  );
  return [...new Map(allowing.map((entry) => [entry.origin, entry])).values()].slice(0, 3);
}

function listText(groups: readonly number[]): string {
  return groups.length === 0 ? "none" : groups.join(", ");
}

function connectionJson(cluster: OfflineCluster, { verdict, service, nowhere, paths }: Connection): object {
  return {
    verdict: verdict === "redirect" ? "l7" : verdict,
    service: service === null ? null : { name: service.name, address: service.address?.text ?? null },
    nowhere,
    paths: paths.map(({ source, destination, flow, egress, ingress, verdict: each }) => ({
      verdict: each === "redirect" ? "l7" : each,
      flow,
      source: partyJson(cluster, source, ingress?.peerIdentity ?? null),
      destination: partyJson(cluster, destination, egress?.peerIdentity ?? null),
      ends: [egress, ingress].flatMap((end) => (end === null ? [] : [endJson(cluster, end)])),
    })),
  };
}

function partyJson(cluster: OfflineCluster, { kind, name, address }: Party, identity: number | null): object {
  return { kind, name, address: address.text, identity, labels: identity === null ? [] : cluster.labelsOf(identity) };
}

function endJson(cluster: OfflineCluster, end: EndVerdict): object {
  const { set, side, groups, basis } = end;
  const readings = set === null ? [] : readGroups(set[side]);
  return {
    ...explainEnd(cluster, end),
    basis: basis.kind,
    enforced: set?.[side].enforced ?? false,
    closedBy: basis.kind === "default" ? basis.closedBy : [],
    groups: groups.flatMap((group) => {
      const reading = readings[group];
      return reading === undefined
        ? []
        : [{ group, action: reading.action, ports: portsText(reading.ports), origins: reading.origins }];
    }),
  };
}
