import test, { type ExecutionContext } from "ava";
import { decodeReport, reportAnnotation } from "../../../src/kube-objects/index.ts";
import { kinds, type Lease } from "../../../src/kube/index.ts";
import type { Problem } from "../../../src/model/status.ts";
import { AgentLease, type AgentLeaseOptions, leaseName } from "../../../src/publish/agent-lease.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { MemoryCluster, unreachable } from "../../support/memory-cluster.ts";

const key = "kube-system/tandem-agent-n1";
const ready = { ready: true, network: "", policies: null };

function bench(t: ExecutionContext) {
  const clock = new ManualClock();
  const cluster = new MemoryCluster(clock);
  cluster.put(kinds.nodes, { metadata: { name: "n1", uid: "uid-n1" } });
  const agent = (process: string, options: Partial<AgentLeaseOptions> = {}) => {
    const problems = new Map<string, readonly Problem[]>();
    const lease = new AgentLease({
      client: cluster.client(process),
      namespace: async () => "",
      nodeName: "n1",
      process,
      host: "worker-1",
      boot: "boot-1",
      version: "0.1.0",
      conditions: { report: (topic, said) => void problems.set(topic, said) },
      onHistory: () => undefined,
      clock,
      random: () => 0,
      ...options,
    });
    t.teardown(() => lease.stop());
    return { lease, codes: () => [...problems.values()].flat().map(({ code }) => code), problems };
  };
  const found = () => cluster.find(kinds.leases, key) as Lease | null;
  const report = () => decodeReport(found()?.metadata.annotations?.[reportAnnotation]);
  return { clock, cluster, agent, found, report };
}

test("the lease is of the Node, says whose agent it is, and a renewal is one request", async (t) => {
  const { clock, cluster, agent, found, report } = bench(t);
  const { lease } = agent("a");
  lease.start();
  await clock.advance(0);
  t.like(found(), {
    metadata: {
      labels: { "app.kubernetes.io/name": "tandem-agent" },
      ownerReferences: [{ apiVersion: "v1", kind: "Node", name: "n1", uid: "uid-n1" }],
    },
    spec: { holderIdentity: "n1_a", leaseDurationSeconds: 40, leaseTransitions: 0 },
  });
  t.deepEqual(report(), {
    node: "n1",
    host: "worker-1",
    boot: "boot-1",
    version: "0.1.0",
    ready: false,
    network: "",
    policies: null,
  });
  cluster.requests.length = 0;
  const { renewTime, acquireTime } = found()?.spec ?? {};
  await clock.advance(60_000);
  t.deepEqual(
    cluster.requests.map(({ method, resource }) => `${method} ${resource}`),
    Array.from({ length: 6 }, () => "update leases.coordination.k8s.io"),
  );
  t.not(found()?.spec?.renewTime, renewTime);
  t.is(found()?.spec?.acquireTime, acquireTime);
});

test("what the agent says anew is told soon, many changes by one request, and nothing new by none", async (t) => {
  const { clock, cluster, agent, report } = bench(t);
  const { lease } = agent("a");
  lease.start();
  await clock.advance(1_000);
  const before = cluster.writes(kinds.leases).length;
  for (const flag of [true, false, true]) lease.say({ ready: flag, network: "", policies: null });
  await clock.advance(1_500);
  t.is(cluster.writes(kinds.leases).length, before + 1);
  t.true(report()?.ready);
  lease.say({ ready: true, network: "", policies: null });
  await clock.advance(1_500);
  t.is(cluster.writes(kinds.leases).length, before + 1);
});

test("a stop says that the agent is not ready, and leaves the lease to whoever comes", async (t) => {
  const { clock, agent, found, report } = bench(t);
  const first = agent("a");
  first.lease.say(ready);
  first.lease.start();
  await clock.advance(0);
  t.true(report()?.ready);
  await first.lease.stop();
  t.false(report()?.ready ?? true);
  t.is(found()?.spec?.holderIdentity, "");
  const second = agent("b", { boot: "boot-2" });
  second.lease.start();
  await clock.advance(0);
  t.like(found()?.spec, { holderIdentity: "n1_b", leaseTransitions: 1 });
  t.deepEqual(second.codes(), []);
});

test("a stop does not wait for an API server that says nothing", async (t) => {
  const { clock, cluster, agent } = bench(t);
  const { lease } = agent("a");
  lease.start();
  await clock.advance(0);
  let answer = () => {};
  cluster.before = () =>
    new Promise((resolve) => {
      answer = resolve;
    });
  await clock.advance(10_000);
  const stopped = lease.stop();
  await clock.advance(1_000);
  cluster.before = async () => undefined;
  answer();
  await stopped;
  t.is(cluster.writes(kinds.leases).at(-1), `update ${key} by a`);
});

test("an agent that crashed is followed at once by the next one on the same boot, without a word", async (t) => {
  const { clock, cluster, agent, found } = bench(t);
  agent("a").lease.start();
  await clock.advance(5_000);
  cluster.cut("a");
  const next = agent("b");
  next.lease.start();
  await clock.advance(0);
  t.is(found()?.spec?.holderIdentity, "n1_b");
  t.deepEqual(next.codes(), []);
});

test("after a crash and a reboot the lease is taken when it has run out, and nobody is suspected", async (t) => {
  const { clock, cluster, agent, found } = bench(t);
  agent("a").lease.start();
  await clock.advance(5_000);
  cluster.cut("a");
  const next = agent("b", { boot: "boot-2" });
  next.lease.start();
  await clock.advance(39_000);
  t.is(found()?.spec?.holderIdentity, "n1_a");
  t.deepEqual(next.codes(), []);
  await clock.advance(12_000);
  t.is(found()?.spec?.holderIdentity, "n1_b");
});

test("two agents for one node: one has the lease, the other says whose it is, and takes it when that one is gone", async (t) => {
  const { clock, cluster, agent, found } = bench(t);
  const first = agent("a");
  first.lease.start();
  await clock.advance(0);
  const other = agent("b", { host: "worker-2", boot: "boot-2" });
  other.lease.start();
  await clock.advance(60_000);
  t.is(found()?.spec?.holderIdentity, "n1_a");
  t.deepEqual(first.codes(), []);
  t.deepEqual(other.codes(), ["AGENT_DUPLICATE"]);
  t.regex(other.problems.get("agent-duplicate")?.[0]?.message ?? "", /n1_a on worker-1; this one, on worker-2/);
  t.false(cluster.writes(kinds.leases).includes(`update ${key} by b`));

  await first.lease.stop();
  await clock.advance(10_000);
  t.is(found()?.spec?.holderIdentity, "n1_b");
  t.deepEqual(other.codes(), []);
});

test("two agents on one machine do not take the lease from each other in turns", async (t) => {
  const { clock, agent, found } = bench(t);
  const first = agent("a");
  first.lease.start();
  await clock.advance(5_000);
  const second = agent("b");
  second.lease.start();
  await clock.advance(120_000);
  t.like(found()?.spec, { holderIdentity: "n1_b", leaseTransitions: 1 });
  t.deepEqual([first.codes(), second.codes()], [["AGENT_DUPLICATE"], []]);
});

test("a lease that was removed with its Node is made anew for the new one", async (t) => {
  const { clock, cluster, agent, found } = bench(t);
  agent("a").lease.start();
  await clock.advance(0);
  cluster.remove(kinds.nodes, "n1");
  cluster.put(kinds.nodes, { metadata: { name: "n1", uid: "uid-new" } });
  cluster.remove(kinds.leases, key);
  await clock.advance(10_000);
  t.is(found()?.metadata.ownerReferences?.[0]?.uid, "uid-new");
});

test("a renewal whose answer is lost is seen as our own", async (t) => {
  const { clock, cluster, agent, found, report } = bench(t);
  const { lease, codes } = agent("a");
  lease.start();
  await clock.advance(0);
  let lost = 1;
  cluster.after = async ({ method }) => {
    if (method === "update" && lost-- > 0) throw unreachable();
  };
  lease.say(ready);
  await clock.advance(30_000);
  t.true(report()?.ready);
  t.is(found()?.spec?.leaseTransitions, 0);
  t.deepEqual(codes(), []);
});

test("an API server that is away is told after a while and no sooner, asked with pauses, and renewed when it is back", async (t) => {
  const { clock, cluster, agent, report } = bench(t);
  const a = agent("a");
  a.lease.start();
  await clock.advance(0);
  cluster.cut("a");
  await clock.advance(20_000);
  t.deepEqual(a.codes(), []);
  const asked = cluster.requests.length;
  await clock.advance(100_000);
  t.deepEqual(a.codes(), ["LEASE_NOT_RENEWED"]);
  t.true(cluster.requests.length - asked <= 16);
  a.lease.say(ready);
  cluster.cut();
  await clock.advance(12_000);
  t.deepEqual(a.codes(), []);
  t.true(report()?.ready);
});

test("a lease whose version went back, written to or made anew, tells of another history, once", async (t) => {
  const { clock, cluster, agent } = bench(t);
  let histories = 0;
  const { lease } = agent("a", { onHistory: () => histories++ });
  lease.start();
  await clock.advance(60_000);
  t.is(histories, 0);
  cluster.goBack(50);
  await clock.advance(30_000);
  t.is(histories, 1);
  // As a backup from before this agent's first day has it.
  cluster.goBack(5);
  cluster.remove(kinds.leases, key);
  await clock.advance(30_000);
  t.is(histories, 2);
});

test("names of nodes that are too long for the name of an object are shortened, each to its own", (t) => {
  t.is(leaseName("worker-1.example.com"), "tandem-agent-worker-1.example.com");
  const [one, other] = ["a", "b"].map((last) => leaseName(`${"node.".repeat(49)}${last}`));
  t.not(one, other);
  for (const name of [one, other]) t.regex(name ?? "", /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/);
  t.true((one?.length ?? 300) <= 253);
});
