/** Peers that are neither pods nor written addresses: CiliumCIDRGroups, nodes by labels, names of DNS. */
import test from "ava";
import type { ComputeResult } from "../../../../src/compute/index.ts";
import { nameKey } from "../../../../src/model/name-key.ts";
import { identityOf, judge, type Verdict } from "../../../support/kernel-verdict.ts";
import { address, Bench, node, pod, policy, prefix, setOf } from "../support.ts";

const at = (...texts: readonly string[]) => ({ addresses: texts.map(address) });

function verdict(result: ComputeResult, side: "ingress" | "egress", peer: string, name = "a", port = 80): Verdict {
  const from = address(peer);
  return judge(setOf(result, name), side, identityOf(result.desired, from), { peer: from, protocol: 6, port });
}

const allowed = (result: ComputeResult, side: "ingress" | "egress", ...peers: readonly string[]) =>
  peers.filter((peer) => verdict(result, side, peer) === "allow");

function bench(spec: object): Bench {
  return new Bench()
    .local(pod("a", at("10.1.1.2", "fd00:1:1::2")))
    .pods(pod("far", { node: "n2", ...at("10.1.2.2") }))
    .policies(policy("CiliumNetworkPolicy", { endpointSelector: {}, ...spec }));
}

function group(
  to: Bench,
  name: string,
  cidrs: readonly string[],
  labels: Readonly<Record<string, string>> = {},
): Bench {
  to.store.upsert("cidrGroups", name, { name, labels, externalCidrs: cidrs.map(prefix) });
  return to;
}

function learn(to: Bench, name: string, ...addresses: readonly string[]): Bench {
  to.store.upsert("names", nameKey(null, name), { name, addresses: addresses.map(address) });
  return to;
}

// ---- CiliumCIDRGroup ----

test("a group that is not there is nobody and told; when it comes, it holds and the warning goes; when it goes, it is nobody again", (t) => {
  const world = bench({ egress: [{ toCIDRSet: [{ cidrGroupRef: "partners" }] }] });
  const before = world.compute();
  t.deepEqual(
    before.problems.map(({ code, severity, object, field }) => [code, severity, object, field]),
    [["POLICY_GROUP_MISSING", "warning", "CiliumNetworkPolicy shop/p", "spec.egress[0].toCIDRSet[0].cidrGroupRef"]],
  );
  t.true(before.policies[0]?.valid, "it is in force: default deny holds");
  t.is(verdict(before, "egress", "203.0.113.7"), "deny");

  const with_ = group(world, "partners", ["203.0.113.0/24", "2001:db8::/32"]).compute();
  t.deepEqual(with_.problems, []);
  t.deepEqual(with_.policies[0]?.problems, []);
  t.deepEqual(allowed(with_, "egress", "203.0.113.7", "203.0.114.7", "2001:db8::7"), ["203.0.113.7", "2001:db8::7"]);

  world.store.delete("cidrGroups", "partners");
  const after = world.compute();
  t.is(verdict(after, "egress", "203.0.113.7"), "deny");
  t.deepEqual(after.problems, before.problems);
});

test("a reference that several port rules of one entry share is told once", (t) => {
  const ports = (port: string) => ({ ports: [{ port, protocol: "TCP" }] });
  const world = bench({ egress: [{ toCIDRSet: [{ cidrGroupRef: "g" }], toPorts: [ports("80"), ports("81")] }] });
  t.is(world.compute().problems.length, 1);
});

test("groups by labels are those that have them at the moment, and none is no mistake", (t) => {
  const world = bench({ ingress: [{ fromCIDRSet: [{ cidrGroupSelector: { matchLabels: { kind: "partner" } } }] }] });
  t.deepEqual(world.compute().problems, []);
  group(world, "g1", ["203.0.113.0/24"], { kind: "partner" });
  group(world, "g2", ["198.51.100.0/24"], { kind: "own" });
  t.deepEqual(allowed(world.compute(), "ingress", "203.0.113.7", "198.51.100.7"), ["203.0.113.7"]);
  group(world, "g2", ["198.51.100.0/24"], { kind: "partner" });
  group(world, "g1", ["203.0.113.0/24"]);
  t.deepEqual(allowed(world.compute(), "ingress", "203.0.113.7", "198.51.100.7"), ["198.51.100.7"]);
});

test("CIDRs of groups never match pods and nodes, whatever they hold", (t) => {
  const world = group(bench({ egress: [{ toCIDRSet: [{ cidrGroupRef: "all" }] }] }), "all", ["0.0.0.0/0"]);
  t.deepEqual(allowed(world.compute(), "egress", "10.1.2.2", "192.168.0.1", "192.168.0.2", "10.1.2.99", "8.8.8.8"), [
    "8.8.8.8",
  ]);
});

test("exceptions are taken out of the groups of their entry, also where they hold a whole CIDR or lie elsewhere", (t) => {
  const except = ["203.0.113.128/25", "10.0.0.0/8", "2001:db8::/32"];
  const world = bench({ egress: [{ toCIDRSet: [{ cidrGroupRef: "g", except }] }] });
  group(world, "g", ["203.0.113.0/24", "10.9.0.0/16", "198.51.100.0/24"]);
  t.deepEqual(allowed(world.compute(), "egress", "203.0.113.7", "203.0.113.200", "10.9.0.1", "198.51.100.1"), [
    "203.0.113.7",
    "198.51.100.1",
  ]);
});

test("a denied group wins over a CIDR that is allowed; as long as it is not there it denies nothing", (t) => {
  const world = bench({
    egress: [{ toCIDR: ["0.0.0.0/0"] }],
    egressDeny: [{ toCIDRSet: [{ cidrGroupRef: "bad" }, { cidrGroupSelector: { matchLabels: { list: "bad" } } }] }],
  });
  t.is(verdict(world.compute(), "egress", "203.0.113.7"), "allow");
  group(world, "bad", ["203.0.113.0/24"]);
  group(world, "worse", ["198.51.100.0/24"], { list: "bad" });
  t.deepEqual(allowed(world.compute(), "egress", "203.0.113.7", "198.51.100.7", "8.8.8.8"), ["8.8.8.8"]);
});

test("a changed group compiles anew what refers to it and nothing else", (t) => {
  const world = new Bench()
    .local(pod("a", at("10.1.1.2")), pod("b", at("10.1.1.3")))
    .policies(
      policy(
        "CiliumNetworkPolicy",
        { endpointSelector: { matchLabels: { app: "a" } }, egress: [{ toCIDRSet: [{ cidrGroupRef: "g" }] }] },
        { name: "a" },
      ),
      policy(
        "CiliumNetworkPolicy",
        { endpointSelector: { matchLabels: { app: "b" } }, egress: [{ toCIDR: ["203.0.113.0/24"] }] },
        { name: "b" },
      ),
    );
  const before = group(world, "g", ["203.0.113.0/24"]).compute();
  const after = group(world, "g", ["198.51.100.0/24"]).compute();
  t.not(setOf(after, "a"), setOf(before, "a"));
  t.not(setOf(after, "a").digest, setOf(before, "a").digest);
  t.is(setOf(after, "b"), setOf(before, "b"), "the same object");
  t.is(setOf(after, "a").ingress, setOf(before, "a").ingress, "its other direction too");
  const other = group(world, "unrelated", ["8.8.8.0/24"]).compute();
  t.is(setOf(other, "a"), setOf(after, "a"));
});

// ---- nodes ----

const labelled = (name: string, addresses: readonly string[], labels: Readonly<Record<string, string>>) => ({
  ...node(name, addresses),
  labels,
});

test("nodes are selected by their labels, with all their addresses, and never the pod's own", (t) => {
  const world = bench({ egress: [{ toNodes: [{ matchLabels: { pool: "db" } }] }] });
  world.nodes(
    labelled("n1", ["192.168.0.1"], { pool: "db" }),
    labelled("n2", ["192.168.0.2", "fd00:192::2", "203.0.113.2"], { pool: "db" }),
    labelled("n3", ["192.168.0.3"], { pool: "web" }),
  );
  const addresses = ["192.168.0.1", "192.168.0.2", "fd00:192::2", "203.0.113.2", "192.168.0.3", "10.1.2.2", "8.8.8.8"];
  t.deepEqual(allowed(world.compute(), "egress", ...addresses), ["192.168.0.2", "fd00:192::2", "203.0.113.2"]);
  world.nodes(labelled("n2", ["192.168.0.2"], { pool: "web" }), labelled("n3", ["192.168.0.3"], { pool: "db" }));
  t.deepEqual(allowed(world.compute(), "egress", ...addresses), ["192.168.0.3"]);
  world.store.delete("nodes", "n3");
  t.deepEqual(allowed(world.compute(), "egress", ...addresses), []);
});

test("an empty selector is every other node, and the cluster's name is a label of each", (t) => {
  for (const selector of [{}, { matchLabels: { "io.cilium.k8s.policy.cluster": "default" } }]) {
    const result = bench({ ingress: [{ fromNodes: [selector] }] }).compute();
    t.deepEqual(allowed(result, "ingress", "192.168.0.2", "10.1.2.2", "8.8.8.8"), ["192.168.0.2"]);
  }
});

test("a denied node is closed although remote nodes are allowed, on the ports of the denial", (t) => {
  const world = bench({
    ingress: [{ fromEntities: ["remote-node"] }],
    ingressDeny: [{ fromNodes: [{ matchLabels: { pool: "db" } }], toPorts: [{ ports: [{ port: "80" }] }] }],
  }).nodes(labelled("n2", ["192.168.0.2"], { pool: "db" }), labelled("n3", ["192.168.0.3"], {}));
  const result = world.compute();
  t.deepEqual(allowed(result, "ingress", "192.168.0.2", "192.168.0.3"), ["192.168.0.3"]);
  t.is(verdict(result, "ingress", "192.168.0.2", "a", 81), "allow");
});

test("the own node reaches its pod whatever denies say about nodes by label", (t) => {
  const result = bench({ ingressDeny: [{ fromNodes: [{}] }] }).compute();
  t.is(verdict(result, "ingress", "192.168.0.1"), "allow");
  t.is(verdict(result, "ingress", "192.168.0.2"), "deny");
});

// ---- names ----

test("a name stands for what it has given, and for nothing before", (t) => {
  const world = bench({ egress: [{ toFQDNs: [{ matchName: "API.example.com." }] }] });
  t.is(verdict(world.compute(), "egress", "203.0.113.7"), "deny");
  learn(world, "api.example.com", "203.0.113.7", "2001:db8::7");
  learn(world, "www.example.com", "203.0.113.8");
  t.deepEqual(allowed(world.compute(), "egress", "203.0.113.7", "2001:db8::7", "203.0.113.8"), [
    "203.0.113.7",
    "2001:db8::7",
  ]);
  learn(world, "api.example.com", "203.0.113.9");
  t.deepEqual(allowed(world.compute(), "egress", "203.0.113.7", "203.0.113.9"), ["203.0.113.9"]);
  world.store.delete("names", nameKey(null, "api.example.com"));
  t.deepEqual(allowed(world.compute(), "egress", "203.0.113.7", "203.0.113.9"), []);
});

test("an address stays open as long as one of its names gives it", (t) => {
  const world = bench({ egress: [{ toFQDNs: [{ matchPattern: "*.example.com" }] }] });
  learn(learn(world, "a.example.com", "203.0.113.7"), "b.example.com", "203.0.113.7");
  t.is(verdict(world.compute(), "egress", "203.0.113.7"), "allow");
  world.store.delete("names", nameKey(null, "a.example.com"));
  t.is(verdict(world.compute(), "egress", "203.0.113.7"), "allow");
  world.store.delete("names", nameKey(null, "b.example.com"));
  t.is(verdict(world.compute(), "egress", "203.0.113.7"), "deny");
});

test("a name that gives addresses of the cluster opens none of them", (t) => {
  const world = bench({ egress: [{ toFQDNs: [{ matchPattern: "*" }] }] });
  learn(world, "rebind.example.com", "10.1.2.2", "192.168.0.1", "192.168.0.2", "10.1.2.99", "203.0.113.7");
  t.deepEqual(
    allowed(world.compute(), "egress", "10.1.2.2", "192.168.0.1", "192.168.0.2", "10.1.2.99", "203.0.113.7"),
    ["203.0.113.7"],
  );
});

test("a denied CIDR closes an address that a name has given", (t) => {
  const world = bench({
    egress: [{ toFQDNs: [{ matchName: "a.example.com" }] }],
    egressDeny: [{ toCIDR: ["203.0.113.0/24"] }],
  });
  learn(world, "a.example.com", "203.0.113.7", "198.51.100.7");
  t.deepEqual(allowed(world.compute(), "egress", "203.0.113.7", "198.51.100.7"), ["198.51.100.7"]);
});

test("a name that no rule means compiles nothing anew", (t) => {
  const world = learn(
    bench({ egress: [{ toFQDNs: [{ matchName: "a.example.com" }] }] }),
    "a.example.com",
    "203.0.113.7",
  );
  const before = world.compute();
  const after = learn(world, "b.example.com", "203.0.113.8").compute();
  t.is(setOf(after, "a"), setOf(before, "a"));
});
