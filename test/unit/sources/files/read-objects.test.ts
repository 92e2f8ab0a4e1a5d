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

test("a node without pod CIDRs in its spec has those of kube-router's annotations, of both families", (t) => {
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
  t.deepEqual(cidrs(node(both, { podCIDRs: ["10.9.0.0/24"] })), ["10.9.0.0/24"], "the spec is first");
  t.deepEqual(cidrs(node(both, { podCIDR: "10.9.0.0/24" })), ["10.9.0.0/24"]);
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

test("an object with an error is refused whole, with all its mistakes and its place; the others count", (t) => {
  const reading = read(
    `apiVersion: v1
kind: Pod
metadata: {name: bad, namespace: shop, labels: {version: 1}}
spec: {nodeName: 5, containers: {}}
status: {podIP: 10.1.0.256}
---
apiVersion: v1
kind: Pod
metadata: {name: good, namespace: shop}
`,
    "pods.yaml",
  );
  t.deepEqual(brief(reading), [
    "error Pod shop/bad metadata.labels.version",
    "error Pod shop/bad spec.nodeName",
    "error Pod shop/bad status.podIP",
    "error Pod shop/bad spec.containers",
  ]);
  t.true(reading.problems.every(({ message, remedy }) => message.includes("pods.yaml line 1") && remedy !== ""));
  t.deepEqual([...reading.rows.pods.keys()], ["shop/good"]);
});

test("an unknown field is a warning with what was meant, and the object counts", (t) => {
  const reading = one({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "s", label: {} },
    spec: { clusterIP: "10.96.0.1", ports: [{ port: 80, targetport: 8080 }], somethingOfTomorrow: 1 },
    sepc: {},
  });
  t.deepEqual(
    reading.problems.map(({ severity, field, remedy }) => `${severity} ${field}: ${remedy}`),
    [
      "warning sepc: did you mean spec?",
      "warning metadata.label: did you mean labels?",
      "warning spec.somethingOfTomorrow: remove it, or correct its name",
      "warning spec.ports[0].targetport: did you mean targetPort?",
    ],
  );
  t.true(reading.rows.services.has("default/s"));
});

test("of two objects of one name the first by file and line counts, and both places are told", (t) => {
  const pod = (file: string, line: number, node: string) => ({
    value: { apiVersion: "v1", kind: "Pod", metadata: { name: "web" }, spec: { nodeName: node } },
    file,
    line,
  });
  const objects = [pod("b.yaml", 1, "node-b"), pod("a.yaml", 9, "node-a9"), pod("a.yaml", 3, "node-a3")];
  for (const order of [objects, [...objects].reverse()]) {
    const { rows, problems } = readObjects(order);
    t.is(rows.pods.get("default/web")?.node, "node-a3");
    t.deepEqual(
      problems.map(({ object, message }) => `${object}: ${message}`),
      [
        "Pod default/web: it is in a.yaml line 3 and in a.yaml line 9; a.yaml line 3 counts",
        "Pod default/web: it is in a.yaml line 3 and in b.yaml line 1; a.yaml line 3 counts",
      ],
    );
  }
});

test("kinds that are not for an agent are ignored and named once; a slip of the pen is not taken for one", (t) => {
  const reading = readObjects(
    ["Deployment", "Deployment", "Role", "Job", "Endpoints", "ServiceAccount", "Ingress"].map((kind, i) => ({
      value: { apiVersion: "x/v1", kind, metadata: { name: `n${i}` } },
      file: "a.yaml",
      line: i + 1,
    })),
  );
  t.deepEqual(reading.problems, []);
  t.deepEqual([...reading.ignored].slice(0, 2), [
    ["x/v1 Deployment", "a.yaml line 1"],
    ["x/v1 Role", "a.yaml line 3"],
  ]);
  t.is(reading.ignored.size, 6);
  const slip = one({ apiVersion: "networking.k8s.io/v1", kind: "NetworkPolcy", metadata: { name: "p" } });
  t.like(slip.problems[0], { severity: "error", remedy: "did you mean NetworkPolicy?" });
  const knative = one({ apiVersion: "serving.knative.dev/v1", kind: "Service", metadata: { name: "s" } });
  t.deepEqual([...knative.ignored.keys()], ["serving.knative.dev/v1 Service"]);
});

test("a network policy of a kind that nobody enforces is a problem", (t) => {
  for (const [apiVersion, kind] of [
    ["policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy"],
    ["policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"],
    ["projectcalico.org/v3", "NetworkPolicy"],
  ]) {
    const reading = one({ apiVersion, kind, metadata: { name: "p" } });
    t.like(reading.problems[0], { code: "MANIFEST_KIND", severity: "warning" }, kind);
    t.regex(reading.problems[0]?.message ?? "", /not enforced/);
    t.is(reading.rows.policies.size, 0);
  }
});

test("what is no object, has no kind, no name, a bad name or another version is told with its place", (t) => {
  const told = (value: unknown) => {
    const { problems, rows } = readObjects([{ value, file: "a.yaml", line: 7 }]);
    t.true(Object.values(rows).every((table: ReadonlyMap<string, unknown>) => table.size === 0));
    t.true(
      problems.length > 0 && problems.every(({ object, message }) => `${object} ${message}`.includes("a.yaml line 7")),
    );
    return problems.map(({ code, object, field }) => `${code} ${object} ${field}`.trim());
  };
  t.deepEqual(told("text"), ["MANIFEST_TYPE a.yaml line 7"]);
  t.deepEqual(told([]), ["MANIFEST_TYPE a.yaml line 7"]);
  t.deepEqual(told({ kind: "Pod" }), ["MANIFEST_KIND a.yaml line 7"]);
  t.deepEqual(told({ apiVersion: "v1", kind: "Pod" }), ["MANIFEST_MISSING Pod in a.yaml line 7 metadata.name"]);
  t.deepEqual(told({ apiVersion: "v1", kind: "Pod", metadata: { name: "A b" } }), [
    "MANIFEST_NAME Pod in a.yaml line 7 metadata.name",
  ]);
  t.deepEqual(told({ apiVersion: "cilium.io/v1", kind: "CiliumNetworkPolicy", metadata: { name: "p" } }), [
    "MANIFEST_VERSION CiliumNetworkPolicy default/p",
  ]);
  t.deepEqual(told({ apiVersion: "v1", kind: "Pod", metadata: { name: "p", labels: { "a/b/c": "x", d: "e;f" } } }), [
    "MANIFEST_LABEL Pod default/p metadata.labels.a/b/c",
    "MANIFEST_LABEL Pod default/p metadata.labels.d",
  ]);
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

test("a CiliumCIDRGroup with a mistake is refused whole, and every mistake is told", (t) => {
  const group = (spec: unknown, apiVersion = "cilium.io/v2") =>
    one({ apiVersion, kind: "CiliumCIDRGroup", metadata: { name: "g" }, spec });
  const broken = group({ externalCIDRs: ["203.0.113.0/33", "203.0.113.7", 7, null, "10.0.0.0/8"] });
  t.is(broken.rows.cidrGroups.size, 0);
  t.deepEqual(
    brief(broken),
    [0, 1, 2, 3].map((at) => `error CiliumCIDRGroup g spec.externalCIDRs[${at}]`),
  );
  t.deepEqual(brief(group({})), ["error CiliumCIDRGroup g spec.externalCIDRs"]);
  t.deepEqual(brief(group({ externalCIDRs: [] })), []);
  t.deepEqual(brief(group({ externalCIDRs: [], externalCidr: [] })), ["warning CiliumCIDRGroup g spec.externalCidr"]);
  t.deepEqual(brief(group({ externalCIDRs: [] }, "cilium.io/v1")), ["error CiliumCIDRGroup g"]);
});
