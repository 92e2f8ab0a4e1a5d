/**
 * Probes against a cluster: what each sees, and whether that is what was expected. What can only be judged by something that is not
 * enforced yet is pending with its reason, and nothing else is: a probe that is decided
 * before such a thing has a say is judged.
 */
import type { OfflineCluster } from "./cluster.ts";
import { type Connection, connect, type Verdict } from "./connection.ts";
import { findEnd } from "./ends.ts";
import { type Probe, probeFlow } from "./probes.ts";
import { type Answer, answerOf } from "./requests.ts";

export interface ProbeResult {
  readonly probe: Probe;
  readonly status: "passed" | "failed" | "pending";
  /** Null: it could not be tried. */
  readonly seen: Verdict | Answer | null;
  readonly connection: Connection | null;
  /** In which it was tried: the one that was given, with the names that the client has learned. */
  readonly cluster: OfflineCluster;
  /** Why it is pending or could not be tried; null otherwise. */
  readonly reason: string | null;
}

export interface ProbeTotals {
  readonly passed: number;
  readonly failed: number;
  readonly pending: number;
}

export function runProbes(cluster: OfflineCluster, probes: readonly Probe[]): readonly ProbeResult[] {
  return probes.map((probe) => runProbe(cluster, probe));
}

export function totalsOf(results: readonly ProbeResult[]): ProbeTotals {
  const count = (status: ProbeResult["status"]) => results.filter((result) => result.status === status).length;
  return { passed: count("passed"), failed: count("failed"), pending: count("pending") };
}

export function runProbe(given: OfflineCluster, probe: Probe): ProbeResult {
  const cluster = probe.resolved.length === 0 ? given : given.withNames(probe.resolved);
  const from = findEnd(cluster, probe.from);
  const to = findEnd(cluster, probe.to);
  const broken = (reason: string): ProbeResult => ({
    probe,
    status: "failed",
    seen: null,
    connection: null,
    cluster,
    reason,
  });
  if (from.kind === "unknown") return broken(`from: ${from.message}; ${from.remedy}`);
  if (to.kind === "unknown") return broken(`to: ${to.message}; ${to.remedy}`);
  if (from.kind === "service") return broken(`from: ${from.text} is a service; nothing connects from there`);
  const connection = connect(cluster, { from, to, flow: probeFlow(probe), family: probe.family });
  const seen = seenOf(probe, connection);
  if (seen === null) {
    return { probe, status: "pending", seen: "redirect", connection, cluster, reason: pendingReason(probe) };
  }
  const status = seen === probe.expect ? "passed" : "failed";
  return { probe, status, seen, connection, cluster, reason: null };
}

/** Of all ways the worst, as the client sees it; null: something that is not enforced decides. */
function seenOf({ request }: Probe, connection: Connection): Answer | "deny" | null {
  if (connection.paths.length === 0) return connection.verdict === "deny" ? "deny" : "allow";
  const answers = connection.paths.map((path) => {
    // Where the far end denies, the client's own proxy may have answered before.
    if (path.verdict !== "deny") return answerOf(path, request);
    const isAnswered = path.egress?.verdict === "redirect" && request !== null;
    const answer = isAnswered ? answerOf({ ...path, ingress: null }, request) : "allow";
    return answer === "allow" ? "deny" : answer;
  });
  for (const worst of ["deny", "forbidden", "refused"] as const) if (answers.includes(worst)) return worst;
  return answers.includes(null) ? null : "allow";
}

function pendingReason({ request }: Probe): string {
  if (request === null) return "L7 rules hold this port that no proxy of ours enforces, so that it is closed";
  const what = request.kind === "dns" ? "DNS query" : `${request.kind === "http" ? "HTTP" : "Kafka"} request`;
  return `L7 rules decide about the ${what}, and nothing here can say how`;
}
