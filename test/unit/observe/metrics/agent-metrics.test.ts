import { readFileSync } from "node:fs";
import test from "ava";
import { agentMetrics } from "../../../../src/observe/metrics/agent-metrics.ts";
import { Counters } from "../../../../src/operator/metrics.ts";
import { networkMetrics } from "../../../../src/observe/metrics/network-metrics.ts";
import { Durations } from "../../../../src/observe/metrics/durations.ts";
import type { Family } from "../../../../src/observe/metrics/exposition.ts";
import { maxRuleSets } from "../../../../src/observe/metrics/proxy-metrics.ts";
import { PolicyRequests } from "../../../../src/observe/metrics/policy-requests.ts";
import { compiledSet, fullStatus, rule, text } from "./status-fixture.ts";

const page = readFileSync(new URL("../../../../docs/metrics.md", import.meta.url), "utf8");

/** All that an agent can serve. */
function everything(): readonly Family[] {
  const durations = new Durations();
  durations.cni("ADD", true, 40);
  durations.policyChange(10);
  durations.round("compute", 1);
  const requests = new PolicyRequests();
  requests.follow([{ id: 7, text }], [compiledSet([["CiliumNetworkPolicy shop/api egress[0]"]])]);
  requests.take("1", [rule(7)]);
  return [...agentMetrics(fullStatus()), ...network(), ...durations.metrics(), ...requests.metrics()];
}

function network(): readonly Family[] {
  const seconds = { buckets: [{ le: 0.001, count: 3 }], sum: 0.002, count: 4 };
  return networkMetrics({
    bgpPeers: new Map([
      ["192.0.2.2", { state: "ESTABLISHED" }],
      ["192.0.2.3", { state: "ACTIVE" }],
      ["192.0.2.4", { state: "ESTABLISHED" }],
    ]),
    bgpPaths: new Map(),
    nodeHealth: new Map([
      ["n2", { state: "reachable" }],
      ["n3", { state: "unreachable" }],
    ]),
    probes: [{ kind: "icmp", sent: 5, lost: 1, seconds }],
  });
}

/** Series of a name, as {labels: value}. */
function series(name: string, status = fullStatus()): Record<string, number> {
  const samples = agentMetrics(status).find((family) => family.name === name)?.samples ?? [];
  return Object.fromEntries(
    samples.map((sample) => [Object.values(sample.labels).join(" "), "value" in sample ? sample.value : sample.count]),
  );
}

test("docs/metrics.md has every metric of agents and the operator with type, labels and meaning, and no other", (t) => {
  const served = everything().map(({ name, type, help, samples }) => {
    const labels = Object.keys(samples[0]?.labels ?? {}).map((label) => `\`${label}\``);
    return `| \`${name}\` | ${type} | ${labels.join(", ")} | ${help} |`;
  });
  const lines = page.split("\n").filter((line) => line.startsWith("| `tandem_"));
  t.deepEqual(
    lines.filter((line) => !line.includes("tandem_operator_")),
    served,
  );
  const operators = new Counters().text().matchAll(/^# HELP (\S+) (.*)\n# TYPE \S+ (\S+)$/gm);
  t.deepEqual(
    lines.filter((line) => line.includes("tandem_operator_")),
    [...operators].map(([, name, help, type]) => `| \`${name}\` | ${type} | ${help} |`),
  );
});

test("alerts of docs/metrics.md are about metrics that there are", (t) => {
  const names = new Set(everything().map(({ name }) => name));
  const asked = page.split("\n").filter((line) => line.trim().startsWith("expr: "));
  t.true(asked.length > 5);
  for (const [name] of asked.join("\n").matchAll(/tandem_\w+/g)) t.true(names.has(name.replace(/_bucket$/, "")), name);
});

test("names and labels are legal, each name is there once in both formats, counters and only they end in _total", (t) => {
  const families = everything();
  for (const { name, type, samples } of families) {
    t.regex(name, /^tandem_[a-z0-9_]+$/);
    t.is(name.endsWith("_total"), type === "counter", name);
    t.true(samples.length > 0, name);
    const keys = samples.map(({ labels }) => JSON.stringify(labels));
    t.is(new Set(keys).size, keys.length, name);
  }
  const names = families.map(({ name }) => name.replace(/_total$/, ""));
  t.is(new Set(names).size, names.length);
});

test("figures are those of the status, in base units", (t) => {
  t.deepEqual(series("tandem_drop_packets_total"), { "policy denied ingress": 11 });
  t.deepEqual(series("tandem_forward_bytes_total"), { egress: 720 });
  t.deepEqual(series("tandem_start_to_ready_seconds"), { "": 1.5 });
  t.deepEqual(series("tandem_map_entries"), { conntrack: 10 });
  t.deepEqual(series("tandem_routes_missing"), { "": 1 });
  t.deepEqual(series("tandem_proxy_rule_latency_seconds_total"), { "99 7": 2.5 });
  t.deepEqual(series("tandem_proxy_request_seconds"), { "99 dns": 2 });
  t.deepEqual(series("tandem_proxy_dns_hold_seconds"), { "99": 3 });
});

test("denied requests are counted without identities", (t) => {
  t.deepEqual(series("tandem_proxy_denied_requests_total"), { "99 http egress": 5, "99 http none": 1 });
});

test("rule sets beyond the bound share one series", (t) => {
  const rules = Array.from({ length: maxRuleSets + 3 }, (_, id) => rule(id));
  const found = series("tandem_proxy_rule_requests_total", fullStatus(rules));
  t.is(Object.keys(found).length, maxRuleSets + 1);
  t.is(found["99 other"], 6);
});

test("an agent that is not ready yet has no time of it", (t) => {
  t.deepEqual(series("tandem_start_to_ready_seconds", { ...fullStatus(), readyMs: null, ready: false }), {});
});

test("peers and nodes are counted by state, whatever there is of each", (t) => {
  const of = (name: string) =>
    network()
      .find((family) => family.name === name)
      ?.samples.map((sample) => [...Object.values(sample.labels), "value" in sample ? sample.value : sample.count]);
  t.deepEqual(of("tandem_bgp_peers"), [
    ["established", 2],
    ["down", 1],
  ]);
  t.deepEqual(of("tandem_nodes"), [
    ["reachable", 1],
    ["partly", 0],
    ["unreachable", 1],
    ["unknown", 0],
  ]);
  t.deepEqual(of("tandem_node_probe_seconds"), [["icmp", 4]]);
});
