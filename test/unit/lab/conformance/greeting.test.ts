import test from "ava";
import type { CaseProbe } from "../../../../src/lab/conformance/case.ts";
import { isSilent } from "../../../../src/lab/conformance/greeting.ts";
import { conformanceCase, objects, probe, shop } from "./support.ts";

const to = (more: Partial<CaseProbe> = {}) => probe("shop/front", "shop/cart", more);
const under = (spec: string, more: Partial<CaseProbe> = {}) => {
  const policy = `{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: p}, spec: ${spec}}`;
  return isSilent(to(more), conformanceCase(shop, { policies: objects(policy) }));
};
const request = { kind: "http", method: "GET", path: "/", host: null, headers: [] } as const;

test("nothing comes by itself from a port that only L7 rules allow", (t) => {
  const http = `{ingress: [{toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{}]}}]}]}`;
  t.true(under(http));
  t.true(under(http, { expect: "deny" }), "that somebody took the connection has to be seen, too");
  t.false(under(http, { request }));
  t.false(under(http, { port: 81 }));
  t.false(under(http, { protocol: "UDP" }));
  t.false(under(http, { protocol: "ICMP", port: 80 }));
  const range = `{egress: [{toPorts: [{ports: [{port: "53", endPort: 90, protocol: ANY}], rules: {dns: [{}]}}]}]}`;
  t.true(under(range));
  t.true(under(range, { protocol: "UDP" }));
});

test("an allow without L7 rules beside it lifts them", (t) => {
  t.false(
    under(
      `{ingress: [{toPorts: [{ports: [{port: "80"}], rules: {http: [{}]}}]}, {toPorts: [{ports: [{port: "80"}]}]}]}`,
    ),
  );
});

test("policies of nodes hold no port", (t) => {
  t.false(under("{nodeSelector: {}, ingress: [{}]}"));
});

test("a port over which a case sends requests greets nobody", (t) => {
  const plain = probe("shop/db", "shop/cart");
  const one = conformanceCase(shop, { probes: [to({ request }), plain] });
  t.true(isSilent(plain, one));
  t.false(isSilent({ ...plain, port: 81 }, one));
  const dns = to({ protocol: "UDP", port: 53, request: { kind: "dns", name: "a.test", type: "A" } });
  const other = conformanceCase(shop, { probes: [dns, plain] });
  t.false(isSilent({ ...plain, protocol: "UDP", port: 53 }, other), "servers of DNS answer probes, too");
});
