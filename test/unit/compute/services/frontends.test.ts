import test from "ava";
import { computeFrontends, createFrontends } from "../../../../src/compute/services/index.ts";
import { address, endpoint, lines, node, pod, service, servicePort, slice, tables } from "./support.ts";

const options = { nodeName: "node-1" };
const dual = { clusterIps: [address("10.96.0.1"), address("fd00:96::1")] };

test("a dual-stack service has a frontend per family, each with the pods' addresses of that family", (t) => {
  const result = computeFrontends(
    tables({
      services: [service("web", dual)],
      pods: [pod("b", ["10.1.0.2", "fd00:1::2"]), pod("a", ["10.1.0.1", "fd00:1::1"]), pod("v4", ["10.1.0.9"])],
    }),
    options,
  );
  t.deepEqual(lines(result), [
    "10.96.0.1 80/6 -> 10.1.0.1:8080 10.1.0.2:8080 10.1.0.9:8080",
    "fd00:96::1 80/6 -> fd00:1::1:8080 fd00:1::2:8080",
  ]);
  t.like(result.frontends[0], { external: false, affinitySeconds: null, service: "shop/web:80" });
  t.deepEqual(result.problems, []);
});

test("slices decide where a service has any, even an empty one; the pods do not count then", (t) => {
  const pods = [pod("a", ["10.1.0.1"])];
  const services = [service("web")];
  t.deepEqual(lines(computeFrontends(tables({ services, pods, endpointSlices: [slice("s", [])] }), options)), [
    "10.96.0.1 80/6 ->",
  ]);
  const slices = [slice("s1", [endpoint("10.1.0.7")]), slice("s2", [endpoint("10.1.0.6"), endpoint("10.1.0.7")])];
  t.deepEqual(lines(computeFrontends(tables({ services, pods, endpointSlices: slices }), options)), [
    "10.96.0.1 80/6 -> 10.1.0.6:8080 10.1.0.7:8080",
  ]);
});

test("ports of slices are found by name and protocol, each slice with its own number", (t) => {
  const ports = [
    servicePort({ name: "http", targetPort: "web" }),
    servicePort({ name: "dns", port: 53, protocol: "UDP" }),
    servicePort({ name: "signal", port: 99, protocol: "SCTP" }),
  ];
  const endpointSlices = [
    slice("s1", [endpoint("10.1.0.1")], {
      ports: [
        { name: "http", protocol: "TCP", port: 8080 },
        { name: "dns", protocol: "UDP", port: 5353 },
        { name: "signal", protocol: "SCTP", port: 9999 },
      ],
    }),
    slice("s2", [endpoint("10.1.0.2")], { ports: [{ name: "http", protocol: "TCP", port: 9090 }] }),
    slice("s3", [endpoint("10.1.0.3")], { ports: [{ name: "http", protocol: "UDP", port: 1 }] }),
  ];
  t.deepEqual(lines(computeFrontends(tables({ services: [service("web", { ports })], endpointSlices }), options)), [
    "10.96.0.1 53/17 -> 10.1.0.1:5353",
    "10.96.0.1 80/6 -> 10.1.0.1:8080 10.1.0.2:9090",
    "10.96.0.1 99/132 -> 10.1.0.1:9999",
  ]);
});

test("endpoints that end are used only where nobody is ready", (t) => {
  const ending = endpoint("10.1.0.1", { ready: false, terminating: true });
  const gone = endpoint("10.1.0.2", { ready: false, serving: false, terminating: true });
  const failing = endpoint("10.1.0.3", { ready: false, serving: false });
  const services = [service("web")];
  const only = tables({ services, endpointSlices: [slice("s", [ending, gone, failing])] });
  t.deepEqual(lines(computeFrontends(only, options)), ["10.96.0.1 80/6 -> 10.1.0.1:8080"]);
  const both = tables({ services, endpointSlices: [slice("s", [ending]), slice("t", [endpoint("10.1.0.4")])] });
  t.deepEqual(lines(computeFrontends(both, options)), ["10.96.0.1 80/6 -> 10.1.0.4:8080"]);
  const others = ({ frontends }: ReturnType<typeof computeFrontends>) =>
    frontends[0]?.others?.map(({ address }) => address.text);
  t.deepEqual(others(computeFrontends(both, options)), ["10.1.0.1"], "what was begun may go on with those that serve");
  t.is(others(computeFrontends(only, options)), undefined);
});

test("of selected pods those count that run and are ready; a service may publish those that are not", (t) => {
  const pods = [
    pod("ready", ["10.1.0.1"]),
    pod("host", ["172.18.0.2"], { hostNetwork: true }),
    pod("unready", ["10.1.0.2"], { ready: false }),
    pod("pending", ["10.1.0.3"], { phase: "Pending" }),
    pod("done", ["10.1.0.4"], { phase: "Succeeded", ready: false }),
    pod("elsewhere", ["10.1.0.5"], { namespace: "other" }),
    pod("unlike", ["10.1.0.6"], { labels: { app: "api" } }),
    pod("waiting", []),
  ];
  t.deepEqual(lines(computeFrontends(tables({ services: [service("web")], pods }), options)), [
    "10.96.0.1 80/6 -> 10.1.0.1:8080 172.18.0.2:8080",
  ]);
  const services = [service("web", { publishNotReady: true })];
  t.deepEqual(lines(computeFrontends(tables({ services, pods }), options)), [
    "10.96.0.1 80/6 -> 10.1.0.1:8080 10.1.0.2:8080 10.1.0.3:8080 172.18.0.2:8080",
  ]);
});

test("a named target port is each pod's own; that no pod has it is a warning", (t) => {
  const named = (port: number) => ({ ports: [{ name: "http", port, protocol: "TCP" as const }] });
  const services = [service("web", { ports: [servicePort({ targetPort: "http" })] })];
  const pods = [pod("a", ["10.1.0.1"], named(80)), pod("b", ["10.1.0.2"], named(81)), pod("c", ["10.1.0.3"])];
  t.deepEqual(lines(computeFrontends(tables({ services, pods }), options)), [
    "10.96.0.1 80/6 -> 10.1.0.1:80 10.1.0.2:81",
  ]);
  const { problems, frontends } = computeFrontends(tables({ services, pods: [pod("c", ["10.1.0.3"])] }), options);
  t.deepEqual(frontends[0]?.backends, []);
  t.like(problems[0], {
    code: "SERVICE_TARGET_PORT",
    severity: "warning",
    object: "Service shop/web",
    field: "spec.ports[0].targetPort",
  });
  t.deepEqual(computeFrontends(tables({ services }), options).problems, [], "no pods yet is no mistake");
});

test("external addresses, those of a load balancer and node ports on this node's addresses are external frontends", (t) => {
  const web = service("web", {
    ...dual,
    type: "LoadBalancer",
    externalIps: [address("192.0.2.1")],
    loadBalancerIps: [address("192.0.2.2")],
    ports: [servicePort({ nodePort: 30080 })],
    affinitySeconds: 10800,
  });
  const nodes = [node("node-1", ["172.18.0.2", "fd00:18::2"]), node("node-2", ["172.18.0.3"])];
  const result = computeFrontends(tables({ services: [web], nodes }), options);
  t.deepEqual(lines(result), [
    "10.96.0.1 80/6 ->",
    "172.18.0.2 30080/6 ->",
    "192.0.2.1 80/6 ->",
    "192.0.2.2 80/6 ->",
    "fd00:18::2 30080/6 ->",
    "fd00:96::1 80/6 ->",
  ]);
  t.deepEqual(
    result.frontends.map(({ external }) => external),
    [false, true, true, true, true, false],
  );
  t.true(result.frontends.every(({ affinitySeconds }) => affinitySeconds === 10800));
  const single = { ...web, clusterIps: [address("10.96.0.1")] };
  t.false(lines(computeFrontends(tables({ services: [single], nodes }), options)).some((l) => l.includes("fd00")));
});

test("headless services and names of elsewhere have no frontend, also not on their external addresses", (t) => {
  const services = [
    service("headless", { clusterIps: [], externalIps: [address("192.0.2.1")] }),
    service("name", { type: "ExternalName" }),
  ];
  t.deepEqual(computeFrontends(tables({ services }), options), { frontends: [], healthChecks: [], problems: [] });
});

test("of two services that want one address, port and protocol the first by name has it; the other is told of both", (t) => {
  const services = [service("web", { clusterIps: [address("10.96.0.1")] }), service("api")];
  const pods = [pod("a", ["10.1.0.1"], { labels: { app: "api" } })];
  for (const order of [services, [...services].reverse()]) {
    const result = computeFrontends(tables({ services: order, pods }), options);
    t.deepEqual(lines(result), ["10.96.0.1 80/6 -> 10.1.0.1:8080"]);
    t.deepEqual(result.problems, [
      {
        code: "SERVICE_ADDRESS_WANTED",
        severity: "warning",
        object: "Service shop/api",
        field: "spec.clusterIPs",
        message: "10.96.0.1 port 80/TCP is wanted by Service shop/web too, which does not get it",
        remedy: "give one of Service shop/web and Service shop/api another address or port",
      },
      {
        code: "SERVICE_ADDRESS_TAKEN",
        severity: "error",
        object: "Service shop/web",
        field: "spec.clusterIPs",
        message: "10.96.0.1 port 80/TCP is that of Service shop/api already, which keeps it",
        remedy: "give one of Service shop/web and Service shop/api another address or port",
      },
    ]);
  }
  const udp = service("web", { ports: [servicePort({ protocol: "UDP" })] });
  t.deepEqual(computeFrontends(tables({ services: [udp, service("api")] }), options).problems, []);
});

test("nobody takes over a cluster address by naming it as an external one", (t) => {
  const thief = service("aaa", { clusterIps: [address("10.96.0.9")], externalIps: [address("10.96.0.1")] });
  const result = computeFrontends(tables({ services: [thief, service("web")] }), options);
  t.is(result.frontends.find((f) => f.address.text === "10.96.0.1")?.service, "shop/web:80");
  t.like(result.problems[0], { object: "Service shop/aaa", field: "spec.externalIPs" });
});

test("a node port that two services want is told once, however many addresses the node has", (t) => {
  const wants = (name: string, ip: string) =>
    service(name, {
      type: "NodePort",
      clusterIps: [address(ip), address(`fd00:96::${ip.at(-1)}`)],
      ports: [servicePort({ nodePort: 30080 })],
    });
  const nodes = [node("node-1", ["172.18.0.2", "fd00:18::2"])];
  const services = [wants("web", "10.96.0.1"), wants("api", "10.96.0.2")];
  const { problems } = computeFrontends(tables({ services, nodes }), options);
  t.deepEqual(
    problems.map(({ object, message }) => `${object}: ${message}`),
    [
      "Service shop/api: node port 30080/TCP is wanted by Service shop/web too, which does not get it",
      "Service shop/web: node port 30080/TCP is that of Service shop/api already, which keeps it",
    ],
  );
});

test("an address of a node: not for clusterIPs and externalIPs; a load balancer may have it, with a warning", (t) => {
  const nodes = [node("node-2", ["172.18.0.3"])];
  const own = service("web", { clusterIps: [address("172.18.0.3"), address("fd00:96::1")] });
  const refused = computeFrontends(tables({ services: [own], nodes }), options);
  t.deepEqual(lines(refused), ["fd00:96::1 80/6 ->"]);
  t.like(refused.problems[0], { code: "SERVICE_NODE_ADDRESS", severity: "error", object: "Service shop/web" });
  t.regex(refused.problems[0]?.message ?? "", /172\.18\.0\.3.*node-2/);
  const balanced = service("web", { type: "LoadBalancer", loadBalancerIps: [address("172.18.0.3")] });
  const served = computeFrontends(tables({ services: [balanced], nodes }), options);
  t.deepEqual(lines(served), ["10.96.0.1 80/6 ->", "172.18.0.3 80/6 ->"]);
  t.like(served.problems[0], { code: "SERVICE_NODE_ADDRESS", severity: "warning", field: "status.loadBalancer" });
});

test("what a service lists twice counts once and is told", (t) => {
  const web = service("web", {
    externalIps: [address("192.0.2.1"), address("192.0.2.1")],
    ports: [servicePort(), servicePort({ name: "again", targetPort: 9090 })],
  });
  const { frontends, problems } = computeFrontends(tables({ services: [web] }), options);
  t.is(frontends.length, 2);
  t.deepEqual(
    problems.map(({ code, field }) => `${code} ${field}`),
    ["SERVICE_DUPLICATE_ADDRESS spec.externalIPs", "SERVICE_DUPLICATE_PORT spec.ports[1]"],
  );
});

test("a change of one slice works out one service again; what did not change stays the same object", (t) => {
  const count = 10_000;
  const ip = (high: number, i: number) => `10.${high}.${i >> 8}.${i & 255}`;
  const services = Array.from({ length: count }, (_, i) =>
    service(`s${i}`, { clusterIps: [address(ip(96, i))], selector: null }),
  );
  const slices = services.map(({ name }, i) => slice(name, [endpoint(ip(1, i))], { service: name }));
  const compute = createFrontends();
  const before = tables({ services, endpointSlices: slices });
  const startedWhole = performance.now();
  const first = compute(before, options);
  const whole = performance.now() - startedWhole;
  t.is(compute(before, options), first);

  const changed = slice("s77", [endpoint("10.2.0.1")], { service: "s77" });
  const endpointSlices = new Map(before.endpointSlices).set("shop/s77", changed);
  const startedChange = performance.now();
  const second = compute({ ...before, endpointSlices }, options);
  const change = performance.now() - startedChange;
  const differing = second.frontends.filter((frontend, i) => frontend !== first.frontends[i]);
  t.deepEqual(
    differing.map(({ service, backends }) => `${service} ${backends[0]?.address.text}`),
    ["shop/s77:80 10.2.0.1"],
  );
  // Another process may have the processor for longer than all of it takes: not in every try.
  const changes = [change];
  for (let again = 0; again < 20 && Math.min(...changes) >= whole; again++) {
    const other = slice("s77", [endpoint(`10.2.1.${again}`)], { service: "s77" });
    const started = performance.now();
    compute({ ...before, endpointSlices: new Map(endpointSlices).set("shop/s77", other) }, options);
    changes.push(performance.now() - started);
  }
  const least = Math.min(...changes);
  t.log(`10,000 services: ${whole.toFixed(1)} ms from nothing, ${least.toFixed(1)} ms after one slice changed`);
  t.true(least < whole, `${least} < ${whole}`);
});
