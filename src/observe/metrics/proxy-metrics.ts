/**
 * What the L7 engines say in numbers. A series belongs to one engine (`pid`): while one takes over from another there are two, and a sum of both
 * would go backwards. Rules are told apart by the number of their set, never by what was asked for; the sets beyond a bound are counted together.
 */
import type { StatusDto } from "../../api/dto.ts";
import type { HistogramSampleDto } from "../../api/metrics-dto.ts";
import type { ProxyDurations } from "../../api/proxy-dto.ts";
import type { Family, Sample } from "./exposition.ts";

type ProxyDto = StatusDto["proxy"];
type ProxyInstance = ProxyDto["instances"][number];
type ProxyStats = NonNullable<ProxyInstance["stats"]>;
type RuleCount = ProxyStats["rules"][number];
type DeniedCount = ProxyStats["denied"][number];

/** Rule sets of one engine that have series of their own. */
export const maxRuleSets = 200;

export function proxyMetrics({ instances, ruleSets }: ProxyDto): readonly Family[] {
  const each = (samplesOf: (stats: ProxyStats) => readonly Sample[]): readonly Sample[] =>
    instances.flatMap((instance) => withPid(instance, samplesOf));
  const one = (value: (stats: ProxyStats) => number) => each((stats) => [{ labels: {}, value: value(stats) }]);
  const byRule = (value: (rule: RuleCount) => number) => each(({ rules }) => ruleSamples(rules, value));
  return [
    family("tandem_proxy_rule_sets", "gauge", "Different sets of L7 rules.", [{ labels: {}, value: ruleSets }]),
    family(
      "tandem_proxy_open_connections",
      "gauge",
      "Open connections of clients.",
      one((stats) => stats.connections),
    ),
    family(
      "tandem_proxy_connections_total",
      "counter",
      "Connections of clients.",
      one((stats) => stats.connectionsTotal),
    ),
    family(
      "tandem_proxy_refused_connections_total",
      "counter",
      "Connections beyond a limit of number, memory or open files.",
      one((stats) => stats.refused),
    ),
    family(
      "tandem_proxy_limits_total",
      "counter",
      "How often a limit took effect, by its setting.",
      each(limitSamples),
    ),
    family(
      "tandem_proxy_dns_dropped_total",
      "counter",
      "Questions that are none, and answers to nothing that was asked: poisoned, late, or a second one.",
      each(({ dns }) =>
        dns === undefined
          ? []
          : [
              { labels: { what: "question" }, value: dns.malformed },
              { labels: { what: "answer" }, value: dns.stray },
            ],
      ),
    ),
    family(
      "tandem_proxy_requests_total",
      "counter",
      "Requests of all protocols.",
      one((stats) => stats.requests),
    ),
    family(
      "tandem_proxy_memory_bytes",
      "gauge",
      "Memory of all connections together.",
      one((stats) => stats.memory),
    ),
    family(
      "tandem_proxy_lost_records_total",
      "counter",
      "Records that nobody took in time.",
      one((stats) => stats.recordsLost),
    ),
    family(
      "tandem_proxy_rule_requests_total",
      "counter",
      "Requests that a set of rules allowed.",
      byRule((rule) => rule.requests),
    ),
    family(
      "tandem_proxy_rule_answers_total",
      "counter",
      "Of those, the ones that were answered.",
      byRule((rule) => rule.answered),
    ),
    family(
      "tandem_proxy_rule_latency_seconds_total",
      "counter",
      "Time until those were answered, in sum.",
      byRule((rule) => rule.latencySum / 1e6),
    ),
    family(
      "tandem_proxy_denied_requests_total",
      "counter",
      "Requests that no rule allows; direction none: they could not be passed on.",
      each(({ denied }) => deniedSamples(denied)),
    ),
    {
      name: "tandem_proxy_request_seconds",
      type: "histogram",
      help: "From a request's first byte to that of its answer; the server's time is in it.",
      samples: durations(instances, ({ requests }) =>
        requests.map(([protocol, data]) => ({ labels: { protocol }, ...data })),
      ),
    },
    {
      name: "tandem_proxy_dns_hold_seconds",
      type: "histogram",
      help: "Time that answers of DNS waited until their addresses were open.",
      samples: durations(instances, ({ dnsHold }) => [{ labels: {}, ...dnsHold }]),
    },
  ];
}

function durations(
  instances: readonly ProxyInstance[],
  samplesOf: (durations: ProxyDurations) => readonly HistogramSampleDto[],
): readonly HistogramSampleDto[] {
  return instances.flatMap(({ pid, stats }) =>
    stats?.durations === undefined
      ? []
      : samplesOf(stats.durations).map((sample) => ({ ...sample, labels: { pid: String(pid), ...sample.labels } })),
  );
}

function withPid(
  { pid, stats }: ProxyInstance,
  samplesOf: (stats: ProxyStats) => readonly Sample[],
): readonly Sample[] {
  if (stats === null) return [];
  return samplesOf(stats).map(({ labels, value }) => ({ labels: { pid: String(pid), ...labels }, value }));
}

function ruleSamples(rules: readonly RuleCount[], value: (rule: RuleCount) => number): readonly Sample[] {
  const sorted = [...rules].sort((a, b) => a.ruleSet - b.ruleSet);
  const sums = new Map<string, number>();
  sorted.forEach((rule, index) => {
    add(sums, index < maxRuleSets ? String(rule.ruleSet) : "other", value(rule));
  });
  return [...sums].map(([rule_set, sum]) => ({ labels: { rule_set }, value: sum }));
}

/** Identities are left out: their pairs have no bound. */
function deniedSamples(denied: readonly DeniedCount[]): readonly Sample[] {
  const sums = new Map<string, Map<string, number>>();
  for (const { protocol, direction, requests } of denied) {
    const byDirection = sums.get(protocol) ?? new Map<string, number>();
    sums.set(protocol, byDirection);
    add(byDirection, direction ?? "none", requests);
  }
  return [...sums].flatMap(([protocol, byDirection]) =>
    [...byDirection].map(([direction, value]) => ({ labels: { protocol, direction }, value })),
  );
}

function add(sums: Map<string, number>, key: string, value: number): void {
  sums.set(key, (sums.get(key) ?? 0) + value);
}

/** Those of DNS stand beside those of connections. */
function limitSamples({ limits = {}, dns }: ProxyStats): readonly Sample[] {
  const ofDns =
    dns === undefined
      ? {}
      : {
          dnsQuestions: dns.overloaded,
          // A proxy of an earlier version does not say so.
          dnsRules: dns.unruled ?? 0,
          dnsServerTimeout: dns.silent,
          dnsResponseMaxDelay: dns.overdue,
          dnsLookups: dns.lost,
        };
  return Object.entries({ ...limits, ...ofDns }).map(([limit, value]) => ({ labels: { limit }, value }));
}

function family(name: string, type: "counter" | "gauge", help: string, samples: readonly Sample[]): Family {
  return { name, type, help, samples };
}
