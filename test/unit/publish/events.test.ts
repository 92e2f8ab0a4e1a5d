import test from "ava";
import { statusError } from "../../../src/kube/errors.ts";
import type { KubeObject, ObjectName } from "../../../src/kube/index.ts";
import type { PodNotice } from "../../../src/model/pod-notices.ts";
import { EventRecorder } from "../../../src/publish/events.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const status = (code: number) => statusError("Event shop/web", code, {});

/** An API server in memory. */
class FakeCluster {
  readonly events = new Map<string, KubeObject>();
  readonly requests: string[] = [];
  failing: Error | null = null;

  readonly client = {
    create: async <T extends KubeObject>(_kind: unknown, object: T): Promise<T> => {
      const { name } = object.metadata;
      this.#request(`create ${name}`);
      if (this.events.has(name)) throw status(409);
      this.events.set(name, object);
      return object;
    },
    patch: async <T extends KubeObject>(_kind: unknown, { name }: ObjectName, patch: object): Promise<T> => {
      this.#request(`patch ${name}`);
      const event = this.events.get(name);
      if (event === undefined) throw status(404);
      const changed = { ...event, ...patch };
      this.events.set(name, changed);
      return changed as unknown as T;
    },
  };

  #request(what: string): void {
    this.requests.push(what);
    if (this.failing !== null) throw this.failing;
  }
}

function recorder(cluster = new FakeCluster()) {
  const clock = new ManualClock();
  const made = () => new EventRecorder({ client: cluster.client, component: "tandem-agent", nodeName: "n1", clock });
  return { cluster, clock, made, events: made() };
}

function notice(name: string, reason = "BandwidthIgnored"): PodNotice {
  return { pod: { namespace: "shop", name, uid: `uid-${name}` }, type: "Warning", reason, message: "has no effect" };
}

test("a notice is an Event of the pod, in its namespace", async (t) => {
  const { cluster, clock, events } = recorder();
  events.notice(notice("web-0"));
  await clock.advance(0);
  const [event] = cluster.events.values();
  t.regex(event?.metadata.name ?? "", /^web-0\.[0-9a-f]{16}$/);
  t.like(event, {
    metadata: { namespace: "shop" },
    involvedObject: { apiVersion: "v1", kind: "Pod", namespace: "shop", name: "web-0", uid: "uid-web-0" },
    type: "Warning",
    reason: "BandwidthIgnored",
    message: "has no effect",
    source: { component: "tandem-agent", host: "n1" },
    count: 1,
    firstTimestamp: new Date(clock.now()).toISOString().replace(".000Z", "Z"),
  });
});

test("one about a service is an Event of the service", async (t) => {
  const { cluster, clock, events } = recorder();
  const service = { namespace: "shop", name: "web", uid: "uid-s" };
  events.notice({ service, type: "Warning", reason: "ServiceAddressTaken", message: "taken" });
  await clock.advance(0);
  t.like([...cluster.events.values()][0], {
    metadata: { namespace: "shop" },
    involvedObject: { kind: "Service", name: "web", uid: "uid-s" },
    reason: "ServiceAddressTaken",
  });
});

test("the same again is one Event, whose count is brought up to date after a while", async (t) => {
  const { cluster, clock, events } = recorder();
  for (let times = 0; times < 5; times++) {
    events.notice(notice("web"));
    await clock.advance(1_000);
  }
  t.is(cluster.requests.length, 1);
  await clock.advance(600_000);
  events.notice(notice("web"));
  await clock.advance(0);
  t.is(cluster.events.size, 1);
  t.deepEqual(
    cluster.requests.map((request) => request.split(" ")[0]),
    ["create", "patch"],
  );
  t.is([...cluster.events.values()][0]?.count, 6);
});

test("an agent that starts anew does not say again what was said", async (t) => {
  const { cluster, clock, made, events } = recorder();
  events.notice(notice("web"));
  await clock.advance(0);
  const before = [...cluster.events.values()];
  const next = made();
  next.notice(notice("web"));
  await clock.advance(0);
  t.deepEqual([...cluster.events.values()], before);
  t.deepEqual(next.counts(), { written: 0, dropped: 0, failed: 0 });
});

test("much to say is a burst, then a trickle; what does not fit is dropped and counted", async (t) => {
  const { cluster, clock, events } = recorder();
  for (let pod = 0; pod < 300; pod++) events.notice(notice(`web-${pod}`));
  await clock.advance(0);
  t.is(cluster.requests.length, 20);
  t.is(events.counts().dropped, 300 - 256);
  await clock.advance(30_000);
  t.is(cluster.requests.length, 30);
  await clock.advance(3_000 * 300);
  t.is(cluster.requests.length, 256);
  await events.stop();
});

test("an API server that takes none is counted, and asked again with the next notice", async (t) => {
  const { cluster, clock, events } = recorder();
  cluster.failing = status(500);
  events.notice(notice("web"));
  await clock.advance(0);
  t.deepEqual(events.counts(), { written: 0, dropped: 0, failed: 1 });
  cluster.failing = null;
  events.notice(notice("web"));
  await clock.advance(0);
  t.deepEqual(events.counts(), { written: 1, dropped: 0, failed: 1 });
});

test("stopping says nothing more and waits for no tokens", async (t) => {
  const { cluster, clock, events } = recorder();
  for (let pod = 0; pod < 30; pod++) events.notice(notice(`web-${pod}`));
  await clock.advance(0);
  await events.stop();
  events.notice(notice("late"));
  await clock.advance(60_000);
  t.is(cluster.requests.length, 20);
});

test("the longest name of a pod leaves room for the event's", async (t) => {
  const { cluster, clock, events } = recorder();
  events.notice(notice(`${"a".repeat(235)}.${"b".repeat(17)}`));
  await clock.advance(0);
  const [name = ""] = cluster.events.keys();
  t.true(name.length <= 253);
  t.regex(name, /^[a-z0-9]+\.[0-9a-f]{16}$/);
});

test("of a node it is an Event in default, found by the node's name", async (t) => {
  const { cluster, clock, events } = recorder();
  events.notice({ node: "n2", type: "Warning", reason: "NodeMtu", message: "packets are lost" });
  await clock.advance(0);
  t.like([...cluster.events.values()][0], {
    metadata: { namespace: "default" },
    involvedObject: { apiVersion: "v1", kind: "Node", namespace: "default", name: "n2", uid: "n2" },
    reason: "NodeMtu",
  });
});
