import test from "ava";
import type { CaseProbe } from "../../../../src/lab/conformance/case.ts";
import { pendingReason } from "../../../../src/lab/conformance/pending.ts";
import { formatReport, totalsOf } from "../../../../src/lab/conformance/report.ts";
import type { CaseResult } from "../../../../src/lab/conformance/run.ts";
import { conformanceCase, objects, probe, shop } from "./support.ts";

function reason(policies: string, from: string, to: string, more: Partial<CaseProbe> = {}): string | null {
  const one = conformanceCase(shop, { policies: objects(policies) });
  return pendingReason(probe(from, to, more), one);
}

const cnp = (spec: string) =>
  `{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: p}, spec: ${spec}}`;

const request = { method: "GET", path: "/", host: null, headers: [] };

test("HTTP requests are run; those of others and resolved names wait", (t) => {
  t.is(reason("", "shop/front", "shop/cart", { application: "http", request }), null);
  t.regex(reason("", "shop/front", "shop/cart", { application: "kafka" }) ?? "", /^kafka/);
  t.regex(reason("", "shop/front", "shop/cart", { application: "dns" }) ?? "", /^dns/);
  t.regex(reason("", "shop/front", "203.0.113.1", { resolved: true }) ?? "", /toFQDNs/);
  t.is(reason("", "shop/front", "203.0.113.1"), null);
});

test("a port that only L7 rules allow is closed without the proxy; a deny there can be seen already", (t) => {
  const http = cnp(`{ingress: [{toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{}]}}]}]}`);
  t.regex(reason(http, "shop/front", "shop/cart") ?? "", /L7 rule/);
  t.is(reason(http, "shop/front", "shop/cart", { expect: "deny" }), null);
  t.is(reason(http, "shop/front", "shop/cart", { port: 81 }), null);
  t.is(reason(http, "shop/front", "shop/cart", { protocol: "UDP" }), null);
  t.is(reason(http, "shop/front", "shop/cart", { protocol: "ICMP", port: 80 }), null);
  const range = cnp(`{egress: [{toPorts: [{ports: [{port: "53", endPort: 90, protocol: ANY}], rules: {dns: [{}]}}]}]}`);
  t.regex(reason(range, "shop/front", "shop/cart") ?? "", /L7 rule/);
});

test("a port over which a case sends requests greets nobody, so that a connection alone shows nothing there", (t) => {
  const asking = probe("shop/front", "shop/cart", { application: "http", request });
  const plain = probe("shop/db", "shop/cart");
  const one = conformanceCase(shop, { probes: [asking, plain] });
  t.regex(pendingReason(plain, one) ?? "", /speaks HTTP/);
  t.is(pendingReason({ ...plain, expect: "deny" }, one), null);
  t.is(pendingReason({ ...plain, port: 81 }, one), null);
});

test("an allow without L7 rules beside it lifts them, so the probe is run", (t) => {
  const both = cnp(`
    {ingress: [{toPorts: [{ports: [{port: "80"}], rules: {http: [{}]}}]}, {toPorts: [{ports: [{port: "80"}]}]}]}`);
  t.is(reason(both, "shop/front", "shop/cart"), null);
});

test("the node's own traffic under policies of nodes waits for nothing", (t) => {
  const host = cnp("{nodeSelector: {}, ingress: [{}]}");
  t.is(reason(host, "node/worker-1", "203.0.113.1"), null);
  t.is(reason(host, "shop/front", "shop/agent"), null);
});

test("the report lists every mismatch with what was expected and seen, pending by reason, and ends in the totals", (t) => {
  const one = (status: "passed" | "failed" | "pending", seen: string) => ({
    probe: probe("shop/front", "shop/cart"),
    status,
    seen,
    ms: null,
  });
  const results: readonly CaseResult[] = [
    {
      name: "01-a",
      description: "",
      ms: 1,
      error: null,
      probes: [one("passed", "answered"), one("failed", "no answer"), one("pending", "why"), one("pending", "why")],
    },
    { name: "02-b", description: "", ms: 1, error: "LAB_CNI: no", probes: [one("failed", "not tried")] },
  ];
  t.deepEqual(totalsOf(results), { passed: 1, failed: 2, pending: 2 });
  const lines = formatReport(results).split("\n");
  t.is(lines.at(-1), "2 cases: 1 passed, 2 failed, 2 pending");
  t.true(lines.some((line) => /01-a #1 +shop\/front to shop\/cart TCP 80 +allow +no answer/.test(line)));
  t.true(lines.some((line) => /01-a +2 of 4 +why/.test(line)));
  t.true(lines.some((line) => /02-b +LAB_CNI: no/.test(line)));
});
