import test, { type ExecutionContext } from "ava";
import { kinds, type KubeObject } from "../../../src/kube/index.ts";
import { renew } from "./agents.ts";
import { leading } from "./leading.ts";

const key = "tandem.io/agent-not-ready";
const other = { key: "example.com/gpu", value: "yes", effect: "NoExecute" };

interface NodeFields {
  readonly taints?: readonly object[];
  readonly conditions?: readonly object[];
}

function node(name: string, { taints = [], conditions = [] }: NodeFields = {}): KubeObject {
  return { metadata: { name }, spec: { podCIDR: "10.1.0.0/24", taints }, status: { addresses: [], conditions } };
}

function bench(t: ExecutionContext) {
  const all = leading(t);
  const { clock, cluster } = all;
  const taints = (name: string) => (cluster.find(kinds.nodes, name)?.spec as NodeFields | undefined)?.taints;
  const conditions = (name: string) => (cluster.find(kinds.nodes, name)?.status as NodeFields | undefined)?.conditions;
  /** The agent of n1 renews, ready or not. @param network what it lacks */
  const pass = async (ms: number, ready: boolean | null, network = "") => {
    for (let passed = 0; passed < ms; passed += 5_000) {
      if (ready !== null) renew(cluster, clock, "n1", { ready, network });
      await clock.advance(5_000);
    }
  };
  return { ...all, taints, conditions, pass };
}

test("when its agent is ready a node loses the taint, whatever its effect, and its network is available; others' taints stay", async (t) => {
  const { cluster, lead, pass, taints, conditions } = bench(t);
  const unavailable = { type: "NetworkUnavailable", status: "True", reason: "NoRouteCreated" };
  cluster.put(kinds.nodes, node("n1", { taints: [{ key, effect: "NoExecute" }, other], conditions: [unavailable] }));
  await lead();
  await pass(20_000, false);
  t.is(taints("n1")?.length, 2, "not before");
  t.deepEqual(conditions("n1"), [unavailable]);
  await pass(10_000, true);
  t.deepEqual(taints("n1"), [other]);
  t.like(conditions("n1")?.[0], { type: "NetworkUnavailable", status: "False", reason: "TandemIsUp" });
  const before = cluster.writes(kinds.nodes).length;
  await pass(60_000, true);
  t.is(cluster.writes(kinds.nodes).length, before);
});

test("the taint comes back when an agent has not been ready for a minute, and not for a restart", async (t) => {
  const { cluster, lead, pass, taints, counters } = bench(t);
  cluster.put(kinds.nodes, node("n1", { taints: [other] }));
  await lead();
  await pass(10_000, true);
  await pass(40_000, false);
  await pass(10_000, true);
  await pass(90_000, null);
  t.deepEqual(taints("n1"), [other], "its lease ran out 50 s ago");
  await pass(30_000, null);
  t.deepEqual(taints("n1"), [other, { key, effect: "NoSchedule" }]);
  t.is(counters.get("nodes_tainted_total"), 1);
  await pass(10_000, true);
  t.deepEqual(taints("n1"), [other]);
});

test("nodes that never had an agent are left alone, and nobody is tainted for what the leader cannot see", async (t) => {
  const { clock, cluster, lead, pass, taints } = bench(t);
  cluster.put(kinds.nodes, node("n1"));
  cluster.put(kinds.nodes, node("n2", { taints: [{ key, effect: "NoSchedule" }] }));
  await lead();
  await pass(10_000, true);
  const before = cluster.writes(kinds.nodes).length;
  cluster.cut("operator");
  await clock.advance(600_000);
  cluster.cut();
  await clock.advance(25_000);
  await pass(60_000, true);
  t.is(cluster.writes(kinds.nodes).length, before);
  t.is(taints("n2")?.length, 1);
});

test("a node that waits for its network is unavailable and tainted at once, until it has it or waits no longer", async (t) => {
  const { cluster, lead, pass, taints, conditions, counters } = bench(t);
  const [lack, tainted] = ["no BGP session stands", { key, effect: "NoSchedule" }];
  cluster.put(kinds.nodes, node("n1", { taints: [other] }));
  await lead();
  await pass(10_000, false, lack);
  t.deepEqual(taints("n1"), [other, tainted]);
  t.like(conditions("n1")?.[0], { type: "NetworkUnavailable", status: "True", reason: "WaitingForRoutes" });
  t.regex(JSON.stringify(conditions("n1")), /no BGP session stands/);
  const written = cluster.writes(kinds.nodes).length;
  await pass(30_000, false, lack);
  t.is(cluster.writes(kinds.nodes).length, written, "once");
  await pass(10_000, true);
  t.deepEqual(taints("n1"), [other]);
  t.is(conditions("n1")?.length, 1);
  t.like(conditions("n1")?.[0], { status: "False", reason: "TandemIsUp" });

  // A boot, and nobody to talk to.
  await pass(10_000, false, lack);
  t.like(conditions("n1")?.[0], { status: "True" });
  await pass(10_000, true, lack);
  t.deepEqual(taints("n1"), [other]);
  t.like(conditions("n1")?.[0], { status: "False" });
  t.regex(JSON.stringify(conditions("n1")), /did not wait longer .*no BGP session stands/);
  t.deepEqual([counters.get("nodes_unavailable_total"), counters.get("nodes_available_total")], [2, 2]);
});
