import test from "ava";
import { chooseNode, endpointSlices, podsOf, withClusterIps } from "../../../src/lab/controllers.ts";
import { checkObject, type Deployment, type Pod, type Service } from "../../../src/lab/objects.ts";
import { checkLabName, isNetnsOf, planLab, podNetns } from "../../../src/lab/plan.ts";

const plan = planLab({ name: "demo", index: 0, nodes: 3, externals: ["client"] }, "/cgroup");

const service = checkObject(
  {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "api", namespace: "shop" },
    spec: { selector: { app: "api" }, ports: [{ name: "http", port: 80, targetPort: "http" }] },
  },
  "test",
) as Service;

const apiPod = (number: number, port: number, ready = true): Pod =>
  checkObject(
    {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: `api-${number}`, namespace: "shop", labels: { app: "api" } },
      spec: { nodeName: "node-1", containers: [{ name: "api", ports: [{ name: "http", containerPort: port }] }] },
      status: {
        podIPs: [{ ip: `10.64.1.${number}` }, { ip: `fd00:10:40:1::${number}` }],
        conditions: [{ type: "Ready", status: ready ? "True" : "False" }],
      },
    },
    "test",
  ) as Pod;

test("a service gets a free address of each family, and keeps what it names itself", (t) => {
  const first = withClusterIps(service, plan, () => new Set());
  t.deepEqual(first.spec.clusterIPs, ["10.128.0.1", "fd00:10:80::1"]);
  const second = withClusterIps(service, plan, () => new Set(first.spec.clusterIPs));
  t.deepEqual(second.spec.clusterIPs, ["10.128.0.2", "fd00:10:80::2"]);
  const headless = { ...service, spec: { ...service.spec, clusterIP: "None" } };
  t.is(
    withClusterIps(headless, plan, () => new Set()),
    headless,
  );
});

test("slices hold the selected pods of each family, with named ports as numbers of each pod", (t) => {
  const slices = endpointSlices(
    withClusterIps(service, plan, () => new Set()),
    [apiPod(1, 8080), apiPod(2, 9090, false)],
  );
  t.deepEqual(
    slices.map((slice) => [
      slice.metadata.name,
      slice.addressType,
      slice.ports,
      JSON.stringify(slice.endpoints).includes("true"),
    ]),
    [
      ["api-ipv4", "IPv4", [{ name: "http", protocol: "TCP", port: 8080 }], true],
      ["api-ipv4-2", "IPv4", [{ name: "http", protocol: "TCP", port: 9090 }], false],
      ["api-ipv6", "IPv6", [{ name: "http", protocol: "TCP", port: 8080 }], true],
      ["api-ipv6-2", "IPv6", [{ name: "http", protocol: "TCP", port: 9090 }], false],
    ],
  );
  t.is(endpointSlices(service, []).length, 2, "no pods: an empty slice per family");
});

test("pods of a deployment are numbered, carry its labels and are spread over the nodes", (t) => {
  const deployment = checkObject(
    {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "web", namespace: "shop" },
      spec: {
        replicas: 2,
        template: { metadata: { labels: { app: "web" } }, spec: { containers: [{ name: "web" }] } },
      },
    },
    "test",
  ) as Deployment;
  t.deepEqual(
    podsOf(deployment).map(({ metadata }) => [metadata.name, metadata.labels]),
    [
      ["web-0", { app: "web" }],
      ["web-1", { app: "web" }],
    ],
  );
  t.is(
    chooseNode(plan, [apiPod(1, 80), { ...apiPod(2, 80), spec: { ...apiPod(2, 80).spec, nodeName: "node-2" } }]),
    "node-3",
  );
});

test("a broken manifest is refused with object and field", (t) => {
  const broken = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "x" },
    spec: { containers: [{ name: "a", ports: [{ containerPort: 70000 }] }] },
  };
  t.throws(() => checkObject(broken, "shop.yaml"), {
    message: /shop\.yaml: Pod default\/x.*spec\.containers\.0\.ports\.0\.containerPort/,
  });
});

test("a lab knows its namespaces from those of a lab whose name starts alike", (t) => {
  t.true(isNetnsOf("demo", podNetns("demo", "shop", "web-0")));
  t.true(isNetnsOf("demo", "tandem-demo-node-12"));
  t.false(isNetnsOf("dem", "tandem-demo-node-1"));
  t.false(isNetnsOf("demo", "tandem-demo2-fabric"));
  t.throws(() => checkLabName("a-b"), { message: /LAB_NAME/ });
  t.is(podNetns("demo", "n".repeat(60), "p".repeat(250)).length <= 255, true);
});
