/** The kubelet between an API server and a runtime without a kernel: what it does for pods, and what it says of them. */
import test, { type ExecutionContext } from "ava";
import { type KubeClient, type KubeObject, isStatus, kinds } from "../../../../src/kube/index.ts";
import { Kubelet } from "../../../../src/lab/kubelet/kubelet.ts";
import { kubeletPodSchema } from "../../../../src/lab/kubelet/pod.ts";
import { systemClock } from "../../../../src/lib/clock.ts";
import { silentLogger } from "../../../../src/model/logging.ts";
import { FakePodRuntime } from "../../../support/fake-pod-runtime.ts";
import { testApi, until } from "../../../support/lab-api.ts";

interface Setup {
  readonly client: KubeClient;
  readonly runtime: FakePodRuntime;
  /** Stops the kubelet; pods run on. */
  stop(): Promise<void>;
}

async function kubelet(t: ExecutionContext, client: KubeClient, runtime = new FakePodRuntime()): Promise<Setup> {
  const stop = new AbortController();
  const node = { nodeName: "node-1", hostIp: "172.30.0.1" };
  const running = new Kubelet({ ...node, client, runtime, clock: systemClock, log: silentLogger }).run(stop.signal);
  const end = async () => {
    stop.abort();
    await running;
  };
  t.teardown(end);
  return { client, runtime, stop: end };
}

const name = { namespace: "default", name: "web" };

function pod(more: object = {}): KubeObject {
  return {
    metadata: { ...name },
    spec: {
      nodeName: "node-1",
      terminationGracePeriodSeconds: 5,
      containers: [{ name: "main", image: "lab" }],
      ...more,
    },
  };
}

async function status(client: KubeClient): Promise<Readonly<Record<string, unknown>>> {
  return ((await client.get(kinds.pods, name)).status ?? {}) as Readonly<Record<string, unknown>>;
}

function condition(status: Readonly<Record<string, unknown>>, type: string): unknown {
  const conditions = (status.conditions ?? []) as readonly { readonly type: string; readonly status: string }[];
  return conditions.find((each) => each.type === type)?.status;
}

const isReady = (client: KubeClient) => async () => condition(await status(client), "Ready") === "True";

async function isGone(client: KubeClient): Promise<boolean> {
  return client.get(kinds.pods, name).then(
    () => false,
    (error) => isStatus(error, 404),
  );
}

test("a pod that is bound to the node runs, with its addresses in its status; those of other nodes are left alone", async (t) => {
  const client = await testApi(t);
  const { runtime } = await kubelet(t, client);
  await client.create(kinds.pods, { ...pod({ nodeName: "node-2" }), metadata: { ...name, name: "other" } });
  await client.create(kinds.pods, pod());
  await until("ready", isReady(client));
  t.deepEqual(runtime.calls, ["add default/web", "start default/web/main"]);
  const seen = await status(client);
  t.like(seen, { phase: "Running", podIP: "10.64.1.1", hostIP: "172.30.0.1" });
  t.deepEqual(seen.podIPs, [{ ip: "10.64.1.1" }, { ip: "fd00:10:40:1::1" }]);
  t.like((seen.containerStatuses as readonly object[])[0], { name: "main", ready: true, restartCount: 0 });
});

test("an ADD that fails is undone, told in the status, and tried again until it works", async (t) => {
  const client = await testApi(t);
  const runtime = new FakePodRuntime();
  runtime.addFailures.push(new Error("the agent is away"), new Error("the agent is away"));
  await kubelet(t, client, runtime);
  await client.create(kinds.pods, pod());
  await until("the failure in the status", async () =>
    JSON.stringify((await status(client)).containerStatuses ?? "").includes("the agent is away"),
  );
  await until("ready", isReady(client));
  t.deepEqual(runtime.calls, [
    ...["add default/web", "del default/web", "add default/web", "del default/web", "add default/web"],
    "start default/web/main",
  ]);
});

test("a deleted pod gets its grace, then its network goes, and only then it leaves the API server", async (t) => {
  const client = await testApi(t);
  const { runtime } = await kubelet(t, client);
  await client.create(kinds.pods, pod());
  await until("ready", isReady(client));
  await client.delete(kinds.pods, name);
  await until("gone", () => isGone(client));
  t.deepEqual(runtime.calls.slice(2), ["stop default/web/main 5000", "del default/web"]);
});

test("a pod that is deleted while its ADD fails again and again goes, too", async (t) => {
  const client = await testApi(t);
  const runtime = new FakePodRuntime();
  runtime.addFailures.push(...Array.from({ length: 100 }, () => new Error("the agent is away")));
  await kubelet(t, client, runtime);
  await client.create(kinds.pods, pod());
  await until("a first try", async () => runtime.calls.includes("del default/web"));
  await client.delete(kinds.pods, name);
  await until("gone", () => isGone(client));
  t.is(runtime.calls.at(-1), "del default/web");
});

test("a pod deleted by force ends at once, and its successor of the same name waits until it is gone", async (t) => {
  const client = await testApi(t);
  const { runtime } = await kubelet(t, client);
  await client.create(kinds.pods, pod());
  await until("ready", isReady(client));
  await client.delete(kinds.pods, name, { gracePeriodSeconds: 0 });
  await client.create(kinds.pods, pod());
  await until("the successor is ready", isReady(client));
  t.deepEqual(runtime.calls.slice(2), [
    "stop default/web/main 0",
    "del default/web",
    "add default/web",
    "start default/web/main",
  ]);
  t.is((await status(client)).podIP, "10.64.1.2");
});

test("a pod whose containers end for good has succeeded or failed, gives its network back, and stays until it is deleted", async (t) => {
  const client = await testApi(t);
  const { runtime } = await kubelet(t, client);
  const made = await client.create(kinds.pods, pod({ restartPolicy: "Never" }));
  await until("ready", isReady(client));
  runtime.exit({ metadata: { uid: made.metadata.uid ?? "" } }, "main", 3);
  await until("failed", async () => (await status(client)).phase === "Failed");
  await until("its network is gone", async () => runtime.calls.includes("del default/web"));
  t.false(await isGone(client));
  await client.delete(kinds.pods, name, { gracePeriodSeconds: 0 });
});

test("conditions that others write are kept, and a readiness gate opens the pod", async (t) => {
  const client = await testApi(t);
  await kubelet(t, client);
  await client.create(kinds.pods, pod({ readinessGates: [{ conditionType: "example.com/gate" }] }));
  await until("running", async () => condition(await status(client), "ContainersReady") === "True");
  t.is(condition(await status(client), "Ready"), "False");
  await until("the gate is written", async () => {
    const current = await client.get(kinds.pods, name);
    const { conditions } = current.status as { readonly conditions: readonly object[] };
    const { resourceVersion } = current.metadata;
    const gate = { type: "example.com/gate", status: "True" };
    const patch = { metadata: { resourceVersion }, status: { conditions: [...conditions, gate] } };
    return client.patch(kinds.pods, name, patch, { subresource: "status" }).then(
      () => true,
      (error) => !isStatus(error, 409),
    );
  });
  await until("ready", isReady(client));
  t.is(condition(await status(client), "example.com/gate"), "True");
});

test("init containers are refused in words", async (t) => {
  const client = await testApi(t);
  const { runtime } = await kubelet(t, client);
  await client.create(kinds.pods, pod({ initContainers: [{ name: "first", image: "lab" }] }));
  await until("failed", async () => (await status(client)).phase === "Failed");
  t.like(await status(client), { reason: "UnsupportedByLab", message: "the lab runs no init containers" });
  t.false(runtime.calls.includes("add default/web"));
});

test("a kubelet that starts again takes its pods over, and clears those that were deleted meanwhile, before their successors", async (t) => {
  const client = await testApi(t);
  const first = await kubelet(t, client);
  const { runtime } = first;
  const made = kubeletPodSchema.parse(await client.create(kinds.pods, pod()));
  await until("ready", isReady(client));
  await first.stop();
  t.deepEqual(runtime.calls, ["add default/web", "start default/web/main"]);

  runtime.found.push({ pod: made, ips: ["10.64.1.1"] });
  const second = await kubelet(t, client, runtime);
  await client.create(kinds.pods, { ...pod(), metadata: { ...name, name: "later" } });
  await until("it does its work", async () => runtime.calls.includes("start default/later/main"));
  t.false(runtime.calls.slice(2).some((call) => call.includes("/web")));
  t.is(condition(await status(client), "Ready"), "True");
  await second.stop();

  await client.delete(kinds.pods, name, { gracePeriodSeconds: 0 });
  await client.create(kinds.pods, pod());
  const before = runtime.calls.length;
  await kubelet(t, client, runtime);
  await until("the successor is ready", isReady(client));
  t.deepEqual(
    runtime.calls.slice(before).filter((call) => call.includes("/web")),
    ["stop default/web/main 0", "del default/web", "add default/web", "start default/web/main"],
  );
});
