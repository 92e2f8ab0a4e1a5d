import test from "ava";
import { eventLine } from "../../../src/cli/monitor.ts";
import { l7EventReport, type L7RequestRecord } from "../../../src/observe/l7-events.ts";

const record: L7RequestRecord = {
  time: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
  protocol: "http/1.1",
  verdict: "forwarded",
  direction: null,
  reason: null,
  source: { address: "10.0.1.2", port: 40_000, identity: 300 },
  destination: { address: "fd00::3", port: 80, identity: 301 },
  ruleSet: 7,
  latency: 1_540,
  http: { method: "GET", host: "api", path: "/v1?x=1", status: 200 },
};

const nameOf = ({ text }: { readonly text: string }) => (text === "10.0.1.2" ? "shop/web-0" : "");
const context = {
  write: () => undefined,
  note: () => undefined,
  setExitCode: () => undefined,
  env: {},
  colour: false,
  signal: new AbortController().signal,
};

function line(more: Partial<L7RequestRecord> = {}): string {
  const [event] = l7EventReport([{ ...record, ...more }], nameOf);
  return event === undefined ? "" : eventLine(context, event);
}

test("a request that passed: who asked whom for what, and how long the answer took", (t) => {
  t.is(
    line(),
    "2026-01-02T03:04:05.678Z -> l7 forwarded shop/web-0 (10.0.1.2:40000) -> [fd00::3]:80 http/1.1 GET api/v1?x=1 200, 1.5 ms\n",
  );
});

test("a request that did not pass: whose policy said so, or what was wrong with it", (t) => {
  const denied = line({ verdict: "denied", direction: "ingress", ruleSet: 0, latency: null });
  t.true(denied.includes("xx l7 denied"), denied);
  t.true(denied.endsWith(": no L7 rule allows it (ingress)\n"), denied);
  const refused = line({ verdict: "refused", reason: "a bare LF", latency: null });
  t.true(refused.endsWith(": a bare LF\n"), refused);
});

test("each protocol has its summary, and events carry what was asked as it was", (t) => {
  const { http: _, ...bare } = record;
  const of = (more: Partial<L7RequestRecord>) => l7EventReport([{ ...bare, ...more }], nameOf)[0];
  t.is(of({ protocol: "tls", tls: { serverName: "a.example.com" } })?.l7?.summary, "a.example.com");
  const dns = { name: "a.example.com.", type: 1, code: 0, addresses: ["192.0.2.1"], ttl: 30 };
  t.is(of({ protocol: "dns", dns })?.l7?.summary, "a.example.com. type 1 192.0.2.1");
  const kafka = { apiKey: 0, apiVersion: 9, correlationId: 1, clientId: "c", topics: ["orders"], error: 29 };
  t.is(of({ protocol: "kafka", kafka })?.l7?.summary, "API key 0 v9 orders error 29");
  t.deepEqual(of({ protocol: "dns", dns })?.l7?.dns, dns);
  t.deepEqual(of({})?.rules, ["L7 rules 7"]);
});
