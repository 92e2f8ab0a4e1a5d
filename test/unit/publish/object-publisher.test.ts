import test, { type ExecutionContext } from "ava";
import { statusError } from "../../../src/kube/errors.ts";
import { kinds, type KubeObject, objectKey, type ObjectName } from "../../../src/kube/index.ts";
import type { Problem } from "../../../src/model/status.ts";
import { nodeLabel, ObjectPublisher } from "../../../src/publish/object-publisher.ts";
import { ManualClock } from "../../support/manual-clock.ts";

/** An API server in memory, which counts requests and fails when told to. */
class FakeCluster {
  readonly objects = new Map<string, KubeObject>();
  readonly requests: string[] = [];
  failing: Error | null = null;
  #version = 0;

  readonly client = {
    apply: async <T extends KubeObject>(_kind: unknown, object: T): Promise<T> => {
      this.#request(`apply ${objectKey(object)}`);
      return this.write(object) as T;
    },
    delete: async (
      _kind: unknown,
      name: ObjectName,
      { resourceVersion }: { readonly resourceVersion?: string } = {},
    ): Promise<boolean> => {
      const key = objectKey({ metadata: name });
      this.#request(`delete ${key}`);
      const object = this.objects.get(key);
      if (object === undefined) return false;
      if (resourceVersion !== undefined && resourceVersion !== object.metadata.resourceVersion) throw status(409);
      return this.objects.delete(key);
    },
    get: async <T extends KubeObject>(_kind: unknown, name: ObjectName): Promise<T> => {
      const key = objectKey({ metadata: name });
      this.#request(`get ${key}`);
      const object = this.objects.get(key);
      if (object === undefined) throw status(404);
      return object as T;
    },
    listAll: async <T extends KubeObject>(
      _kind: unknown,
      { labelSelector }: { readonly labelSelector?: string } = {},
    ) => {
      this.#request("list");
      const [name = "", value] = labelSelector?.split("=") ?? [];
      return [...this.objects.values()].filter(({ metadata }) => metadata.labels?.[name] === value) as T[];
    },
  };

  write(object: KubeObject): KubeObject {
    const written = { ...object, metadata: { ...object.metadata, resourceVersion: String(++this.#version) } };
    this.objects.set(objectKey(object), written);
    return written;
  }

  #request(what: string): void {
    if (this.failing !== null) throw this.failing;
    this.requests.push(what);
  }
}

const status = (code: number) => statusError("it", code, {});

function endpoint(name: string, state: string, owner = "uid-1"): KubeObject {
  const ownerReferences = [{ apiVersion: "v1", kind: "Pod", name, uid: owner }];
  return { metadata: { name, namespace: "shop", ownerReferences }, status: { state } };
}

const wanted = (...objects: readonly KubeObject[]) => new Map(objects.map((each) => [objectKey(each), each]));

function setUp(t: ExecutionContext, cluster: FakeCluster, clock: ManualClock, nodeName = "n1") {
  const reports: (readonly Problem[])[] = [];
  const publisher = new ObjectPublisher({
    client: cluster.client,
    kind: kinds.ciliumEndpoints,
    nodeName,
    fieldManager: "tandem-agent",
    conditions: { report: (_topic, problems) => void reports.push(problems) },
    clock,
  });
  t.teardown(() => publisher.stop());
  return { publisher, reports };
}

test("an object is written when it changed and removed when it is gone; what did not change costs no request", async (t) => {
  const cluster = new FakeCluster();
  const clock = new ManualClock();
  const { publisher, reports } = setUp(t, cluster, clock);
  const web = endpoint("web", "ready");
  publisher.publish(wanted(web, endpoint("db", "waiting-for-identity")));
  await clock.advance(1_000);
  t.deepEqual(cluster.requests.splice(0), ["list", "apply shop/web", "apply shop/db"]);
  t.is(cluster.objects.get("shop/web")?.metadata.labels?.[nodeLabel], "n1");

  publisher.publish(wanted(web, endpoint("db", "ready")));
  await clock.advance(1_000);
  t.deepEqual(cluster.requests.splice(0), ["apply shop/db"]);
  publisher.publish(wanted(web, endpoint("db", "ready")));
  await clock.advance(1_000);
  t.deepEqual(cluster.requests.splice(0), []);
  publisher.publish(wanted(web));
  await clock.advance(1_000);
  t.deepEqual(cluster.requests.splice(0), ["delete shop/db"]);
  t.deepEqual(reports.at(-1), []);
});

test("after a restart only what differs is written, and what the agent before left behind goes", async (t) => {
  const cluster = new FakeCluster();
  const clock = new ManualClock();
  const first = setUp(t, cluster, clock);
  first.publisher.publish(wanted(endpoint("web", "ready"), endpoint("old", "ready")));
  await clock.advance(1_000);
  await first.publisher.stop();
  cluster.requests.length = 0;

  const { publisher } = setUp(t, cluster, clock);
  publisher.publish(wanted(endpoint("web", "ready"), endpoint("new", "ready")));
  await clock.advance(1_000);
  t.deepEqual(cluster.requests, ["list", "delete shop/old", "apply shop/new"]);
});

test("a pod that moved to another node is that node's: the one before does not remove what the other wrote", async (t) => {
  const cluster = new FakeCluster();
  const clock = new ManualClock();
  const here = setUp(t, cluster, clock, "n1");
  const there = setUp(t, cluster, clock, "n2");
  here.publisher.publish(wanted(endpoint("db-0", "ready", "uid-1")));
  await clock.advance(1_000);
  there.publisher.publish(wanted(endpoint("db-0", "ready", "uid-2")));
  await clock.advance(1_000);
  here.publisher.publish(new Map());
  await clock.advance(60_000);
  t.is(cluster.objects.get("shop/db-0")?.metadata.labels?.[nodeLabel], "n2");
  t.is(cluster.objects.get("shop/db-0")?.metadata.ownerReferences?.[0]?.uid, "uid-2");
  t.deepEqual(here.reports.at(-1), []);
});

test("a node that was away does not take back, and then remove, what another has taken over", async (t) => {
  const cluster = new FakeCluster();
  const clock = new ManualClock();
  const away = setUp(t, cluster, clock, "n1");
  const there = setUp(t, cluster, clock, "n2");
  away.publisher.publish(wanted(endpoint("db-0", "ready", "uid-1")));
  await clock.advance(1_000);
  // Another agent's requests go through meanwhile.
  cluster.failing = status(503);
  await clock.advance(700_000);
  cluster.failing = null;
  there.publisher.publish(wanted(endpoint("db-0", "ready", "uid-2")));
  await clock.advance(60_000);
  away.publisher.publish(new Map());
  await clock.advance(60_000);
  t.is(cluster.objects.get("shop/db-0")?.metadata.ownerReferences?.[0]?.uid, "uid-2");
  t.is(cluster.objects.get("shop/db-0")?.metadata.labels?.[nodeLabel], "n2");
  t.deepEqual(away.reports.at(-1), []);
});

test("an object that somebody else wrote to is removed all the same, of the version that it has", async (t) => {
  const cluster = new FakeCluster();
  const clock = new ManualClock();
  const { publisher, reports } = setUp(t, cluster, clock);
  publisher.publish(wanted(endpoint("web", "ready")));
  await clock.advance(1_000);
  cluster.write(cluster.objects.get("shop/web") ?? t.fail());
  publisher.publish(new Map());
  await clock.advance(60_000);
  t.false(cluster.objects.has("shop/web"));
  t.deepEqual(reports.at(-1), []);
});

test("what the API server refuses is a condition, tried again, and mended from what is there then", async (t) => {
  const cluster = new FakeCluster();
  const clock = new ManualClock();
  const { publisher, reports } = setUp(t, cluster, clock);
  cluster.failing = status(500);
  publisher.publish(wanted(endpoint("web", "ready")));
  await clock.advance(5_000);
  t.like(reports.at(-1)?.[0], { code: "PUBLISH_FAILED", severity: "warning", object: "Node n1" });
  cluster.failing = null;
  await clock.advance(60_000);
  t.deepEqual(reports.at(-1), []);
  t.deepEqual([...cluster.objects.keys()], ["shop/web"]);

  // Somebody removes it while nobody looks: found within the time between two looks.
  cluster.objects.clear();
  await clock.advance(700_000);
  t.deepEqual([...cluster.objects.keys()], ["shop/web"]);
});

test("objects that may be gone are looked for at once, and those that are missing are written; never before it is known what is wanted", async (t) => {
  const cluster = new FakeCluster();
  const clock = new ManualClock();
  const first = setUp(t, cluster, clock);
  first.publisher.publish(wanted(endpoint("web", "ready"), endpoint("api", "ready")));
  await clock.advance(1_000);
  await first.publisher.stop();

  const { publisher } = setUp(t, cluster, clock);
  cluster.requests.length = 0;
  publisher.doubt();
  await clock.advance(1_000);
  t.deepEqual(cluster.requests, []);
  publisher.publish(wanted(endpoint("web", "ready"), endpoint("api", "ready")));
  await clock.advance(1_000);
  t.deepEqual(cluster.requests, ["list"]);

  cluster.objects.delete("shop/web");
  cluster.requests.length = 0;
  publisher.doubt();
  await clock.advance(1_000);
  t.deepEqual(cluster.requests, ["list", "apply shop/web"]);
  t.true(cluster.objects.has("shop/web"));
});
