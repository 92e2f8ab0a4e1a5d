import test, { type ExecutionContext } from "ava";
import type { PolicyStatus } from "../../../src/kube-objects/index.ts";
import { kinds, type KubeObject, objectKey } from "../../../src/kube/index.ts";
import { statusError } from "../../../src/kube/errors.ts";
import { holding, renew } from "./agents.ts";
import { leading } from "./leading.ts";

const kind = kinds.ciliumNetworkPolicies;
const valid = { endpointSelector: { matchLabels: { app: "web" } }, ingress: [{}] };
const invalid = {
  endpointSelector: {},
  ingress: [{ toPorts: [{ ports: [{ port: "70000", protocol: "TCP" }] }] }],
};

const type = { apiVersion: "cilium.io/v2", kind: "CiliumNetworkPolicy" };

const policy = (name: string, generation = 1, spec: object = valid): KubeObject => ({
  ...type,
  metadata: { namespace: "shop", name, generation },
  spec,
});

function bench(t: ExecutionContext) {
  const all = leading(t);
  const { cluster, clock } = all;
  const statusOf = (name: string) => (cluster.find(kind, `shop/${name}`)?.status ?? {}) as PolicyStatus;
  const conditionOf = (name: string, type: string) =>
    statusOf(name).conditions?.find((condition) => condition.type === type) ?? null;
  const present = () => cluster.all(kind);
  /** Agents of these nodes renew, each with the policies that it has, for as long as it takes. */
  const pass = async (ms: number, agents: Readonly<Record<string, Parameters<typeof renew>[3]>>) => {
    for (let passed = 0; passed < ms; passed += 5_000) {
      for (const [node, said] of Object.entries(agents)) renew(cluster, clock, node, said);
      await clock.advance(Math.min(5_000, ms - passed));
    }
  };
  return { ...all, statusOf, conditionOf, present, pass };
}

test("a valid policy is said to be so at once, and enforced when every node has it; two writes", async (t) => {
  const { cluster, present, lead, pass, statusOf, conditionOf } = bench(t);
  const web = cluster.put(kind, policy("web"));
  await pass(0, {});
  await lead();
  await pass(2_000, { n1: { policies: holding([]) }, n2: { policies: holding([]) } });
  t.like(conditionOf("web", "Valid"), { status: "True", observedGeneration: 1, message: "it was understood" });
  t.like(conditionOf("web", "Enforced"), { status: "Unknown", reason: "NoAgents" });
  await pass(10_000, { n1: { policies: holding([web]) }, n2: { policies: holding([]) } });
  t.like(conditionOf("web", "Enforced"), { status: "False", reason: "Progressing", message: "1 of 2 nodes" });
  await pass(10_000, { n1: { policies: holding([web]) }, n2: { policies: holding([web]) } });
  t.like(conditionOf("web", "Enforced"), { status: "True", message: "2 of 2 nodes", observedGeneration: 1 });
  t.deepEqual(statusOf("web").enforcement, { wanted: 2, enforcing: 2, failing: 0 });
  const before = cluster.writes(kind).length;
  await pass(100_000, { n1: { policies: holding(present()) }, n2: { policies: holding(present()) } });
  t.is(cluster.writes(kind).length, before, "what is said is not said again");

  const edited = cluster.put(kind, { ...cluster.find(kind, "shop/web"), ...policy("web", 2) });
  const agents = { n1: { policies: holding([edited]) }, n2: { policies: holding([edited]) } };
  await pass(20_000, agents);
  t.like(conditionOf("web", "Enforced"), { status: "True", observedGeneration: 2 });
  t.true(cluster.writes(kind).length - before <= 2);
});

test("an invalid policy says its code, field and remedy, also of one of several specs, and nodes go on with the last good one", async (t) => {
  const { cluster, lead, pass, statusOf, conditionOf } = bench(t);
  const wrong = cluster.put(kind, policy("wrong", 3, invalid));
  const several = cluster.put(kind, {
    ...type,
    metadata: { namespace: "shop", name: "several" },
    specs: [valid, invalid],
  });
  await lead();
  await pass(10_000, { n1: { policies: holding([wrong, several], [wrong, several]) } });
  t.like(conditionOf("wrong", "Valid"), { status: "False", reason: "POLICY_PORT_RANGE", observedGeneration: 3 });
  t.regex(
    conditionOf("wrong", "Valid")?.message ?? "",
    /^spec\.ingress\[0\]\.toPorts\[0\]\.ports\[0\]\.port: .*70000.*; /,
  );
  t.regex(conditionOf("several", "Valid")?.message ?? "", /^specs\[1\]\.ingress\[0\]/);
  t.like(conditionOf("wrong", "Enforced"), { status: "False", reason: "Invalid" });
  t.deepEqual(statusOf("wrong").enforcement, { wanted: 1, enforcing: 0, failing: 1 });
});

test("times of changes stay where the status does, and conditions of others stay as they are", async (t) => {
  const { cluster, lead, pass, conditionOf } = bench(t);
  const theirs = { type: "cilium.io/PolicySynced", status: "True", lastTransitionTime: "2020-01-01T00:00:00Z" };
  const since = "2021-01-01T00:00:00Z";
  const before = { type: "Valid", status: "True", observedGeneration: 1, reason: "Old", lastTransitionTime: since };
  const web = cluster.put(kind, { ...policy("web", 2), status: { conditions: [theirs, before], other: 7 } });
  await lead();
  await pass(10_000, { n1: { policies: holding([web]) } });
  t.deepEqual(conditionOf("web", theirs.type), theirs as never);
  t.like(conditionOf("web", "Valid"), { reason: "Understood", observedGeneration: 2, lastTransitionTime: since });
  t.like(cluster.find(kind, "shop/web")?.status, { other: 7 });
  t.regex(conditionOf("web", "Enforced")?.lastTransitionTime ?? "", /^2023-.*Z$/);
  cluster.put(kind, { ...cluster.find(kind, "shop/web"), ...policy("web", 3, invalid) });
  await pass(10_000, { n1: { policies: holding([web]) } });
  t.not(conditionOf("web", "Valid")?.lastTransitionTime, since);
});

test("an agent that is gone is not counted after its lease has run out, and is waited for while leases cannot be followed", async (t) => {
  const { clock, cluster, lead, pass, conditionOf, statusOf } = bench(t);
  const web = cluster.put(kind, policy("web"));
  const policies = holding([web]);
  await lead();
  await pass(10_000, { n1: { policies }, n2: { policies: holding([]) } });
  t.like(statusOf("web").enforcement, { wanted: 2, enforcing: 1 });
  await pass(60_000, { n1: { policies } });
  t.like(conditionOf("web", "Enforced"), { status: "True", message: "1 of 1 nodes" });

  const before = cluster.writes(kind).length;
  cluster.cut("operator");
  await clock.advance(300_000);
  cluster.cut();
  await clock.advance(30_000);
  await pass(60_000, { n1: { policies } });
  t.is(cluster.writes(kind).length, before, "nobody was taken for gone");
});

test("a new leader writes nothing where everything is said, whatever it does not recognise yet", async (t) => {
  const { cluster, lead, pass } = bench(t);
  const [a, b] = [cluster.put(kind, policy("a")), cluster.put(kind, policy("b"))];
  await lead();
  await pass(20_000, { n1: { policies: holding([a, b]) } });
  const before = cluster.writes(kind).length;
  await lead();
  // An agent that has not heard of the newest change has a set that this leader never saw.
  const deleted = { metadata: { namespace: "shop", name: "deleted", uid: "uid-deleted", generation: 1 } };
  await pass(30_000, { n1: { policies: holding([a, deleted]) } });
  t.is(cluster.writes(kind).length, before);
  await pass(60_000, { n1: { policies: holding([a, b]) } });
  t.is(cluster.writes(kind).length, before);
});

test("a node that joins costs no write at once where all have it, and one that tells of no policies none", async (t) => {
  const { cluster, lead, pass, conditionOf } = bench(t);
  const web = cluster.put(kind, policy("web"));
  const policies = holding([web]);
  await lead();
  await pass(20_000, { n1: { policies } });
  const before = cluster.writes(kind).length;
  const all = { n1: { policies }, n2: { policies: null }, n3: { policies } };
  await pass(10_000, all);
  t.is(cluster.writes(kind).length, before);
  await pass(120_000, all);
  t.is(cluster.writes(kind).length, before + 1);
  t.is(conditionOf("web", "Enforced")?.message, "2 of 2 nodes");
});

test("a thousand policies at once are told one after the other, none twice", async (t) => {
  const { clock, cluster, lead } = bench(t);
  for (let n = 0; n < 1_000; n++) cluster.put(kind, policy(`p-${n}`));
  await lead();
  let before = cluster.writes(kind).length;
  for (let second = 0; second < 70; second++) {
    await clock.advance(1_000);
    const now = cluster.writes(kind).length;
    t.true(now - before <= 25, `${now - before} writes in a second`);
    before = now;
  }
  t.is(new Set(cluster.writes(kind)).size, 1_000);
  t.is(cluster.writes(kind).length, 1_000);
});

test("a policy that was deleted meanwhile, or has no status, is no failure and not asked for again", async (t) => {
  const { clock, cluster, problems, counters, lead } = bench(t);
  cluster.put(kind, policy("web"));
  cluster.before = async ({ method, resource, key }) => {
    if (method === "patch" && resource.startsWith("ciliumnetworkpolicies")) throw statusError(key, 404, {});
  };
  await lead();
  await clock.advance(60_000);
  t.is(cluster.writes(kind).length, 1);
  t.deepEqual(problems.get("duty-policies"), []);
  t.is(counters.get("policy_statuses_written_total"), 0);
});

test("two who say different things of one policy do not write in turns", async (t) => {
  const { clock, cluster, lead } = bench(t);
  cluster.put(kind, policy("web"));
  await lead();
  await clock.advance(2_000);
  for (let turn = 0; turn < 10; turn++) {
    const found = cluster.find(kind, "shop/web") as KubeObject;
    t.is(objectKey(found), "shop/web");
    const conditions = [{ type: "Valid", status: "True", message: "Policy validation succeeded" }];
    cluster.put(kind, { ...found, status: { conditions } });
    await clock.advance(20_000);
  }
  t.is(cluster.writes(kind).length, 1);
});

test("what cannot be followed is a problem, and keeps no other duty from its work", async (t) => {
  const { clock, cluster, problems, lead, conditionOf } = bench(t);
  cluster.put(kinds.nodes, { metadata: { name: "n1" }, spec: { podCIDR: "10.1.0.0/24" } });
  cluster.put(kind, policy("web"));
  cluster.before = async ({ method, resource }) => {
    if (method === "list" && /^(leases|ciliumclusterwide)/.test(resource)) throw statusError(resource, 403, {});
  };
  await lead();
  await clock.advance(3_000);
  t.truthy(cluster.find(kinds.ciliumNodes, "n1"));
  t.deepEqual(
    ["agents", "policies"].map((topic) => problems.get(topic)?.map(({ code, object }) => `${code} ${object}`)),
    [["KUBE_FORBIDDEN leases.coordination.k8s.io"], ["KUBE_FORBIDDEN ciliumclusterwidenetworkpolicies.cilium.io"]],
  );
  cluster.before = async () => undefined;
  await clock.advance(40_000);
  t.deepEqual([problems.get("agents"), problems.get("policies")], [[], []]);
  t.like(conditionOf("web", "Valid"), { status: "True" });
});

test("a hundred policies on three nodes cost two writes each at most, and no other request", async (t) => {
  const { clock, cluster, lead, pass, present, conditionOf } = bench(t);
  for (const node of ["n1", "n2", "n3"]) {
    cluster.put(kinds.nodes, { metadata: { name: node, uid: `uid-${node}` }, spec: { podCIDR: "10.1.0.0/24" } });
  }
  await lead();
  const agents = (policies: ReturnType<typeof holding>) => ({ n1: { policies }, n2: { policies }, n3: { policies } });
  await pass(20_000, agents(holding([])));
  const before = cluster.requests.length;
  for (let n = 0; n < 100; n++) cluster.put(kind, policy(`p-${n}`));
  // Heard of first, in the kernel later.
  await clock.advance(1_000);
  await pass(30_000, agents(holding(present())));
  for (let n = 0; n < 100; n++) t.is(conditionOf(`p-${n}`, "Enforced")?.message, "3 of 3 nodes");
  const made = cluster.requests.slice(before).filter(({ method }) => method !== "watch");
  const writes = made.filter(({ method, resource }) => method === "patch" && resource.startsWith("ciliumnetwork"));
  t.log(`${made.length} requests, ${writes.length} of them writes of a status`);
  t.true(writes.length <= 200);
  t.is(made.length, writes.length);
});
