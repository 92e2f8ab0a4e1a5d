import test from "ava";
import { parseManifest } from "../../../../src/sources/files/parse-manifest.ts";
import { type ObjectsReading, readObjects } from "../../../../src/sources/files/read-objects.ts";

function read(text: string, file = "a.yaml"): ObjectsReading {
  const { objects, failure } = parseManifest(text, file);
  if (failure !== null) throw new Error(failure.message);
  return readObjects(objects);
}

const one = (object: object) => readObjects([{ value: object, file: "a.yaml", line: 1 }]);
const texts = (addresses: readonly { readonly text: string }[] | undefined) => addresses?.map(({ text }) => text);

/** "error Pod shop/web spec.nodeName", a line per problem. */
const brief = ({ problems }: ObjectsReading) =>
  problems.map(({ severity, object, field }) => `${severity} ${object} ${field}`.trim());

test("a pod that says nothing of its state runs, is ready, and has the default account and namespace", (t) => {
  const reading = read("apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  labels: {app: web}\n");
  t.deepEqual(reading.problems, []);
  t.deepEqual(reading.rows.pods.get("default/web"), {
    namespace: "default",
    name: "web",
    uid: "",
    labels: { app: "web" },
    node: "",
    serviceAccount: "default",
    hostNetwork: false,
    addresses: [],
    ports: [],
    phase: "Running",
    ready: true,
  });
});

test("a pod's addresses, ports and state are those of its status and its containers that go on running", (t) => {
  const { rows, problems } = one({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "web", namespace: "shop", uid: "u1" },
    spec: {
      nodeName: "node-1",
      serviceAccountName: "robot",
      hostNetwork: true,
      containers: [
        {
          name: "a",
          ports: [
            { containerPort: 80, name: "http" },
            { containerPort: 53, protocol: "UDP" },
          ],
        },
      ],
      initContainers: [
        { name: "sidecar", restartPolicy: "Always", ports: [{ containerPort: 15001 }] },
        { name: "once", ports: [{ containerPort: 1 }] },
      ],
    },
    status: {
      phase: "Pending",
      podIP: "10.1.0.1",
      podIPs: [{ ip: "10.1.0.1" }, { ip: "FD00:1::0:1" }],
      conditions: [{ type: "Ready", status: "False" }],
    },
  });
  t.deepEqual(problems, []);
  const pod = rows.pods.get("shop/web");
  t.like(pod, {
    node: "node-1",
    serviceAccount: "robot",
    hostNetwork: true,
    phase: "Pending",
    ready: false,
    uid: "u1",
  });
  t.deepEqual(texts(pod?.addresses), ["10.1.0.1", "fd00:1::1"]);
  t.deepEqual(pod?.ports, [
    { name: "http", port: 80, protocol: "TCP" },
    { name: null, port: 53, protocol: "UDP" },
    { name: null, port: 15001, protocol: "TCP" },
  ]);
  const single = one({ apiVersion: "v1", kind: "Pod", metadata: { name: "w" }, status: { podIP: "10.1.0.9" } });
  t.deepEqual(texts(single.rows.pods.get("default/w")?.addresses), ["10.1.0.9"]);
});

test("a pod that is being deleted is not ready", (t) => {
  const metadata = { name: "web", deletionTimestamp: "2026-11-25T00:00:00Z" };
  t.false(one({ apiVersion: "v1", kind: "Pod", metadata }).rows.pods.get("default/web")?.ready);
});

test("a node has its internal and external addresses and its pod CIDRs; without an internal one it is told", (t) => {
  const node = (status: object, spec: object = {}) =>
    one({ apiVersion: "v1", kind: "Node", metadata: { name: "n" }, spec, status });
  const addresses = [
    { type: "InternalIP", address: "172.18.0.2" },
    { type: "ExternalIP", address: "192.0.2.2" },
    { type: "Hostname", address: "n" },
    { type: "InternalIP", address: "172.18.0.2" },
  ];
  const good = node({ addresses }, { podCIDR: "10.1.0.0/24", podCIDRs: ["10.1.0.0/24", "fd00:1::/64"] });
  t.deepEqual(good.problems, []);
  t.deepEqual(texts(good.rows.nodes.get("n")?.addresses), ["172.18.0.2", "192.0.2.2"]);
  t.deepEqual(texts(good.rows.nodes.get("n")?.podCidrs), ["10.1.0.0/24", "fd00:1::/64"]);
  t.deepEqual(texts(node({ addresses }, { podCIDR: "10.1.0.0/24" }).rows.nodes.get("n")?.podCidrs), ["10.1.0.0/24"]);
  const bare = node({});
  t.deepEqual(brief(bare), ["warning Node n status.addresses"]);
  t.true(bare.rows.nodes.has("n"));
});

test("a node has the pod CIDRs that kube-router announces: of its annotation, else of the spec, else of its older annotation", (t) => {
  const node = (annotations: object, spec: object = {}) => {
    const status = { addresses: [{ type: "InternalIP", address: "172.18.0.2" }] };
    return one({ apiVersion: "v1", kind: "Node", metadata: { name: "n", annotations }, spec, status });
  };
  const cidrs = (reading: ObjectsReading) => texts(reading.rows.nodes.get("n")?.podCidrs);
  const both = { "kube-router.io/pod-cidrs": "10.1.0.0/24, fd00:1::/64" };
  const old = { "kube-router.io/pod-cidr": "10.2.0.0/24" };
  t.deepEqual(cidrs(node(both)), ["10.1.0.0/24", "fd00:1::/64"]);
  t.deepEqual(cidrs(node(old)), ["10.2.0.0/24"]);
  t.deepEqual(cidrs(node({ ...old, ...both })), ["10.1.0.0/24", "fd00:1::/64"]);
  t.deepEqual(cidrs(node({ ...old, "kube-router.io/pod-cidrs": "" })), ["10.2.0.0/24"]);
  t.deepEqual(cidrs(node(both, { podCIDRs: ["10.9.0.0/24"] })), ["10.1.0.0/24", "fd00:1::/64"]);
  t.deepEqual(cidrs(node(both, { podCIDR: "10.9.0.0/24" })), ["10.1.0.0/24", "fd00:1::/64"]);
  t.deepEqual(cidrs(node(old, { podCIDRs: ["10.9.0.0/24"] })), ["10.9.0.0/24"]);
  t.deepEqual(cidrs(node(old, { podCIDR: "10.9.0.0/24" })), ["10.9.0.0/24"]);
  const wrong = node({ "kube-router.io/pod-cidrs": "10.1.0.0/24,nonsense" });
  t.deepEqual(brief(wrong), ["error Node n metadata.annotations.kube-router.io/pod-cidrs"]);
});

test("every namespace has its name as a label, also one that nobody wrote down", (t) => {
  const { rows } = read(
    "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  labels: {team: blue}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: bank}\n",
  );
  t.deepEqual(
    [...rows.namespaces.values()],
    [
      { name: "shop", labels: { team: "blue", "kubernetes.io/metadata.name": "shop" } },
      { name: "bank", labels: { "kubernetes.io/metadata.name": "bank" } },
    ],
  );
});

test("a service's addresses, ports, selector and affinity", (t) => {
  const { rows, problems } = one({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "web", namespace: "shop" },
    spec: {
      type: "LoadBalancer",
      clusterIP: "10.96.0.1",
      clusterIPs: ["10.96.0.1", "fd00:96::1"],
      externalIPs: ["192.0.2.1"],
      loadBalancerIP: "192.0.2.9",
      selector: { app: "web" },
      sessionAffinity: "ClientIP",
      publishNotReadyAddresses: true,
      internalTrafficPolicy: "Local",
      ports: [
        { name: "http", port: 80, targetPort: "web", nodePort: 30080 },
        { name: "dns", port: 53, protocol: "UDP", nodePort: 0 },
      ],
    },
    status: {
      loadBalancer: { ingress: [{ ip: "192.0.2.2" }, { ip: "192.0.2.3", ipMode: "Proxy" }, { hostname: "x" }] },
    },
  });
  t.deepEqual(problems, []);
  const service = rows.services.get("shop/web");
  t.deepEqual(texts(service?.clusterIps), ["10.96.0.1", "fd00:96::1"]);
  t.deepEqual(texts(service?.externalIps), ["192.0.2.1"]);
  t.deepEqual(texts(service?.loadBalancerIps), ["192.0.2.2"]);
  t.like(service, { type: "LoadBalancer", affinitySeconds: 10_800, publishNotReady: true, selector: { app: "web" } });
  t.is(service?.internalTrafficPolicy, "Local");
  t.deepEqual(service?.ports, [
    { name: "http", protocol: "TCP", port: 80, targetPort: "web", nodePort: 30080 },
    { name: "dns", protocol: "UDP", port: 53, targetPort: 53, nodePort: null },
  ]);
});

test("a headless service has no addresses; one that nobody gave an address to is told", (t) => {
  const service = (spec: object) => one({ apiVersion: "v1", kind: "Service", metadata: { name: "s" }, spec });
  for (const spec of [{ clusterIP: "None" }, { clusterIPs: ["None"] }, { type: "ExternalName", externalName: "a.b" }]) {
    const reading = service(spec);
    t.deepEqual(reading.problems, []);
    t.like(reading.rows.services.get("default/s"), { clusterIps: [], selector: null });
  }
  t.deepEqual(brief(service({ selector: {} })), ["warning Service default/s spec.clusterIP"]);
});

test("whom a service serves outside: of which nodes", (t) => {
  const service = (spec: object) => {
    const all = { clusterIP: "10.96.0.1", ...spec };
    const { rows, problems } = one({ apiVersion: "v1", kind: "Service", metadata: { name: "s" }, spec: all });
    t.deepEqual(problems, []);
    return rows.services.get("default/s");
  };
  t.like(service({}), { externalTrafficPolicy: "Cluster", sourceRanges: null });
  t.is(service({ externalTrafficPolicy: "Local" })?.externalTrafficPolicy, "Local");
  t.is(service({ healthCheckNodePort: 32_000 })?.healthCheckNodePort, 32_000);
  t.is(service({ healthCheckNodePort: 0 })?.healthCheckNodePort, null);
});

test("a pod's annotation for L7 visibility says which ports; what it says wrong is told, and the rest counts", (t) => {
  const read = (text: string) => {
    const annotations = { "policy.cilium.io/proxy-visibility": text };
    const reading = one({ apiVersion: "v1", kind: "Pod", metadata: { name: "web", annotations } });
    const ways = reading.rows.pods
      .get("default/web")
      ?.visibility?.map(({ direction, protocol, port, l7 }) => `${direction} ${protocol}/${port} ${l7}`);
    return [ways ?? [], brief(reading).length] as const;
  };
  t.deepEqual(read("<Egress/53/UDP/DNS>,<Egress/80/TCP/HTTP>"), [["egress 17/53 dns", "egress 6/80 http"], 0]);
  t.deepEqual(read("<Egress/53/ANY/DNS>, <Ingress/9092/ANY/Kafka>"), [
    ["egress 6/53 dns", "egress 17/53 dns", "ingress 6/9092 kafka"],
    0,
  ]);
  for (const wrong of [
    "<Ingress/53/UDP/DNS>",
    "<Egress/80/UDP/HTTP>",
    "<Egress/80/SCTP/HTTP>",
    "<Egress/70000/TCP/HTTP>",
    "<Egress/0/TCP/HTTP>",
    "<Egress/80/TCP/Cassandra>",
    "Egress/80/TCP/HTTP",
    "<Egress/8080/TCP/HTTP>,",
  ])
    t.is(read(`${wrong},<Egress/8080/TCP/HTTP>`)[1], wrong.endsWith(",") ? 2 : 1, wrong);
  t.deepEqual(read("<Egress/80/TCP/HTTP>,<Egress/80/TCP/Kafka>"), [["egress 6/80 http"], 1]);
});

test("annotations that limit a pod's bandwidth are known by their names", (t) => {
  const annotations = { "kubernetes.io/egress-bandwidth": "10M", "kubernetes.io/other": "x" };
  const limited = one({ apiVersion: "v1", kind: "Pod", metadata: { name: "web", annotations } });
  t.deepEqual(limited.rows.pods.get("default/web")?.bandwidth, ["kubernetes.io/egress-bandwidth"]);
  t.deepEqual(limited.problems, []);
});

test("slices: what is not said of an endpoint is ready, serving as ready, not terminating", (t) => {
  const slice = (fields: object, labels: object = { "kubernetes.io/service-name": "web" }) =>
    one({ apiVersion: "discovery.k8s.io/v1", kind: "EndpointSlice", metadata: { name: "s", labels }, ...fields });
  const endpoints = [
    { addresses: ["10.1.0.1"], nodeName: "node-1" },
    { addresses: ["10.1.0.2"], conditions: { ready: false, terminating: true, serving: true } },
    { addresses: ["10.1.0.3"], conditions: { ready: false } },
  ];
  const good = slice({ addressType: "IPv4", endpoints, ports: [{ name: "http", port: 80 }] });
  t.deepEqual(good.problems, []);
  const row = good.rows.endpointSlices.get("default/s");
  t.like(row, { service: "web", family: 4, ports: [{ name: "http", protocol: "TCP", port: 80 }] });
  t.deepEqual(
    row?.endpoints.map(({ ready, serving, terminating, node }) => [ready, serving, terminating, node]),
    [
      [true, true, false, "node-1"],
      [false, true, true, null],
      [false, false, false, null],
    ],
  );
  const forZones = [{ name: "a" }, { name: "b" }];
  const hinted = slice({
    addressType: "IPv4",
    endpoints: [
      { addresses: ["10.1.0.1"], hints: { forZones } },
      { addresses: ["10.1.0.2"], hints: { forZones: [], forNodes: [{ name: "node-1" }] } },
      { addresses: ["10.1.0.3"], hints: {} },
    ],
  });
  t.deepEqual(hinted.problems, []);
  t.deepEqual(
    hinted.rows.endpointSlices.get("default/s")?.endpoints.map(({ hints }) => hints),
    [{ zones: ["a", "b"], nodes: [] }, { zones: [], nodes: ["node-1"] }, null],
  );
  t.deepEqual(brief(slice({ addressType: "IPv6", endpoints: [{ addresses: ["10.1.0.1"] }] })), [
    "error EndpointSlice default/s endpoints[0].addresses",
  ]);
  t.deepEqual(brief(slice({ addressType: "IPv4" }, {})), ["warning EndpointSlice default/s metadata.labels"]);
  t.deepEqual(brief(slice({ addressType: "FQDN" })), ["warning EndpointSlice default/s addressType"]);
  t.deepEqual(brief(slice({})), ["error EndpointSlice default/s addressType"]);
});

test("policies are handed on as they were written, by kind, namespace and name", (t) => {
  const spec = { whatever: [1, { two: null }] };
  const policy = (kind: string, apiVersion: string, more: object = {}) => ({
    value: { apiVersion, kind, metadata: { name: "p", namespace: "shop", uid: "u", generation: 3 }, spec, ...more },
    file: "a.yaml",
    line: 1,
  });
  const { rows, problems } = readObjects([
    policy("NetworkPolicy", "networking.k8s.io/v1"),
    policy("CiliumNetworkPolicy", "cilium.io/v2", { spec: undefined, specs: [spec, 7] }),
    policy("CiliumClusterwideNetworkPolicy", "cilium.io/v2"),
  ]);
  t.deepEqual(problems, []);
  t.deepEqual([...rows.policies.keys()].sort(), [
    "CiliumClusterwideNetworkPolicy//p",
    "CiliumNetworkPolicy/shop/p",
    "NetworkPolicy/shop/p",
  ]);
  const common = { name: "p", uid: "u", generation: 3 };
  const kubernetes = { kind: "NetworkPolicy" as const, namespace: "shop", spec, specs: null };
  t.deepEqual(rows.policies.get("NetworkPolicy/shop/p"), { ...common, ...kubernetes });
  t.like(rows.policies.get("CiliumNetworkPolicy/shop/p"), { spec: null, specs: [spec, 7] });
  t.like(rows.policies.get("CiliumClusterwideNetworkPolicy//p"), { namespace: "" });
});

test("CiliumCIDRGroups of both versions are rows, each CIDR once", (t) => {
  for (const apiVersion of ["cilium.io/v2", "cilium.io/v2alpha1"]) {
    const { rows, problems } = one({
      apiVersion,
      kind: "CiliumCIDRGroup",
      metadata: { name: "partners", labels: { kind: "partner" } },
      spec: { externalCIDRs: ["203.0.113.0/24", "2001:db8::/32", "203.0.113.7/24"] },
    });
    t.deepEqual(problems, []);
    const row = rows.cidrGroups.get("partners");
    t.like(row, { name: "partners", labels: { kind: "partner" } });
    t.deepEqual(
      row?.externalCidrs.map(({ text }) => text),
      ["203.0.113.0/24", "2001:db8::/32"],
    );
  }
});
