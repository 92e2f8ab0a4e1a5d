import test, { type ExecutionContext } from "ava";
import { type KubeClient, type KubeObject, kinds } from "../../../../src/kube/index.ts";
import { nodeSchema, schedulablePodSchema, whyNot } from "../../../../src/lab/kube/placement.ts";
import { Scheduler } from "../../../../src/lab/kube/scheduler.ts";
import { conditionsOf } from "../../../../src/lab/kubelet/pod-status.ts";
import { systemClock } from "../../../../src/lib/clock.ts";
import { silentLogger } from "../../../../src/model/logging.ts";
import { testApi, until } from "../../../support/lab-api.ts";

const ready = { conditions: [{ type: "Ready", status: "True" }] };

function may(podSpec: object, node: { labels?: object; spec?: object; status?: object }): boolean {
  const { labels = {}, spec = {}, status = ready } = node;
  const parsed = nodeSchema.parse({ metadata: { name: "node-1", labels }, spec, status });
  return whyNot(schedulablePodSchema.parse(podSpec), parsed) === null;
}

const affinity = (...nodeSelectorTerms: readonly object[]) => ({
  affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } } },
});
const term = (key: string, operator: string, ...values: readonly string[]) => ({
  matchExpressions: [{ key, operator, values }],
});

test("a node selector and a required affinity choose by labels and by name", (t) => {
  const node = { labels: { zone: "a", size: "4" } };
  t.true(may({ nodeSelector: { zone: "a" } }, node));
  t.false(may({ nodeSelector: { zone: "a", disk: "ssd" } }, node));
  for (const [one, expected] of [
    [term("zone", "In", "a", "b"), true],
    [term("zone", "In", "b"), false],
    [term("zone", "NotIn", "b"), true],
    [term("disk", "NotIn", "ssd"), true],
    [term("disk", "Exists"), false],
    [term("disk", "DoesNotExist"), true],
    [term("size", "Gt", "3"), true],
    [term("size", "Lt", "3"), false],
    [{ matchFields: [{ key: "metadata.name", operator: "In", values: ["node-1"] }] }, true],
    [{ matchFields: [{ key: "metadata.name", operator: "In", values: ["node-2"] }] }, false],
    [{}, false],
  ] as const)
    t.is(may(affinity(one), node), expected, JSON.stringify(one));
  t.true(may(affinity(term("zone", "In", "b"), term("zone", "Exists")), node), "terms are alternatives");
});

test("taints keep pods away that do not tolerate them; a node that is not ready or cordoned is as good as tainted", (t) => {
  const tainted = (effect: string) => ({ spec: { taints: [{ key: "only", value: "db", effect }] } });
  t.false(may({}, tainted("NoSchedule")));
  t.false(may({}, tainted("NoExecute")));
  t.true(may({}, tainted("PreferNoSchedule")));
  for (const [toleration, expected] of [
    [{ key: "only", value: "db" }, true],
    [{ key: "only", value: "web" }, false],
    [{ key: "only", operator: "Exists" }, true],
    [{ key: "only", operator: "Exists", effect: "NoExecute" }, false],
    [{ operator: "Exists" }, true],
    [{ key: "other", operator: "Exists" }, false],
  ] as const)
    t.is(may({ tolerations: [toleration] }, tainted("NoSchedule")), expected, JSON.stringify(toleration));
  t.false(may({}, { status: {} }));
  t.true(may({ tolerations: [{ key: "node.kubernetes.io/not-ready", operator: "Exists" }] }, { status: {} }));
  t.false(may({}, { spec: { unschedulable: true } }));
});

async function scheduler(t: ExecutionContext): Promise<KubeClient> {
  const client = await testApi(t);
  const stop = new AbortController();
  const running = new Scheduler({ client, clock: systemClock, log: silentLogger }).run(stop.signal);
  t.teardown(async () => {
    stop.abort();
    await running;
  });
  return client;
}

async function addNode(client: KubeClient, name: string, labels = {}): Promise<void> {
  await client.create(kinds.nodes, { metadata: { name, labels } });
  await client.patch(kinds.nodes, { name }, { status: ready }, { subresource: "status" });
}

const pod = (name: string, spec: object = {}): KubeObject => ({
  metadata: { name, namespace: "default" },
  spec: { containers: [{ name: "main", image: "lab" }], ...spec },
});

async function nodeOf(client: KubeClient, name: string): Promise<string | null> {
  const { spec } = await client.get(kinds.pods, { namespace: "default", name });
  return ((spec as { readonly nodeName?: string }).nodeName ?? "") || null;
}

test("pods go to one ready node after the other", async (t) => {
  const client = await scheduler(t);
  for (const name of ["node-1", "node-2"]) await addNode(client, name);
  await client.create(kinds.nodes, { metadata: { name: "node-3" } });
  const seen: (string | null)[] = [];
  for (const name of ["a", "b", "c", "d"]) {
    await client.create(kinds.pods, pod(name));
    await until("bound", async () => (await nodeOf(client, name)) !== null);
    seen.push(await nodeOf(client, name));
  }
  t.deepEqual([...seen].sort(), ["node-1", "node-1", "node-2", "node-2"]);
  t.not(seen[0], seen[1]);
});

test("a pod without a node says why, and is bound when there is one; pods of another scheduler are left alone", async (t) => {
  const client = await scheduler(t);
  await addNode(client, "node-1");
  await client.create(kinds.pods, pod("theirs", { schedulerName: "another" }));
  await client.create(kinds.pods, pod("picky", { nodeSelector: { disk: "ssd" } }));
  await until("the reason", async () => {
    const { status } = await client.get(kinds.pods, { namespace: "default", name: "picky" });
    const [condition] = conditionsOf((status ?? {}) as Readonly<Record<string, unknown>>);
    return condition?.message === "0/1 nodes are available: node-1 didn't match node selector";
  });
  await addNode(client, "node-2", { disk: "ssd" });
  await until("bound", async () => (await nodeOf(client, "picky")) === "node-2");
  t.is(await nodeOf(client, "theirs"), null);
});
