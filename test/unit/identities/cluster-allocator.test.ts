import test from "ava";
import { clusterNumbers, unusedSince } from "../../../src/identities/index.ts";
import { kinds } from "../../../src/kube/index.ts";
import { unreachable } from "../../support/memory-cluster.ts";
import { bench, identity, keyOf } from "./agents.ts";

const kind = kinds.ciliumIdentities;

test("a set of labels that the cluster knows costs no request, and has the lowest of its numbers", async (t) => {
  const { cluster, agent, settle } = bench(t);
  cluster.put(kind, identity(700, "web"));
  cluster.put(kind, identity(600, "web"));
  cluster.put(kind, { metadata: { name: "no-number" }, "security-labels": { "k8s:app": "web" } });
  const a = agent("a");
  await settle();
  t.is(a.ask("web"), 600);
  t.deepEqual(cluster.writes(kind), []);
});

test("a new set is pending until its object is there, is written as Cilium writes it, and then a computation is asked for", async (t) => {
  const { cluster, agent, settle } = bench(t);
  const a = agent("a", { range: clusterNumbers(3) });
  await settle();
  t.is(a.ask("web"), "IDENTITY_PENDING");
  await settle();
  t.is(a.news, 1);
  const number = Number(a.ask("web"));
  t.is(number >> 16, 3);
  t.true((number & 0xffff) >= 256);
  t.deepEqual(cluster.writes(kind), [`create ${number} by a`]);
  const object = cluster.find(kind, String(number));
  t.like(object, {
    metadata: { labels: { app: "web", "io.kubernetes.pod.namespace": "shop" } },
    "security-labels": { "k8s:app": "web", "k8s:io.kubernetes.pod.namespace": "shop" },
  });
  await settle();
  t.is(a.ask("web"), number);
  t.is(cluster.writes(kind).length, 1);
});

test("nodes that meet a set at the same moment come to use one number", async (t) => {
  const { cluster, agent, settle, identities } = bench(t);
  const agents = ["a", "b", "c", "d"].map((name) => agent(name));
  await settle();
  for (const each of agents) t.is(each.ask("web"), "IDENTITY_PENDING");
  await settle();
  t.is(Object.keys(identities()).length, 1);
  t.is(new Set(agents.map((each) => each.ask("web"))).size, 1);
  t.is(cluster.writes(kind).length, 4, "each tried the same number");
});

test("of two numbers that were made at once the lowest wins for everybody, also for who used the other one", async (t) => {
  const { cluster, agent, settle } = bench(t);
  const [a, b] = [agent("a"), agent("b")];
  await settle();
  cluster.put(kind, identity(900, "web"));
  await settle();
  t.deepEqual([a.compute("web"), b.compute("web")], [[900], [900]]);
  cluster.put(kind, identity(400, "web"));
  await settle();
  for (const each of [a, b]) {
    t.is(each.news, 1);
    t.deepEqual([...each.allocator.renumbered()], [keyOf("web")]);
    t.deepEqual([...each.allocator.renumbered()], [], "told once");
    t.deepEqual(each.compute("web"), [400]);
  }
  cluster.remove(kind, "900");
  await settle();
  t.deepEqual([a.news, a.compute("web")], [1, [400]]);
});

test("a number that another set has is left alone, whether that is known or not", async (t) => {
  const { cluster, agent, settle, identities } = bench(t);
  const range = { first: 300, last: 303 };
  const first = agent("first", { range });
  await settle();
  first.ask("web");
  await settle();
  const number = Number(first.ask("web"));
  await first.stop();
  cluster.remove(kind, String(number));
  cluster.put(kind, identity(number, "other"));
  const known = agent("known", { range });
  const late = agent("late", { range });
  await settle();
  // What is made now is not told to `late` before it asks.
  cluster.cut("late");
  const next = 300 + ((number - 300 + 1) % 4);
  cluster.put(kind, identity(next, "another"));
  cluster.cut();
  t.is(late.ask("web"), "IDENTITY_PENDING");
  await settle();
  t.deepEqual(cluster.writes(kind).slice(-2), [
    `create ${next} by late`,
    `create ${300 + ((number - 300 + 2) % 4)} by late`,
  ]);
  await settle();
  t.is(identities()[String(late.ask("web"))], "web");
  t.is(known.ask("web"), late.ask("web"));
});

test("a set without pods of this node is asked for by the node that has them, and by others only if that one does not", async (t) => {
  const { clock, cluster, agent, settle } = bench(t);
  const [a, b] = [agent("a"), agent("b")];
  await settle();
  t.is(b.ask("web", "a"), "IDENTITY_PENDING");
  await clock.advance(2_000);
  t.deepEqual(cluster.writes(kind), []);
  t.is(a.ask("web", "a"), "IDENTITY_PENDING");
  await settle();
  t.is(b.ask("web", "a"), a.ask("web", "a"));
  t.is(cluster.writes(kind).length, 1);

  t.is(b.ask("orphan", "gone"), "IDENTITY_PENDING");
  await clock.advance(3_500);
  t.regex(cluster.writes(kind).at(-1) ?? "", /create \d+ by b/);
  t.is(typeof b.ask("orphan", "gone"), "number");
});

test("what nobody waits for any more is not made", async (t) => {
  const { clock, cluster, agent, settle } = bench(t);
  const a = agent("a");
  await settle();
  a.ask("short-lived", "b");
  a.compute();
  a.compute();
  await clock.advance(20_000);
  t.deepEqual(cluster.writes(kind), []);
});

test("numbers in use outlive the agent without an API server, and new sets wait with a reason", async (t) => {
  const { clock, cluster, agent, settle } = bench(t);
  const before = agent("a");
  await settle();
  before.compute("web", "db");
  await settle();
  const numbers = before.compute("web", "db");
  const record = before.allocator.unwritten();
  t.deepEqual(record?.numbers, { [keyOf("web")]: numbers[0], [keyOf("db")]: numbers[1] });
  before.allocator.written();
  t.is(before.allocator.unwritten(), null);
  await before.stop();

  cluster.cut("a");
  const after = agent("a", { record: record ?? { version: 1, numbers: {}, free: [] } });
  await settle();
  t.deepEqual(after.compute("web", "db", "new"), [...numbers, "IDENTITY_PENDING"]);
  await clock.advance(6_000);
  t.true(after.news > 0, "so that the warning is reported");
  t.deepEqual(after.compute("web", "db", "new"), [...numbers, "IDENTITY_DELAYED"]);
  t.throws(() => after.allocator.numberFor(keyOf("new"), "a"), { message: /cannot be reached/ });
  t.like(after.problems.get("cluster-identities")?.[0], { code: "IDENTITIES_STALE", severity: "warning" });

  cluster.cut();
  await clock.advance(30_000);
  const [web, db, fresh] = after.compute("web", "db", "new");
  t.deepEqual([web, db], [numbers[0], numbers[1]]);
  t.is(typeof fresh, "number");
  t.deepEqual(after.problems.get("cluster-identities"), []);
});

test("a set whose number went to others while the agent was away gets another one", async (t) => {
  const { cluster, agent, settle, identities } = bench(t);
  cluster.put(kind, identity(500, "other"));
  const a = agent("a", { record: { version: 1, numbers: { [keyOf("web")]: 500 }, free: [] } });
  t.is(a.ask("web"), 500, "until it is known");
  await settle();
  t.deepEqual([...a.allocator.renumbered()], [keyOf("web")]);
  t.is(a.ask("web"), "IDENTITY_PENDING");
  t.is(a.ask("other"), 500);
  await settle();
  const number = a.ask("web");
  t.not(number, 500);
  t.is(identities()[String(number)], "web");
});

test("an object in use that was deleted is made again with its number", async (t) => {
  const { cluster, agent, settle, identities } = bench(t);
  const a = agent("a");
  await settle();
  a.compute("web", "unused");
  await settle();
  const [number] = a.compute("web");
  t.is(Object.keys(identities()).length, 2);
  for (const { metadata } of cluster.all(kind)) cluster.remove(kind, metadata.name);
  await settle();
  t.deepEqual(identities(), { [String(number)]: "web" });
  t.deepEqual([a.compute("web"), [...a.allocator.renumbered()]], [[number], []]);
});

test("an identity that is marked as unused loses the mark when a pod of this node has it", async (t) => {
  const { cluster, agent, settle } = bench(t);
  const marked = { [unusedSince]: "2026-01-01T00:00:00Z" };
  cluster.put(kind, identity(500, "web", marked));
  const [a, b] = [agent("a"), agent("b")];
  await settle();
  b.ask("web", "a");
  await settle();
  t.deepEqual(cluster.writes(kind), [], "not by who only hears of it");
  a.compute("web");
  await settle();
  t.is(cluster.find(kind, "500")?.metadata.annotations?.[unusedSince], undefined);
  cluster.put(kind, identity(500, "web", marked));
  await settle();
  t.deepEqual(cluster.writes(kind), ["patch 500 by a", "patch 500 by a"], "also while it is in use");
});

test("a creation that fails is tried again, and is a warning with its reason after some seconds", async (t) => {
  const { clock, cluster, agent, settle } = bench(t);
  const a = agent("a");
  await settle();
  cluster.before = async ({ method }) => {
    if (method === "create") throw unreachable();
  };
  t.is(a.ask("web"), "IDENTITY_PENDING");
  await clock.advance(4_000);
  t.is(a.ask("web"), "IDENTITY_PENDING");
  await clock.advance(2_000);
  t.is(a.news, 1);
  t.is(a.ask("web"), "IDENTITY_DELAYED");
  cluster.before = async () => undefined;
  await clock.advance(20_000);
  t.is(typeof a.ask("web"), "number");
  t.is(a.news, 2);
});

test("an answer that was lost makes no second number", async (t) => {
  const { clock, cluster, agent, settle, identities } = bench(t);
  const a = agent("a");
  await settle();
  let lost = 1;
  cluster.after = async ({ method }) => {
    if (method === "create" && lost-- > 0) throw unreachable();
  };
  a.ask("web");
  await clock.advance(5_000);
  t.is(Object.keys(identities()).length, 1);
  t.is(identities()[String(a.ask("web"))], "web");
});

test("with all numbers taken pods are told so, the rest goes on, and a number that becomes free is given at once", async (t) => {
  const { cluster, agent, settle, identities } = bench(t);
  const range = { first: 256, last: 265 };
  const a = agent("a", { range });
  await settle();
  const apps = Array.from({ length: 8 }, (_, at) => `app-${at}`);
  a.compute(...apps);
  await settle();
  t.is(new Set(a.compute(...apps)).size, 8);
  t.like(a.problems.get("cluster-identities")?.[0], { code: "IDENTITIES_SCARCE", severity: "warning" });
  a.compute(...apps, "app-8", "app-9", "one-more");
  await settle();
  t.true(a.news >= 2);
  const late = ["app-8", "app-9", "one-more"];
  const answers = a.compute(...apps, ...late);
  t.is(answers.filter((answer) => typeof answer === "number").length, 10);
  const without = answers.indexOf("IDENTITIES_EXHAUSTED");
  t.true(without >= 8, "one of the new ones");
  t.like(a.problems.get("cluster-identities")?.[0], { code: "IDENTITIES_EXHAUSTED", severity: "error" });
  t.is(Object.keys(identities()).length, 10);

  const others = [...apps.slice(1), ...late];
  a.compute(...others);
  cluster.remove(kind, String(answers[0]));
  await settle();
  t.is(a.compute(...others)[without - 1], answers[0]);
  t.not(a.problems.get("cluster-identities")?.[0]?.code, "IDENTITIES_EXHAUSTED");
});

test("many nodes with many sets at one server: each set has one number in the end, whoever asked first", async (t) => {
  const { clock, cluster, agent, settle, identities } = bench(t);
  const range = { first: 256, last: 320 };
  const names = ["a", "b", "c", "d", "e"];
  const agents = names.map((name) => agent(name, { range }));
  await settle();
  // Answers come in another order than requests went.
  let seed = 7;
  cluster.before = async ({ method }) => {
    seed = (seed * 48_271) % 2_147_483_647;
    if (method === "create") for (let turn = seed % 4; turn > 0; turn--) await new Promise(setImmediate);
  };
  const apps = Array.from({ length: 60 }, (_, at) => `app-${at}`);
  for (const [at, each] of agents.entries()) each.compute(...apps.slice(at * 7), ...apps.slice(0, at * 7));
  for (let round = 0; round < 40; round++) await clock.advance(500);
  const answers = agents.map((each) => each.compute(...apps));
  for (const each of answers) t.deepEqual(each, answers[0] ?? []);
  t.deepEqual(
    answers[0]?.map((number) => identities()[String(number)]),
    apps,
  );
  t.is(Object.keys(identities()).length, 60, "and no number was wasted");
});

test("labels that are another for each pod of a Job are reported, a namespace that is new is not", async (t) => {
  const { clock, cluster, agent, settle } = bench(t);
  const a = agent("a");
  await settle();
  for (let at = 0; at < 40; at++) cluster.put(kind, identity(1_000 + at, `service-${at}`));
  await clock.advance(20_000);
  a.compute();
  t.deepEqual(a.problems.get("cluster-identities"), []);
  const job = (at: number) => {
    const object = identity(2_000 + at, `job-${at}`);
    const labels = { ...(object["security-labels"] as object), "k8s:io.kubernetes.pod.namespace": "batch" };
    return { ...object, "security-labels": labels };
  };
  for (let at = 0; at < 30; at++) {
    cluster.put(kind, job(at));
    await clock.advance(60_000);
  }
  a.compute();
  t.like(a.problems.get("cluster-identities"), [
    { code: "IDENTITY_CHURN", severity: "warning", object: "Namespace batch", field: "k8s:app" },
  ]);
  t.is(a.problems.get("cluster-identities")?.length, 1);
  await clock.advance(3_700_000);
  a.compute();
  t.deepEqual(a.problems.get("cluster-identities"), []);
});

test("a number of another cluster does not stand in the way of a set's own", async (t) => {
  const { cluster, agent, settle } = bench(t);
  cluster.put(kind, identity(600, "web"));
  cluster.put(kind, identity(clusterNumbers(2).first, "web"));
  const a = agent("a", { range: clusterNumbers(2) });
  await settle();
  t.is(a.ask("web"), clusterNumbers(2).first);
  t.deepEqual(cluster.writes(kind), []);
});
