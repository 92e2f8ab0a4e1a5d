import { setMaxListeners } from "node:events";
import test, { type ExecutionContext } from "ava";
import { KubeConnectionError, statusError } from "../../../../src/kube/errors.ts";
import { kinds, type KubeObject } from "../../../../src/kube/index.ts";
import { silentLogger } from "../../../../src/model/logging.ts";
import type { Problem } from "../../../../src/model/status.ts";
import { TableStore } from "../../../../src/model/store.ts";
import { parseManifest, readObjects } from "../../../../src/sources/files/index.ts";
import { KubeSource } from "../../../../src/sources/kube/index.ts";
import { ManualClock } from "../../../support/manual-clock.ts";
import { FakeApi } from "./fake-api.ts";

const namespace = (name: string, labels: Readonly<Record<string, string>> = {}): KubeObject => ({
  metadata: { name, labels },
});

const pod = (name: string, ip: string, labels: Readonly<Record<string, string>> = {}): KubeObject => ({
  metadata: { namespace: "shop", name, uid: `uid-${name}`, labels },
  spec: { nodeName: "n1", containers: [{ name: "main", ports: [{ name: "http", containerPort: 8080 }] }] },
  status: { phase: "Running", podIPs: [{ ip }], conditions: [{ type: "Ready", status: "True" }] },
});

const policy = (name: string, spec: object): KubeObject => ({ metadata: { namespace: "shop", name }, spec });

const unreachable = new KubeConnectionError({
  code: "KUBE_UNREACHABLE",
  object: "https://api.test",
  message: "the API server cannot be reached",
  remedy: "see that it runs",
});

function setUp(t: ExecutionContext, api = new FakeApi()) {
  const clock = new ManualClock();
  const store = new TableStore();
  const reports = new Map<string, readonly Problem[]>();
  const stopping = new AbortController();
  setMaxListeners(0, stopping.signal);
  t.teardown(() => stopping.abort());
  const conditions = { report: (topic: string, problems: readonly Problem[]) => void reports.set(topic, problems) };
  let customKinds = 0;
  const onCustomKind = () => {
    customKinds++;
  };
  const source = new KubeSource({ client: api, store, conditions, log: silentLogger, clock, onCustomKind });
  const started = source.start(stopping.signal);
  return { api, clock, store, reports, source, started, stopping, customKinds: () => customKinds };
}

test("every kind becomes rows, the same and under the same keys as from manifests", async (t) => {
  const api = new FakeApi();
  const objects: readonly (readonly [(typeof kinds)[keyof typeof kinds], KubeObject])[] = [
    [kinds.namespaces, namespace("shop", { team: "a" })],
    [
      kinds.nodes,
      {
        metadata: { name: "n1" },
        spec: { podCIDRs: ["10.1.1.0/24"] },
        status: { addresses: [{ type: "InternalIP", address: "192.168.0.1" }] },
      },
    ],
    [kinds.pods, pod("web", "10.1.1.2", { app: "web" })],
    [
      kinds.services,
      { metadata: { namespace: "shop", name: "web" }, spec: { clusterIP: "10.96.0.1", ports: [{ port: 80 }] } },
    ],
    [
      kinds.endpointSlices,
      {
        metadata: { namespace: "shop", name: "web-1", labels: { "kubernetes.io/service-name": "web" } },
        addressType: "IPv4",
        endpoints: [{ addresses: ["10.1.1.2"], conditions: { ready: true } }],
        ports: [{ name: "", port: 8080, protocol: "TCP" }],
      },
    ],
    [kinds.networkPolicies, policy("closed", { podSelector: {} })],
    [kinds.ciliumNetworkPolicies, policy("closed", { endpointSelector: {} })],
    [kinds.ciliumClusterwideNetworkPolicies, { metadata: { name: "all" }, spec: { endpointSelector: {} } }],
    [kinds.ciliumCidrGroups, { metadata: { name: "office" }, spec: { externalCIDRs: ["203.0.113.0/24"] } }],
  ];
  for (const [kind, object] of objects) api.put(kind, object);
  const { clock, store, source, started, reports } = setUp(t, api);
  await clock.advance(0);
  await started;

  const manifest = objects.map(([{ group, version, kind }, object]) => {
    return { apiVersion: group === "" ? version : `${group}/${version}`, kind, ...object };
  });
  const { rows, problems } = readObjects(
    parseManifest(JSON.stringify({ kind: "List", items: manifest }), "a.json").objects,
  );
  t.deepEqual(
    problems.filter(({ severity }) => severity === "error"),
    [],
  );
  for (const [table, wanted] of Object.entries(rows)) {
    t.true(wanted.size > 0, table);
    t.deepEqual([...store.table(table as keyof typeof rows)].sort(), [...wanted].sort(), table);
  }
  t.like(source.status(), { name: "kube", synced: true, stale: false });
  t.regex(source.status().detail, /1 pods/);
  t.deepEqual(reports.get("kube-objects"), []);

  // And all of it goes.
  for (const [kind, { metadata }] of objects) api.remove(kind, metadata);
  await clock.advance(0);
  for (const table of Object.keys(rows)) t.is(store.table(table as keyof typeof rows).size, 0, table);
});

test("a pod whose namespace is not known yet is not known either; a namespace stays until its last pod has gone", async (t) => {
  const { api, clock, store, started } = setUp(t);
  await clock.advance(0);
  await started;
  api.put(kinds.pods, pod("web", "10.1.1.2"));
  await clock.advance(0);
  t.is(store.table("pods").size, 0);
  api.put(kinds.namespaces, namespace("shop", { team: "a" }));
  await clock.advance(0);
  t.deepEqual([...store.table("pods").keys()], ["shop/web"]);
  t.is(store.table("namespaces").get("shop")?.labels.team, "a");

  api.remove(kinds.namespaces, { name: "shop" });
  await clock.advance(0);
  t.true(store.table("namespaces").has("shop"));
  api.put(kinds.pods, pod("web", "10.1.1.2", { app: "late" }));
  await clock.advance(0);
  t.is(store.table("pods").get("shop/web")?.labels.app, "late");
  api.remove(kinds.pods, { namespace: "shop", name: "web" });
  await clock.advance(0);
  t.is(store.table("pods").size, 0);
  t.is(store.table("namespaces").size, 0);

  // One that waited in vain is forgotten.
  api.put(kinds.pods, pod("late", "10.1.1.3"));
  api.remove(kinds.pods, { namespace: "shop", name: "late" });
  api.put(kinds.namespaces, namespace("shop"));
  await clock.advance(0);
  t.is(store.table("pods").size, 0);
});

test("an API server that cannot be reached takes nothing back, is told with the time, and mended by what is true then", async (t) => {
  const api = new FakeApi();
  api.put(kinds.namespaces, namespace("shop"));
  api.put(kinds.pods, pod("web", "10.1.1.2"));
  const { clock, store, source, reports, started } = setUp(t, api);
  await clock.advance(0);
  await started;
  api.failing = unreachable;
  api.cut(unreachable);
  await clock.advance(30_000);
  t.deepEqual([...store.table("pods").keys()], ["shop/web"]);
  t.like(source.status(), { synced: true, stale: true });
  t.is(reports.get("kube")?.length, 9);
  t.like(
    reports.get("kube")?.find(({ object }) => object === "pods"),
    { code: "KUBE_UNREACHABLE", severity: "warning" },
  );
  t.regex(reports.get("kube")?.[0]?.message ?? "", /not followed since 20.*last known objects are in force/);

  api.failing = null;
  await clock.advance(60_000);
  t.like(source.status(), { stale: false });
  t.deepEqual(reports.get("kube"), []);
});

test("an object that cannot be taken as it is keeps its last row, with a problem until it is mended or gone", async (t) => {
  const { api, clock, store, reports, started } = setUp(t);
  await clock.advance(0);
  await started;
  const group = (...externalCIDRs: readonly string[]): KubeObject => ({
    metadata: { name: "office" },
    spec: { externalCIDRs },
  });
  api.put(kinds.ciliumCidrGroups, group("203.0.113.0/24"));
  await clock.advance(0);
  const before = store.table("cidrGroups").get("office");
  t.truthy(before);
  api.put(kinds.ciliumCidrGroups, group("203.0.113.0/33"));
  await clock.advance(0);
  t.is(store.table("cidrGroups").get("office"), before);
  t.like(reports.get("kube-objects")?.[0], { severity: "error", object: "CiliumCIDRGroup office" });
  t.regex(reports.get("kube-objects")?.[0]?.message ?? "", /what was known of it before is in force/);
  api.put(kinds.ciliumCidrGroups, group("203.0.113.0/25"));
  await clock.advance(0);
  t.deepEqual(reports.get("kube-objects"), []);
  t.not(store.table("cidrGroups").get("office"), before);
});

test("a source that is stopped is done only when none of its watches takes anything any more", async (t) => {
  const { api, store, source, started, stopping } = setUp(t);
  await started;
  let done = false;
  const stopped = source.stopped().then(() => {
    done = true;
  });
  api.put(kinds.namespaces, namespace("shop"));
  while (store.table("namespaces").size === 0) await new Promise((resolve) => setImmediate(resolve));
  t.false(done);
  stopping.abort();
  await stopped;
  api.put(kinds.namespaces, namespace("late"));
  await new Promise((resolve) => setImmediate(resolve));
  t.deepEqual([...store.table("namespaces").keys()], ["shop"]);
});

test("kinds of cilium.io that are listed anew are told: their definitions may have been made anew, without what was there", async (t) => {
  const { api, clock, started, customKinds } = setUp(t);
  await started;
  t.is(customKinds(), 3);
  api.cut(unreachable);
  await clock.advance(30_000);
  t.is(customKinds(), 3, "a watch that goes on where it was tells of everything");
  api.cut(statusError("it", 410, {}));
  await clock.advance(30_000);
  t.is(customKinds(), 6);
});
