import test from "ava";
import { type KubeClient, isStatus, kinds, type Lease } from "../../../../src/kube/index.ts";
import { NodeStatus } from "../../../../src/lab/kubelet/node-status.ts";
import { conditionsOf } from "../../../../src/lab/kubelet/pod-status.ts";
import { silentLogger } from "../../../../src/model/logging.ts";
import { ManualClock } from "../../../support/manual-clock.ts";
import { testApi, until } from "../../../support/lab-api.ts";

const node = {
  name: "node-1",
  ipv4: "172.30.0.1",
  ipv6: "fd72:30:1::1",
  podCidr4: "10.64.1.0/24",
  podCidr6: "fd00:10:40:1::/64",
};

function lease(client: KubeClient): Promise<Lease | null> {
  return client.get(kinds.leases, { namespace: "kube-node-lease", name: "node-1" }).catch((error: unknown) => {
    if (isStatus(error, 404)) return null;
    throw error;
  });
}

async function condition(client: KubeClient, type: string): Promise<string | undefined> {
  const { status } = await client.get(kinds.nodes, { name: "node-1" });
  return conditionsOf((status ?? {}) as Readonly<Record<string, unknown>>).find((each) => each.type === type)?.status;
}

test("a node registers with addresses and CIDRs, is ready once its network is and stays so, and renews its lease", async (t) => {
  const client = await testApi(t);
  await client.create(kinds.namespaces, { metadata: { name: "kube-node-lease" } });
  const clock = new ManualClock();
  const stop = new AbortController();
  let network = false;
  const networkReady = async () => network;
  const annotations = { "kube-router.io/node.asn": "64513" };
  const subject = new NodeStatus({ lab: "demo", node, annotations, client, clock, log: silentLogger, networkReady });
  const running = subject.run(stop.signal);
  t.teardown(async () => {
    stop.abort();
    await running;
  });
  await until("the lease", async () => (await lease(client)) !== null);
  const made = await client.get(kinds.nodes, { name: "node-1" });
  t.like(made.metadata.labels, {
    "kubernetes.io/hostname": "node-1",
    "kubernetes.io/os": "linux",
    "tandem-lab/name": "demo",
  });
  t.like(made.metadata.annotations, annotations);
  t.deepEqual(made.spec, { podCIDR: "10.64.1.0/24", podCIDRs: ["10.64.1.0/24", "fd00:10:40:1::/64"] });
  t.is(await condition(client, "Ready"), "False");

  // The agent's own condition.
  const { status } = made;
  const conditions = [
    ...conditionsOf(status as Readonly<Record<string, unknown>>),
    { type: "NetworkUnavailable", status: "False" },
  ];
  await client.patch(kinds.nodes, { name: "node-1" }, { status: { conditions } }, { subresource: "status" });
  network = true;
  await until("ready", async () => {
    await clock.advance(500);
    return (await condition(client, "Ready")) === "True";
  });
  t.is(await condition(client, "NetworkUnavailable"), "False");

  network = false;
  const before = (await lease(client))?.spec?.renewTime;
  await until("the lease is renewed", async () => {
    await clock.advance(1_000);
    return (await lease(client))?.spec?.renewTime !== before;
  });
  t.is((await lease(client))?.spec?.leaseDurationSeconds, 40);
  t.is(await condition(client, "Ready"), "True");
});

test("labels and taints that others gave a node stay, and a Node that was deleted is registered again", async (t) => {
  const client = await testApi(t);
  await client.create(kinds.namespaces, { metadata: { name: "kube-node-lease" } });
  const taints = [{ key: "only", effect: "NoSchedule" }];
  await client.create(kinds.nodes, { metadata: { name: "node-1", labels: { zone: "a" } }, spec: { taints } });
  const clock = new ManualClock();
  const stop = new AbortController();
  const networkReady = async () => true;
  const running = new NodeStatus({ lab: "demo", node, client, clock, log: silentLogger, networkReady }).run(
    stop.signal,
  );
  t.teardown(async () => {
    stop.abort();
    await running;
  });
  await until("the lease", async () => (await lease(client)) !== null);
  const found = await client.get(kinds.nodes, { name: "node-1" });
  t.like(found.metadata.labels, { zone: "a", "tandem-lab/name": "demo" });
  t.like(found.spec, { taints, podCIDR: "10.64.1.0/24" });
  await client.delete(kinds.nodes, { name: "node-1" });
  await until("registered again", async () => {
    await clock.advance(1_000);
    return condition(client, "Ready").then(
      (ready) => ready === "True",
      () => false,
    );
  });
});
