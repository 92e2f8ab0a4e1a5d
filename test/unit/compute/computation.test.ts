import test from "ava";
import { identityOf, judge } from "../../support/kernel-verdict.ts";
import { address, Bench, pod, policy, setOf } from "./support.ts";

const at = (...texts: readonly string[]) => ({ addresses: texts.map(address) });
const closed = policy("NetworkPolicy", { podSelector: {} });

function verdict(
  result: ReturnType<Bench["compute"]>,
  name: string,
  side: "ingress" | "egress",
  peer: string,
  port: number,
) {
  const from = address(peer);
  return judge(setOf(result, name), side, identityOf(result.desired, from), { peer: from, protocol: 6, port });
}

test("an endpoint without its Pod object stays closed, as do one of another pod of that name and one of a finished pod", (t) => {
  const bench = new Bench()
    .endpoint(pod("unknown", at("10.1.1.2")))
    .local(pod("done", { phase: "Succeeded", ...at("10.1.1.3") }))
    .pods(pod("old", { uid: "2" }))
    .endpoint(pod("old", at("10.1.1.4")), { uid: "1" })
    .pods(pod("same", { uid: "3" }))
    .endpoint(pod("same", at("10.1.1.5")), { uid: "3" });
  const { desired, identityOfPod } = bench.compute();
  t.deepEqual(
    desired.endpoints.map(({ row, set }) => [row.pod, set === null]),
    [
      ["shop/unknown", true],
      ["shop/done", true],
      ["shop/old", true],
      ["shop/same", false],
    ],
  );
  t.deepEqual(
    [...desired.identities.values()].filter(({ node }) => !node).map(({ identity }) => identity),
    [identityOfPod.get("shop/same") ?? 0],
  );
});

test("there are sets for pods of this node only, one for all pods of an identity", (t) => {
  const labels = { app: "web" };
  const { desired } = new Bench()
    .local(pod("a", { labels, ...at("10.1.1.2") }), pod("b", { labels, ...at("10.1.1.3") }))
    .pods(pod("far", { node: "n2", ...at("10.1.2.2") }))
    .compute();
  t.is(desired.sets.length, 1);
  t.deepEqual(new Set(desired.endpoints.map(({ set }) => set)).size, 1);
});

test("a policy that became invalid goes on as it was, with the reason; deleted or created anew it is gone", (t) => {
  const spec = { podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: "203.0.113.0/24" } }] }] };
  const broken = { podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: "203.0.113.0/99" } }] }] };
  const bench = new Bench().local(pod("a", at("10.1.1.2"))).policies(policy("NetworkPolicy", spec, { uid: "1" }));
  const before = bench.compute();
  t.is(verdict(before, "a", "ingress", "203.0.113.5", 80), "allow");
  t.is(verdict(before, "a", "ingress", "198.51.100.5", 80), "deny");

  bench.policies(policy("NetworkPolicy", broken, { uid: "1", generation: 2 }));
  const after = bench.compute();
  t.deepEqual(after.desired, before.desired);
  t.like(after.policies[0], { valid: false, pods: ["shop/a"] });
  t.deepEqual(after.problems.map(({ code }) => code).sort(), ["POLICY_CIDR", "POLICY_KEPT"]);

  bench.policies(policy("NetworkPolicy", broken, { uid: "2", generation: 1 }));
  const anew = bench.compute();
  t.is(verdict(anew, "a", "ingress", "198.51.100.5", 80), "allow", "another object of that name never was valid");
  t.deepEqual(
    anew.problems.map(({ code }) => code),
    ["POLICY_CIDR"],
  );

  bench.policies(policy("NetworkPolicy", spec, { uid: "2", generation: 2 }));
  t.deepEqual(bench.compute().problems, []);
  bench.store.delete("policies", "NetworkPolicy/shop/p");
  bench.compute();
  bench.policies(policy("NetworkPolicy", broken, { uid: "2", generation: 3 }));
  t.is(verdict(bench.compute(), "a", "ingress", "198.51.100.5", 80), "allow", "what was deleted is not remembered");
});

test("enforcement always closes pods that no policy selects, never opens all", (t) => {
  const make = (policyEnforcement: "always" | "never" | "default") =>
    new Bench({ policyEnforcement }).local(pod("a", at("10.1.1.2"))).policies(closed);
  const open = new Bench({ policyEnforcement: "always" }).local(pod("a", at("10.1.1.2"))).compute();
  for (const side of ["ingress", "egress"] as const) {
    t.is(verdict(open, "a", side, "203.0.113.5", 80), "deny");
    t.is(verdict(make("never").compute(), "a", side, "203.0.113.5", 80), "allow");
  }
  t.is(verdict(open, "a", "ingress", "192.168.0.1", 80), "allow", "from its own node");
  t.is(verdict(make("default").compute(), "a", "egress", "203.0.113.5", 80), "allow");
  t.deepEqual(make("never").compute().desired.sets[0]?.ingress.origins, []);
});

const egressOf = (result: ReturnType<Bench["compute"]>, peer: string) => verdict(result, "a", "egress", peer, 80);

test("enforcement default closes the direction that a selecting policy closes, and no other pod or direction", (t) => {
  const only = policy("CiliumNetworkPolicy", { endpointSelector: { matchLabels: { app: "a" } }, egress: [{}] });
  const result = new Bench({ policyEnforcement: "default" })
    .local(pod("a", at("10.1.1.2")), pod("b", at("10.1.1.3")))
    .policies(only)
    .compute();
  t.is(egressOf(result, "203.0.113.5"), "deny");
  t.is(verdict(result, "a", "ingress", "203.0.113.5", 80), "allow");
  for (const side of ["ingress", "egress"] as const) t.is(verdict(result, "b", side, "203.0.113.5", 80), "allow");
});

test("enforcement always closes both directions whatever enableDefaultDeny says, and rules open them", (t) => {
  const spec = {
    endpointSelector: {},
    egress: [{ toCIDR: ["203.0.113.0/24"] }],
    egressDeny: [{ toCIDR: ["203.0.113.9/32"] }],
    enableDefaultDeny: { egress: false },
  };
  const make = (policyEnforcement: "always" | "default") =>
    new Bench({ policyEnforcement })
      .local(pod("a", at("10.1.1.2")))
      .policies(policy("CiliumNetworkPolicy", spec))
      .compute();
  const peers = ["203.0.113.5", "203.0.113.9", "198.51.100.5"];
  t.deepEqual(
    peers.map((peer) => egressOf(make("always"), peer)),
    ["allow", "deny", "deny"],
  );
  t.deepEqual(
    peers.map((peer) => egressOf(make("default"), peer)),
    ["allow", "deny", "allow"],
  );
  t.is(verdict(make("always"), "a", "ingress", "203.0.113.5", 80), "deny", "no policy has an ingress rule");
});

test("enforcement never takes no notice of denials either, and policies are told about as ever", (t) => {
  const spec = { endpointSelector: {}, egressDeny: [{ toEntities: ["all"] }], ingress: [{}] };
  const result = new Bench({ policyEnforcement: "never" })
    .local(pod("a", at("10.1.1.2")))
    .policies(policy("CiliumNetworkPolicy", spec), policy("CiliumNetworkPolicy", { ingress: [{}] }, { name: "broken" }))
    .compute();
  t.is(egressOf(result, "203.0.113.5"), "allow");
  t.is(verdict(result, "a", "ingress", "203.0.113.5", 80), "allow");
  t.deepEqual(
    result.policies.map(({ name, valid, pods }) => [name, valid, pods]),
    [
      ["broken", false, []],
      ["p", true, ["shop/a"]],
    ],
  );
});

test("the own node reaches a closed pod unless a rule denies it; other nodes do not", (t) => {
  const bench = new Bench().local(pod("a", at("10.1.1.2"))).policies(closed);
  t.is(verdict(bench.compute(), "a", "ingress", "192.168.0.1", 80), "allow");
  t.is(verdict(bench.compute(), "a", "ingress", "192.168.0.2", 80), "deny");
  bench.policies(policy("CiliumNetworkPolicy", { endpointSelector: {}, ingressDeny: [{ fromEntities: ["host"] }] }));
  t.is(verdict(bench.compute(), "a", "ingress", "192.168.0.1", 80), "deny");
});

test("an address of a pod CIDR that nobody is known to have is neither a pod nor the outside", (t) => {
  const bench = new Bench().local(pod("a", at("10.1.1.2"))).policies(
    policy("CiliumNetworkPolicy", {
      endpointSelector: {},
      egress: [{ toEntities: ["world"] }, { toCIDR: ["0.0.0.0/0"] }],
    }),
  );
  const result = bench.compute();
  t.is(verdict(result, "a", "egress", "10.1.2.77", 80), "deny");
  t.is(verdict(result, "a", "egress", "10.9.9.9", 80), "allow");
});

const http = (port: number) => [{ name: "http", port, protocol: "TCP" as const }];

test("pods of one identity that mean different ports by a name have sets of their own, as long as a rule uses the name", (t) => {
  const labels = { app: "web" };
  const bench = new Bench()
    .local(
      pod("a", { labels, ports: http(80), ...at("10.1.1.2") }),
      pod("b", { labels, ports: http(8080), ...at("10.1.1.3") }),
      pod("c", { labels, ports: http(80), ...at("10.1.1.4") }),
    )
    .policies(policy("NetworkPolicy", { podSelector: {}, ingress: [{ ports: [{ port: "http" }] }] }));
  const result = bench.compute();
  t.is(result.desired.sets.length, 2);
  const open = (name: string) =>
    [80, 8080].filter((port) => verdict(result, name, "ingress", "203.0.113.5", port) === "allow");
  t.deepEqual(["a", "b", "c"].map(open), [[80], [8080], [80]]);
  bench.policies(closed);
  t.is(bench.compute().desired.sets.length, 1);
});

test("a name at egress is each destination's own port, also where pods of one identity disagree", (t) => {
  const labels = { app: "web" };
  const far = (name: string, port: number, text: string) =>
    pod(name, { labels, node: "n2", ports: http(port), ...at(text) });
  const spec = {
    podSelector: { matchLabels: { app: "me" } },
    policyTypes: ["Egress"],
    egress: [{ ports: [{ port: "http" }] }],
  };
  const bench = new Bench()
    .local(pod("me", at("10.1.1.2")))
    .pods(far("a", 80, "10.1.2.2"), far("b", 80, "10.1.2.3"))
    .policies(policy("NetworkPolicy", spec));
  const agreed = bench.compute();
  t.deepEqual(setOf(agreed, "me").egress.prefixes, [], "one identity says it all");
  t.is(verdict(agreed, "me", "egress", "10.1.2.3", 80), "allow");
  bench.pods(far("b", 8080, "10.1.2.3"));
  const differing = bench.compute();
  const open = (text: string) =>
    [80, 8080].filter((port) => verdict(differing, "me", "egress", text, port) === "allow");
  t.deepEqual(open("10.1.2.2"), [80]);
  t.deepEqual(open("10.1.2.3"), [8080]);
  t.deepEqual(open("203.0.113.5"), [], "who is no pod has no names");
});

test("the API server is known by its endpoints and stays the node or the outside that it is", (t) => {
  const slice = {
    namespace: "default",
    name: "kubernetes",
    service: "kubernetes",
    family: 4 as const,
    endpoints: ["192.168.0.2", "198.51.100.6"].map((text) => ({
      ...at(text),
      ready: true,
      serving: true,
      terminating: false,
      node: null,
      hints: null,
    })),
    ports: [],
  };
  const spec = { endpointSelector: {}, egress: [{ toEntities: ["kube-apiserver"] }] };
  const bench = new Bench().local(pod("a", at("10.1.1.2"))).policies(policy("CiliumNetworkPolicy", spec));
  t.is(verdict(bench.compute(), "a", "egress", "192.168.0.2", 6443), "deny");
  bench.store.upsert("endpointSlices", "default/kubernetes", slice);
  const result = bench.compute();
  t.is(verdict(result, "a", "egress", "192.168.0.2", 6443), "allow");
  t.is(verdict(result, "a", "egress", "198.51.100.6", 6443), "allow");
  t.is(verdict(result, "a", "egress", "192.168.0.1", 6443), "deny");
  t.is(identityOf(result.desired, address("192.168.0.2")), 6);
});

test("L7 rules close their traffic where default deny holds, and refuse nothing where it does not", (t) => {
  const rules = { toPorts: [{ ports: [{ port: "80", protocol: "TCP" }], rules: { http: [{ method: "GET" }] } }] };
  const make = (more: object) =>
    new Bench()
      .local(pod("a", at("10.1.1.2")))
      .policies(policy("CiliumNetworkPolicy", { endpointSelector: {}, ingress: [rules], ...more }))
      .compute();
  t.is(verdict(make({}), "a", "ingress", "203.0.113.5", 80), "redirect");
  t.is(verdict(make({ enableDefaultDeny: { ingress: false } }), "a", "ingress", "203.0.113.5", 80), "allow");
  t.is(verdict(make({ ingress: [rules, { fromEntities: ["world"] }] }), "a", "ingress", "203.0.113.5", 80), "allow");
  t.deepEqual(
    make({}).problems.map(({ code, severity }) => `${code} ${severity}`),
    [],
  );
});

test("a pod whose rules make too many groups is refused with its set, and other pods are not", (t) => {
  const ingress = Array.from({ length: 600 }, (_, index) => ({
    from: [{ podSelector: { matchLabels: { app: `x${index}` } } }],
    ports: [{ port: index + 1 }],
  }));
  // Peers that exist: rules about nobody make no group.
  const peers = Array.from({ length: 600 }, (_, index) => pod(`x${index}`, { node: "n2" }));
  const result = new Bench()
    .local(pod("a", at("10.1.1.2")), pod("b", at("10.1.1.3")))
    .pods(...peers)
    .policies(policy("NetworkPolicy", { podSelector: { matchLabels: { app: "a" } }, ingress }))
    .compute();
  t.regex(setOf(result, "a").refused ?? "", /601 groups/);
  t.is(setOf(result, "b").refused, null);
  t.deepEqual(
    result.problems.map(({ code }) => code),
    ["POLICY_TOO_MANY_GROUPS"],
  );
});

test("a change that touches no pod of this node leaves its sets the same objects", (t) => {
  const bench = new Bench()
    .local(pod("a", at("10.1.1.2")))
    .pods(pod("far", { node: "n2", ...at("10.1.2.2") }))
    .policies(policy("NetworkPolicy", { podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] }));
  const before = bench.compute();
  bench.pods(pod("far", { node: "n2", ready: false, ...at("10.1.2.3") }));
  const moved = bench.compute();
  t.is(setOf(moved, "a"), setOf(before, "a"));
  bench.pods(pod("new", { node: "n2", ...at("10.1.2.4") }));
  t.not(setOf(bench.compute(), "a"), setOf(before, "a"), "a new identity is a new peer");
});

test("audit mode is the agent's setting unless a pod has its own; it changes no set", (t) => {
  const audits = (setting: boolean | undefined) => {
    const bench = new Bench(setting === undefined ? {} : { policyAuditMode: setting });
    for (const [index, own] of [null, true, false].entries()) {
      const row = pod(`p${index}`, at(`10.1.1.${index + 2}`));
      bench.pods(row).endpoint(row, { policyAuditMode: own });
    }
    const { desired } = bench.policies(closed).compute();
    return { flags: desired.endpoints.map(({ audit }) => audit), sets: desired.sets };
  };
  t.deepEqual(audits(undefined).flags, [false, true, false]);
  t.deepEqual(audits(false).flags, [false, true, false]);
  t.deepEqual(audits(true).flags, [true, true, false]);
  t.deepEqual(audits(true).sets, audits(false).sets);
});

test("10,000 policies: each has its status, those that select nobody or are wrong take part in nothing, the others hold", (t) => {
  const letsIn = (i: number) => ({
    podSelector: { matchLabels: { app: i % 3 === 1 ? "nobody" : "web" } },
    ingress: [{ from: [{ podSelector: { matchLabels: { app: `app-${i}` } } }], ports: [{ port: 1 + (i % 100) }] }],
  });
  // Of three, one lets somebody into web, one selects nobody, one has a port that there is not.
  const wrong = (i: number) => ({ ...letsIn(i), ingress: [{ ports: [{ port: 70_000 + i }] }] });
  const rows = Array.from({ length: 10_000 }, (_, i) =>
    policy("NetworkPolicy", i % 3 === 2 ? wrong(i) : letsIn(i), { name: `p-${i}` }),
  );
  const bench = new Bench()
    .local(pod("web", at("10.1.1.2")))
    .pods(pod("app-3", { node: "n2", ...at("10.1.2.3") }), pod("app-4", { node: "n2", ...at("10.1.2.4") }))
    .policies(...rows);
  const result = bench.compute();
  const statuses = new Map(result.policies.map(({ name, valid, pods }) => [name, { valid, pods }]));
  t.is(statuses.size, 10_000);
  for (const [i, { name }] of rows.entries()) {
    t.deepEqual(statuses.get(name), { valid: i % 3 !== 2, pods: i % 3 === 0 ? ["shop/web"] : [] });
  }
  t.is(result.problems.filter(({ severity }) => severity === "error").length, 3_333);
  t.is(setOf(result, "web").refused, null);
  t.is(verdict(result, "web", "ingress", "10.1.2.3", 4), "allow");
  t.is(verdict(result, "web", "ingress", "10.1.2.3", 5), "deny", "the port of another policy");
  t.is(verdict(result, "web", "ingress", "10.1.2.4", 5), "deny", "of a policy that selects nobody");

  // One more, and one that is mended.
  bench.policies(
    policy("NetworkPolicy", letsIn(3), { name: "p-4" }),
    policy("NetworkPolicy", letsIn(2), { name: "p-2" }),
  );
  const next = bench.compute();
  t.is(next.problems.filter(({ severity }) => severity === "error").length, 3_332);
  t.deepEqual(
    next.policies.filter(({ name }) => ["p-2", "p-4"].includes(name)).map(({ valid, pods }) => [valid, pods]),
    [
      [true, ["shop/web"]],
      [true, ["shop/web"]],
    ],
  );
});

test("a port that is called null is not a port without a name", (t) => {
  const port = (name: string | null) => ({ ports: [{ name, port: 80, protocol: "TCP" as const }] });
  for (const names of [
    ["null", null],
    [null, "null"],
  ] as const) {
    const result = new Bench()
      .local(pod("a", { ...at("10.1.1.2"), labels: { app: "web" }, ...port(names[0]) }))
      .local(pod("b", { ...at("10.1.1.3"), labels: { app: "web" }, ...port(names[1]) }))
      .policies(policy("NetworkPolicy", { podSelector: {}, ingress: [{ ports: [{ port: "null" }] }] }))
      .compute();
    t.is(verdict(result, "a", "ingress", "203.0.113.7", 80), names[0] === null ? "deny" : "allow");
    t.is(verdict(result, "b", "ingress", "203.0.113.7", 80), names[1] === null ? "deny" : "allow");
  }
});
