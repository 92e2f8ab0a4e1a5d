import test from "ava";
import { completeObjects } from "../../../../src/compute/offline/complete.ts";
import { clusterOf, objectsOf } from "./support.ts";

const deployment = (name: string, replicas: number, kind = "Deployment") => `
apiVersion: apps/v1
kind: ${kind}
metadata: {name: ${name}, namespace: shop}
spec:
  replicas: ${replicas}
  template:
    metadata: {labels: {app: ${name}}}
    spec: {containers: [{name: a, image: b, ports: [{name: http, containerPort: 8080}]}]}
`;

const podsOf = (text: string) => clusterOf(text).livePods.map(({ namespace, name }) => `${namespace}/${name}`);

test("a workload gets one pod of its name, and a second one where it has several", (t) => {
  t.deepEqual(podsOf(deployment("web", 1)), ["shop/web"]);
  t.deepEqual(podsOf(deployment("web", 5)), ["shop/web", "shop/web-2"]);
  t.deepEqual(podsOf(deployment("web", 0)), []);
  t.deepEqual(podsOf(deployment("db", 2, "StatefulSet")), ["shop/db-0", "shop/db-1"]);
});

test("a CronJob's template is found where it is", (t) => {
  const text = `
apiVersion: batch/v1
kind: CronJob
metadata: {name: night, namespace: shop}
spec: {jobTemplate: {spec: {template: {metadata: {labels: {app: night}}, spec: {containers: [{name: a, image: b}]}}}}}
`;
  t.deepEqual(podsOf(text), ["shop/night"]);
  t.like(clusterOf(text).livePods[0], { labels: { app: "night" } });
});

test("a workload whose pods are there gets none, and what a workload owns is not counted twice", (t) => {
  const pod = `
apiVersion: v1
kind: Pod
metadata: {name: web-7d9f8-x2x4k, namespace: shop, labels: {app: web, pod-template-hash: 7d9f8}}
spec: {nodeName: n1, containers: [{name: a, image: b}]}
status: {podIPs: [{ip: 10.1.0.7}]}
`;
  const owned = `
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: api-1, namespace: shop, ownerReferences: [{kind: Deployment, name: api}]}
spec: {replicas: 1, template: {metadata: {labels: {app: api}}, spec: {containers: [{name: a, image: b}]}}}
`;
  t.deepEqual(podsOf([deployment("web", 3), pod, owned].join("---")), ["shop/web-7d9f8-x2x4k"]);
});

test("addresses that are made up are nobody else's, and lie in the pod CIDRs of the pod's node", (t) => {
  const node = `
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.1.0.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
`;
  const taken = `
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: shop}
spec: {nodeName: n1, containers: [{name: a, image: b}]}
status: {podIP: 10.1.0.2}
`;
  const pods = clusterOf([node, taken, deployment("web", 2)].join("---")).livePods;
  t.deepEqual(
    pods.map(({ name, addresses }) => [name, ...addresses.map(({ text }) => text)]),
    [
      ["a", "10.1.0.2"],
      ["web", "10.1.0.3"],
      ["web-2", "10.1.0.4"],
    ],
  );
});

test("services get addresses, headless ones and names of elsewhere do not", (t) => {
  const service = (name: string, spec: string) => `
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: shop}
spec: {ports: [{port: 80}], ${spec}}
`;
  const cluster = clusterOf(
    [
      service("a", "selector: {app: web}"),
      service("b", "clusterIP: None"),
      service("c", "type: ExternalName, externalName: x.example"),
    ].join("---"),
  );
  const count = (name: string) => cluster.facts.services.get(`shop/${name}`)?.clusterIps.length;
  t.deepEqual([count("a"), count("b"), count("c")], [2, 0, 0]);
});

test("nothing that is written is changed, and the same objects give the same result", (t) => {
  const whole = `
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: shop}
spec: {nodeName: n1, containers: [{name: a, image: b}]}
status: {podIP: 10.1.0.2}
---
apiVersion: v1
kind: Pod
metadata: {name: ended, namespace: shop}
spec: {nodeName: n1, containers: [{name: a, image: b}]}
status: {phase: Succeeded}
---
just: something
`;
  const objects = objectsOf(whole);
  t.deepEqual(completeObjects(objects), { objects, assumed: [] });
  const text = deployment("web", 2);
  t.deepEqual(completeObjects(objectsOf(text)), completeObjects(objectsOf(text)));
  t.deepEqual(completeObjects(objectsOf(text)).assumed, [
    "pods of 1 workload",
    "the node node-1",
    "addresses of 2 pods",
  ]);
});
