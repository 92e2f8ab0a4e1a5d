/** The controllers of the API server of the tests, each called by hand until nothing changes any more. */
import test from "ava";
import { systemClock } from "../../../src/lib/clock.ts";
import { BuiltInRules } from "../../support/api-server/built-in-rules.ts";
import { accountControllers } from "../../support/api-server/controllers/accounts.ts";
import { Cluster } from "../../support/api-server/controllers/cluster.ts";
import { deployments } from "../../support/api-server/controllers/deployments.ts";
import { endpointSlices } from "../../support/api-server/controllers/endpoint-slices.ts";
import { garbage } from "../../support/api-server/controllers/garbage.ts";
import { namespaces } from "../../support/api-server/controllers/namespaces.ts";
import { nodeTaints, podGarbage } from "../../support/api-server/controllers/nodes.ts";
import { replicaSets } from "../../support/api-server/controllers/replicasets.ts";
import { at, type JsonObject, listAt, textAt, withAt } from "../../support/api-server/json.ts";
import { TestApiServer } from "../../support/api-server/server.ts";

const all = [
  ...accountControllers("ca"),
  deployments,
  replicaSets,
  endpointSlices,
  namespaces,
  garbage,
  nodeTaints,
  podGarbage,
];

/** A server that does not listen. */
function clusterOf() {
  const ranges = { cidrs: ["10.96.0.0/16", "fd00:96::/112"] };
  const server = new TestApiServer({
    rules: (store) => new BuiltInRules(store, { ranges, collectsGarbage: true, accounts: true }),
  });
  const cluster = new Cluster(server, "test");
  const settle = () => {
    for (let rounds = 0; ; rounds++) {
      const before = server.store.revision;
      for (const controller of all) controller.sync(cluster, systemClock.now());
      if (server.store.revision === before) return;
      if (rounds > 50) throw new Error("the controllers never come to rest");
    }
  };
  settle();
  return { server, cluster, settle };
}

type Fixture = ReturnType<typeof clusterOf>;

const nameOf = (object: JsonObject) => textAt(object, "metadata", "name");
const ready = { type: "Ready", status: "True" };

function deployment(version: string, replicas = 3): JsonObject {
  const container = { name: "c", image: `x:${version}`, ports: [{ name: "http", containerPort: 8080 }] };
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { namespace: "default", name: "web" },
    spec: {
      replicas,
      selector: { matchLabels: { app: "web" } },
      template: { metadata: { labels: { app: "web" } }, spec: { containers: [container] } },
    },
  };
}

/** What scheduler and kubelets do with pods that have no node yet. */
function runPods({ cluster, server, settle }: Fixture): void {
  if (cluster.get("nodes", null, "n1") === null) cluster.create("nodes", { metadata: { name: "n1" } });
  cluster.all("pods").forEach((pod, index) => {
    if (textAt(pod, "spec", "nodeName") !== "") return;
    const bound = withAt(pod, ["spec", "nodeName"], "n1");
    const podIPs = [{ ip: `10.0.0.${index + 1}` }, { ip: `fd00::${index + 1}` }];
    const running = { ...bound, status: { phase: "Running", podIP: podIPs[0]?.ip ?? "", podIPs, conditions: [ready] } };
    server.store.put("pods", `default/${nameOf(pod)}`, running);
  });
  settle();
}

/** And with those that are to end. */
function endPods({ cluster, settle }: Fixture): number {
  const ending = cluster.all("pods").filter((pod) => at(pod, "metadata", "deletionTimestamp") !== undefined);
  for (const pod of ending) cluster.delete("pods", pod, { gracePeriodSeconds: 0 });
  settle();
  return ending.length;
}

test("a deployment has its pods, also when one is deleted, and takes them with it", (t) => {
  const fixture = clusterOf();
  const { cluster, settle } = fixture;
  cluster.create("deployments.apps", deployment("1"));
  settle();
  runPods(fixture);
  const made = cluster.all("pods");
  t.is(made.length, 3);
  t.true(
    made.every((pod) => nameOf(pod).startsWith("web-") && textAt(pod, "spec", "serviceAccountName") === "default"),
  );
  t.like(cluster.get("deployments.apps", "default", "web")?.status, { updatedReplicas: 3, availableReplicas: 3 });
  const [gone] = made;
  if (gone !== undefined) cluster.delete("pods", gone);
  settle();
  t.is(cluster.all("pods").length, 4, "its successor does not wait for its end");
  endPods(fixture);
  t.is(cluster.all("pods").length, 3);
  cluster.delete("deployments.apps", cluster.get("deployments.apps", "default", "web") ?? {});
  settle();
  endPods(fixture);
  t.deepEqual([cluster.all("pods"), cluster.all("replicasets.apps")], [[], []]);
});

test("a new template comes by and by: never fewer pods than it may lack, never more than it may have besides", (t) => {
  const fixture = clusterOf();
  const { cluster, settle } = fixture;
  cluster.create("deployments.apps", deployment("1", 4));
  settle();
  runPods(fixture);
  const old = cluster.get("deployments.apps", "default", "web") ?? {};
  cluster.update("deployments.apps", { ...old, spec: deployment("2", 4).spec ?? {} });
  settle();
  const isNew = (pod: JsonObject) => textAt(listAt(pod, "spec", "containers")[0], "image") === "x:2";
  const isAlive = (pod: JsonObject) => at(pod, "metadata", "deletionTimestamp") === undefined;
  for (let rounds = 0; !cluster.all("pods").every(isNew) || cluster.all("pods").length !== 4; rounds++) {
    const alive = cluster.all("pods").filter(isAlive);
    t.true(alive.length <= 5, `${alive.length} at once`);
    t.true(alive.filter((pod) => at(pod, "status", "phase") === "Running").length >= 3);
    runPods(fixture);
    endPods(fixture);
    if (rounds > 20) throw new Error("the new template never comes");
  }
  t.is(cluster.all("replicasets.apps").length, 2);
});

test("slices have the ready pods of a service per family, and those that are ending as such", (t) => {
  const fixture = clusterOf();
  const { cluster, settle } = fixture;
  cluster.create("deployments.apps", deployment("1", 2));
  const spec = {
    selector: { app: "web" },
    ipFamilyPolicy: "PreferDualStack",
    ports: [{ port: 80, targetPort: "http" }],
  };
  cluster.create("services", { metadata: { namespace: "default", name: "web" }, spec });
  settle();
  const slices = () => cluster.all("endpointslices.discovery.k8s.io");
  t.deepEqual(
    slices().map(({ addressType, endpoints }) => [addressType, endpoints]),
    [
      ["IPv4", []],
      ["IPv6", []],
    ],
  );
  runPods(fixture);
  t.deepEqual(
    slices().map((slice) => [slice.addressType, listAt(slice, "endpoints").length, listAt(slice, "ports")]),
    ["IPv4", "IPv6"].map((family) => [family, 2, [{ name: "", protocol: "TCP", port: 8080 }]]),
  );
  const [pod = {}] = cluster.all("pods");
  cluster.delete("pods", pod);
  settle();
  const conditions = slices().flatMap((slice) =>
    listAt(slice, "endpoints")
      .filter((endpoint) => textAt(endpoint, "targetRef", "name") === nameOf(pod))
      .map((endpoint) => at(endpoint, "conditions")),
  );
  t.deepEqual(conditions, Array(2).fill({ ready: false, serving: true, terminating: true }));
  cluster.delete("services", cluster.get("services", "default", "web") ?? {});
  settle();
  t.deepEqual(slices(), []);
});

test("a namespace goes when all that is in it is gone, and takes nothing new meanwhile", (t) => {
  const { cluster, settle } = clusterOf();
  cluster.create("namespaces", { metadata: { name: "shop" } });
  settle();
  t.not(cluster.get("serviceaccounts", "shop", "default"), null);
  cluster.create("configmaps", { metadata: { namespace: "shop", name: "held", finalizers: ["t.io/x"] } });
  cluster.delete("namespaces", cluster.get("namespaces", null, "shop") ?? {});
  settle();
  t.is(textAt(cluster.get("namespaces", null, "shop") ?? {}, "status", "phase"), "Terminating");
  t.is(cluster.create("configmaps", { metadata: { namespace: "shop", name: "late" } }), null);
  const held = cluster.get("configmaps", "shop", "held") ?? {};
  cluster.update("configmaps", withAt(held, ["metadata", "finalizers"], []));
  settle();
  t.is(cluster.get("namespaces", null, "shop"), null);
  t.is(cluster.get("serviceaccounts", "shop", "default"), null);
});

test("what only a gone owner has goes; foreground waits for it, orphans stay", (t) => {
  const { cluster, settle } = clusterOf();
  const make = (name: string, owner: JsonObject | null, finalizers: readonly string[] = []) => {
    const reference = {
      apiVersion: "v1",
      kind: "ConfigMap",
      name: nameOf(owner ?? {}),
      uid: textAt(owner ?? {}, "metadata", "uid"),
    };
    const metadata = { namespace: "default", name, finalizers, ownerReferences: owner === null ? [] : [reference] };
    return cluster.create("configmaps", { metadata }) ?? {};
  };
  const names = () =>
    cluster
      .all("configmaps")
      .map(nameOf)
      .filter((name) => name !== "kube-root-ca.crt");
  const owner = make("owner", null);
  make("child", owner);
  settle();
  t.deepEqual(names(), ["owner", "child"]);
  cluster.delete("configmaps", owner);
  settle();
  t.deepEqual(names(), []);

  const slow = make("owner", null);
  const held = make("child", slow, ["t.io/x"]);
  cluster.delete("configmaps", slow, { propagationPolicy: "Foreground" });
  settle();
  t.deepEqual(names(), ["owner", "child"], "the owner waits");
  const dying = cluster.get("configmaps", "default", nameOf(held)) ?? {};
  cluster.update("configmaps", withAt(dying, ["metadata", "finalizers"], []));
  settle();
  t.deepEqual(names(), []);

  const leaving = make("owner", null);
  make("child", leaving);
  cluster.delete("configmaps", leaving, { propagationPolicy: "Orphan" });
  settle();
  t.deepEqual(names(), ["child"]);
});

test("a node has its taint until it is ready, and pods of a node that is gone go", (t) => {
  const { cluster, settle, server } = clusterOf();
  cluster.create("nodes", { metadata: { name: "n1" } });
  settle();
  const node = () => cluster.get("nodes", null, "n1") ?? {};
  t.is(listAt(node(), "spec", "taints").length, 1);
  cluster.updateStatus("nodes", node(), { conditions: [ready] });
  settle();
  t.is(listAt(node(), "spec", "taints").length, 0);
  const spec = { nodeName: "n1", containers: [{ name: "c", image: "x" }] };
  cluster.create("pods", { metadata: { namespace: "default", name: "p" }, spec });
  settle();
  t.is(server.store.objects("pods").size, 1);
  cluster.delete("nodes", node());
  settle();
  t.is(server.store.objects("pods").size, 0);
});
