import test from "ava";
import { planProbe } from "../../../../src/lab/conformance/attempts.ts";
import { overBothFamilies } from "../../../../src/lab/conformance/dual.ts";
import { Who } from "../../../../src/lab/conformance/who.ts";
import { conformanceCase, objects, probe, shop } from "./support.ts";

const policy = (spec: string) =>
  objects(`{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: p}, spec: ${spec}}`);

test("probes between pods and nodes have a twin over IPv6, sent between addresses that both got", (t) => {
  const probes = [
    probe("shop/front", "shop/cart", { expect: "deny" }),
    probe("node/worker-2", "shop/front", { protocol: "SCTP" }),
    probe("shop/agent", "shop/front"),
    probe("shop/front", "shop/cart", { request: { kind: "dns", name: "a.test", type: "A" }, expect: "refused" }),
  ];
  const dual = overBothFamilies(conformanceCase(shop, { probes, policies: policy("{ingress: [{}]}") }));
  t.deepEqual(dual.probes.slice(0, 4), probes);
  const who = new Who(dual);
  const sent = dual.probes.slice(4).map((twin) => {
    const plan = planProbe(twin, who);
    return plan.kind === "send" ? [plan.attempts[0]?.source, plan.attempts[0]?.destination, twin.expect] : plan.reason;
  });
  t.deepEqual(sent, [
    ["fd00:244:1::11", "fd00:244:2::12", "deny"],
    ["fd00:10::12", "fd00:244:1::11", "allow"],
    ["fd00:10::12", "fd00:244:1::11", "allow"],
    ["fd00:244:1::11", "fd00:244:2::12", "refused"],
  ]);
});

test("what an address, a service or ICMP decides has no twin", (t) => {
  const probes = [
    probe("203.0.113.5", "shop/cart"),
    probe("shop/front", "svc/shop/both"),
    probe("shop/front", "shop/cart", { protocol: "ICMP", port: 8 }),
    probe("shop/front", "shop/cart", { family: 4 }),
    probe("shop/front", "shop/cart", { resolved: [{ name: "a.test", addresses: ["203.0.113.1"] }] }),
  ];
  t.deepEqual(overBothFamilies(conformanceCase(shop, { probes })).probes, probes);
});

test("a case whose policies name addresses stays as it is", (t) => {
  for (const spec of ["{egress: [{toCIDR: [10.0.0.0/8]}]}", "{ingress: [{fromEntities: [kube-apiserver]}]}"]) {
    const one = conformanceCase(shop, { policies: policy(spec) });
    t.is(overBothFamilies(one), one);
  }
});
