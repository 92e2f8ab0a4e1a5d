/**
 * Probes against a cluster: what each sees, and whether that is what was expected. What can only be judged by something that is not
 * enforced yet (L7 requests) is pending with its reason, and nothing else is: a probe that is decided
 * before such a thing has a say is judged.
 */
import type { OfflineCluster } from "./cluster.ts";
import { type Connection, connect, type Verdict } from "./connection.ts";
import { findEnd } from "./ends.ts";
import { type Probe, probeFlow } from "./probes.ts";

export interface ProbeResult {
  readonly probe: Probe;
  readonly status: "passed" | "failed" | "pending";
  /** Null: it could not be tried. */
  readonly seen: Verdict | null;
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
  const reason = pendingReason(probe, connection);
  if (reason !== null) return { probe, status: "pending", seen: connection.verdict, connection, cluster, reason };
  const status = connection.verdict === probe.expect ? "passed" : "failed";
  return { probe, status, seen: connection.verdict, connection, cluster, reason: null };
}

/** Null: everything that has a say is enforced. */
function pendingReason(probe: Probe, connection: Connection): string | null {
  // An end that denies whatever is asked has the last word; a connection that is only opened gets as far as the proxy.
  if (connection.verdict === "redirect") return l7Reason(probe);
  const redirected = connection.paths.some(
    ({ egress, verdict }) => verdict === "deny" && egress?.verdict === "redirect",
  );
  return redirected && probe.request !== null ? l7Reason(probe) : null;
}

function l7Reason({ request }: Probe): string {
  if (request === null) return "L7 rules hold this port, which is closed until a proxy enforces them";
  return `L7 rules decide about the ${request === "dns" ? "DNS query" : `${request === "http" ? "HTTP" : "Kafka"} request`}, and no proxy enforces them yet`;
}
