import test from "ava";
import { planProbe } from "../../../../src/lab/conformance/attempts.ts";
import { Who } from "../../../../src/lab/conformance/who.ts";
import { conformanceCase, probe, shop } from "./support.ts";

const who = new Who(conformanceCase(shop));

function plan(...args: Parameters<typeof probe>) {
  return planProbe(probe(...args), who);
}

function only(...args: Parameters<typeof probe>) {
  const made = plan(...args);
  if (made.kind !== "send") throw new Error(made.reason);
  return made.attempts[0];
}

test("a literal address means the pod or node that has it, else somebody outside", (t) => {
  t.like(only("10.244.1.11", "shop/cart"), { place: "shop/front", source: "10.244.1.11" });
  t.like(only("192.168.10.12", "shop/front"), { place: "node/worker-2", source: "192.168.10.12" });
  t.like(only("203.0.113.5", "shop/front"), { place: "outside", source: "203.0.113.5" });
  t.like(only("shop/front", "203.0.113.5"), { destination: "203.0.113.5", servers: ["outside"] });
});

test("a finished pod is nobody, and its address is outside", (t) => {
  t.is(plan("shop/done", "shop/cart").kind, "broken");
  t.like(only("10.244.1.110", "shop/cart"), { place: "outside" });
});

test("a pod on the host network sends from its own cgroup, and its node answers for it", (t) => {
  t.like(only("shop/agent", "shop/cart"), { place: "shop/agent", source: "192.168.10.12" });
  t.like(only("shop/front", "shop/agent"), { destination: "192.168.10.12", servers: ["node/worker-2"] });
  const made = plan("shop/front", "shop/agent", { port: 9100 });
  t.like(made, { listeners: [{ place: "node/worker-2", protocol: "tcp", port: 9100 }] });
});

test("the family: the probe's, that of ICMP's version, IPv4 where both have it, else IPv6; none in common is a deny", (t) => {
  t.like(only("shop/front", "shop/cart"), { destination: "10.244.2.12" });
  t.like(only("shop/six", "shop/cart"), { source: "fd00:244:1::66", destination: "fd00:244:2::12" });
  t.like(only("node/worker-1", "shop/cart", { family: 6 }), { source: "fd00:10::11", destination: "fd00:244:2::12" });
  t.like(only("2001:db8::1", "shop/cart"), { destination: "fd00:244:2::12" });
  t.like(only("node/worker-1", "shop/cart", { protocol: "ICMPv6", port: 128 }), { destination: "fd00:244:2::12" });
  t.is(plan("shop/front", "shop/six").kind, "impossible");
  t.is(plan("shop/front", "shop/cart", { family: 6 }).kind, "impossible");
  t.is(plan("shop/six", "shop/cart", { protocol: "ICMP", port: 8 }).kind, "impossible");
});

test("an echo request is answered by anybody's kernel, any other ICMP message has to arrive", (t) => {
  t.like(only("shop/front", "shop/cart", { protocol: "ICMP", port: 8 }), { servers: ["-"], arrivesAt: null });
  t.like(only("shop/front", "shop/agent", { protocol: "ICMP", port: 13 }), { arrivesAt: "node/worker-2" });
  t.like(only("node/worker-1", "shop/cart", { protocol: "ICMPv6", port: 8 }), { arrivesAt: "shop/cart" });
});

test("a service is tried so often that each ready backend is met, whichever it is", (t) => {
  const made = plan("shop/front", "svc/shop/both");
  if (made.kind !== "send") throw new Error(made.reason);
  t.is(made.attempts.length, 36);
  t.like(made.attempts[0], { destination: "10.96.0.50", port: 80, servers: ["shop/front", "shop/cart", "outside"] });
  t.deepEqual(made.listeners, [
    { place: "shop/front", protocol: "tcp", port: 8080 },
    { place: "shop/cart", protocol: "tcp", port: 8080 },
    { place: "outside", protocol: "tcp", port: 8080 },
  ]);
  t.false(made.nobodyBehind);
});

test("a service without ready backends or without that port is tried once, and nobody may answer", (t) => {
  for (const made of [
    plan("shop/front", "svc/shop/empty"),
    plan("shop/front", "svc/shop/both", { port: 8080 }),
    plan("shop/front", "svc/shop/both", { protocol: "UDP" }),
  ]) {
    if (made.kind !== "send") throw new Error(made.reason);
    t.true(made.nobodyBehind);
    t.is(made.attempts.length, 1);
    t.deepEqual(made.attempts[0]?.servers, []);
  }
});

test("what the cluster does not have is a broken probe, not a deny", (t) => {
  t.is(plan("shop/nobody", "shop/cart").kind, "broken");
  t.is(plan("shop/front", "node/worker-9").kind, "broken");
  t.is(plan("shop/front", "svc/shop/none").kind, "broken");
});

test("outside are the addresses that probes and endpoint slices name and nobody in the cluster has", (t) => {
  const probes = [
    probe("203.0.113.5", "shop/cart"),
    probe("shop/cart", "10.244.1.11"),
    probe("shop/cart", "10.244.1.110"),
  ];
  t.deepEqual(who.outsideAddresses(probes), ["10.244.1.110", "10.244.9.9", "203.0.113.5", "203.0.113.80"]);
});

test("a request is asked over its protocol, and whoever serves has to speak it", (t) => {
  const dns = { kind: "dns", name: "a.test", type: "A" } as const;
  const made = plan("shop/front", "shop/cart", { protocol: "UDP", port: 53, request: dns });
  t.like(made, { listeners: [{ place: "shop/cart", protocol: "dns", port: 53 }] });
  t.like(made, { attempts: [{ protocol: "udp", asked: dns, servers: ["shop/cart"] }] });
  const kafka = { kind: "kafka", apiKey: "fetch", apiVersion: 0, clientId: "", topics: ["t"] } as const;
  t.like(plan("shop/front", "shop/cart", { request: kafka }), { listeners: [{ protocol: "kafka" }] });
  t.is(plan("shop/front", "shop/cart", { request: { ...kafka, apiKey: "createTopics" } }).kind, "broken");
  t.is(plan("shop/front", "shop/cart", { request: { ...kafka, apiVersion: 12 } }).kind, "broken");
});

test("where nothing comes by itself a connection is only opened; over UDP anything is asked", (t) => {
  const silent = (protocol: "TCP" | "UDP") => {
    const made = planProbe(probe("shop/front", "shop/cart", { protocol }), who, true);
    return made.kind === "send" ? made.attempts[0] : null;
  };
  t.like(silent("TCP"), { protocol: "open", asked: null, servers: ["-"] });
  t.like(silent("UDP"), { protocol: "udp", asked: { kind: "dns" }, servers: ["shop/cart"] });
});
