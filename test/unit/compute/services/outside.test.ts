/** Who serves clients outside that come to this node, by which addresses of a service. */
import test from "ava";
import { computeFrontends, createFrontends } from "../../../../src/compute/services/index.ts";
import { parsePrefix } from "../../../../src/model/ip.ts";
import { makeSelector, requirement } from "../../../../src/model/labels.ts";
import type { EndpointSliceRow, NodeRow, ServiceRow } from "../../../../src/model/tables.ts";
import { address, endpoint, node, pod, service, servicePort, slice, tables } from "./support.ts";

type Endpoint = EndpointSliceRow["endpoints"][number];

const options = { nodeName: "node-1" };
const nodes = [node("node-1", ["172.18.0.1"]), node("node-2", ["172.18.0.2"])];
const public_: Partial<ServiceRow> = {
  type: "LoadBalancer",
  ports: [servicePort({ nodePort: 30080 })],
  externalIps: [address("192.0.2.1")],
  loadBalancerIps: [address("198.51.100.1")],
};
const onlyLocal: Partial<ServiceRow> = { ...public_, externalTrafficPolicy: "Local" };
const here = { node: "node-1" };
const there = { node: "node-2" };

/** "address => pods", per frontend that is translated for them. */
function served(endpoints: readonly Endpoint[], fields: Partial<ServiceRow>): readonly string[] {
  const rows = tables({ services: [service("web", fields)], nodes, endpointSlices: [slice("s", endpoints)] });
  return computeFrontends(rows, options).frontends.flatMap(({ address: vip, port, outside }) =>
    outside === undefined ? [] : [`${vip.text}:${port} => ${outside.map((each) => each.address.text).join(" ")}`],
  );
}

const everyPlace = (backends: string) => [
  `172.18.0.1:30080 => ${backends}`,
  `192.0.2.1:80 => ${backends}`,
  `198.51.100.1:80 => ${backends}`,
];

test("outside addresses and node ports lead to all backends, or with Local to those of this node; cluster addresses to nobody", (t) => {
  const endpoints = [endpoint("10.1.0.1", here), endpoint("10.2.0.1", there), endpoint("10.1.0.2", here)];
  t.deepEqual(served(endpoints, public_), everyPlace("10.1.0.1 10.1.0.2 10.2.0.1"));
  const inside = { ...public_, internalTrafficPolicy: "Local" as const };
  t.deepEqual(served(endpoints, inside), everyPlace("10.1.0.1 10.1.0.2 10.2.0.1"));
  t.deepEqual(served(endpoints, onlyLocal), everyPlace("10.1.0.1 10.1.0.2"));
});

test("without a backend it is still translated, for connections that go on; Local has nobody where its node has none", (t) => {
  t.deepEqual(served([], public_), everyPlace(""));
  t.deepEqual(served([endpoint("10.2.0.1", there)], public_), everyPlace("10.2.0.1"));
  t.deepEqual(served([endpoint("10.2.0.1", there)], onlyLocal), everyPlace(""));
});

test("pods that end serve on where none is ready", (t) => {
  const ending = { ready: false, terminating: true };
  const last = endpoint("10.1.0.1", { ...here, ...ending });
  t.is(served([last], public_)[0], "172.18.0.1:30080 => 10.1.0.1");
  t.is(served([last, endpoint("10.2.0.1", there)], public_)[0], "172.18.0.1:30080 => 10.2.0.1");
  t.is(served([last, endpoint("10.2.0.1", there)], onlyLocal)[0], "172.18.0.1:30080 => 10.1.0.1");
  t.is(served([last, endpoint("10.1.0.2", here)], onlyLocal)[0], "172.18.0.1:30080 => 10.1.0.2");
});

test("hints of zones are for clients inside: every node has the same backends for outside", (t) => {
  const hinted = (zone: string) => ({ hints: { zones: [zone], nodes: [] } });
  const endpoints = [
    endpoint("10.1.0.1", { ...here, ...hinted("x") }),
    endpoint("10.2.0.1", { ...there, ...hinted("y") }),
  ];
  t.deepEqual(served(endpoints, public_), everyPlace("10.1.0.1 10.2.0.1"));
});

test("a server of the node itself is a backend like others", (t) => {
  t.deepEqual(served([endpoint("172.18.0.1", here)], public_), everyPlace("172.18.0.1"));
});

test("who answers for other nodes' backends: by the setting, or what the service says", (t) => {
  const direct = (loadBalancerMode: "snat" | "dsr" | "hybrid", forwarding?: "snat" | "dsr") => {
    const ports = (["TCP", "UDP"] as const).map((protocol) =>
      servicePort({ name: protocol, protocol, nodePort: 30080 }),
    );
    const web = service("web", { ...public_, ports, ...(forwarding && { forwarding }) });
    const rows = tables({ services: [web], nodes, pods: [pod("a", ["10.1.0.1"])] });
    const { frontends } = computeFrontends(rows, {
      ...options,
      loadBalancerMode,
    });
    return frontends.flatMap((each) => (each.directReturn ? [`${each.address.text} ${each.protocol}`] : []));
  };
  const tcp = ["172.18.0.1 6", "192.0.2.1 6", "198.51.100.1 6"];
  t.deepEqual(direct("snat"), []);
  t.deepEqual(direct("hybrid"), tcp);
  t.is(direct("dsr").length, 6);
  t.is(direct("snat", "dsr").length, 6);
  t.deepEqual(direct("dsr", "snat"), []);
});

test("cluster addresses are for clients outside where a setting says so, whatever the policy of outside addresses", (t) => {
  const rows = tables({
    services: [service("web", onlyLocal)],
    nodes,
    endpointSlices: [slice("s", [endpoint("10.1.0.1", here), endpoint("10.2.0.1", there)])],
  });
  const { frontends } = computeFrontends(rows, { ...options, externalClusterIps: true });
  t.deepEqual(
    frontends.map((each) => `${each.address.text} ${each.outside?.map((one) => one.address.text).join(" ")}`),
    ["10.96.0.1 10.1.0.1 10.2.0.1", "172.18.0.1 10.1.0.1", "192.0.2.1 10.1.0.1", "198.51.100.1 10.1.0.1"],
  );
});

test("by selected pods where there are no slices", (t) => {
  const pods = [pod("a", ["10.1.0.1"]), pod("b", ["10.2.0.1"], { node: "node-2" })];
  const rows = tables({ services: [service("web", public_)], nodes, pods });
  const { frontends } = computeFrontends(rows, options);
  t.deepEqual(
    frontends.map(({ outside }) => outside?.map((each) => each.address.text)),
    [undefined, ...Array.from({ length: 3 }, () => ["10.1.0.1", "10.2.0.1"])],
  );
});

test("a load balancer that asks is told how many pods are here, where the service is Local", (t) => {
  const endpoints = [endpoint("10.1.0.1", here), endpoint("10.2.0.1", there), endpoint("10.1.0.2", here)];
  const told = (fields: Partial<ServiceRow>, use = endpoints) => {
    const services = [service("web", { healthCheckNodePort: 32_000, ...fields })];
    return computeFrontends(tables({ services, nodes, endpointSlices: [slice("s", use)] }), options).healthChecks;
  };
  const check = { port: 32_000, namespace: "shop", name: "web" };
  t.deepEqual(told(onlyLocal), [{ ...check, localEndpoints: 2 }]);
  t.deepEqual(told(onlyLocal, [endpoint("10.2.0.1", there)]), [{ ...check, localEndpoints: 0 }]);
  t.deepEqual(told(public_), [], "Cluster");
  t.deepEqual(told({ ...onlyLocal, type: "NodePort" }), []);
  t.deepEqual(told({ ...onlyLocal, healthCheckNodePort: null }), []);
});

test("of two services that name one port for it the first by name has it", (t) => {
  const both = ["b", "a"].map((name) => service(name, { ...onlyLocal, healthCheckNodePort: 32_000 }));
  const { healthChecks, problems } = computeFrontends(tables({ services: both, nodes }), options);
  t.deepEqual(
    healthChecks.map(({ name }) => name),
    ["a"],
  );
  t.true(
    problems.some(({ object, message }) => {
      return object === "Service shop/b" && message === "port 32000 answers for Service shop/a already";
    }),
  );
});

const ranges = (policy: "allow" | "deny", ...texts: readonly string[]): Partial<ServiceRow> => ({
  ...public_,
  clusterIps: [address("10.96.0.1"), address("fd00:96::1")],
  loadBalancerIps: [address("198.51.100.1"), address("2001:db8:1::1")],
  sourceRanges: { policy, prefixes: texts.flatMap((text) => parsePrefix(text) ?? []) },
});

/** "address: policy prefixes" of what is not for all, and what is told. */
function restricted(fields: Partial<ServiceRow>): {
  readonly sources: readonly string[];
  readonly told: readonly string[];
} {
  const rows = tables({
    services: [service("web", fields)],
    nodes,
    endpointSlices: [slice("s", [endpoint("10.1.0.1", here)])],
  });
  const { frontends, problems } = computeFrontends(rows, options);
  return {
    sources: frontends.flatMap(({ address: { text }, sources }) =>
      sources === undefined
        ? []
        : [`${text}: ${sources.policy} ${sources.prefixes.map((each) => each.text).join(" ")}`],
    ),
    told: problems.map(({ code, severity, message }) => `${severity} ${code} ${message}`),
  };
}

test("source ranges are of the load balancer's addresses alone, each family for itself, sorted and each once", (t) => {
  t.deepEqual(restricted(ranges("allow", "2001:db8::/32", "192.0.2.0/24", "10.0.0.0/8", "192.0.2.9/24")), {
    sources: ["198.51.100.1: allow 10.0.0.0/8 192.0.2.0/24", "2001:db8:1::1: allow 2001:db8::/32"],
    told: [],
  });
  t.deepEqual(restricted(ranges("deny", "192.0.2.0/24")), {
    sources: ["198.51.100.1: deny 192.0.2.0/24"],
    told: [],
  });
  t.deepEqual(restricted({ ...ranges("allow", "192.0.2.0/24"), type: "NodePort" }).sources, []);
});

test("an address whose family has no range is closed outside, and it is told; so is a range without an address", (t) => {
  t.deepEqual(restricted(ranges("allow", "192.0.2.0/24")), {
    sources: ["198.51.100.1: allow 192.0.2.0/24", "2001:db8:1::1: allow "],
    told: ["warning SERVICE_SOURCE_RANGES nobody outside may use 2001:db8:1::1: all ranges are of IPv4"],
  });
  t.deepEqual(restricted(ranges("allow")), {
    sources: ["198.51.100.1: allow ", "2001:db8:1::1: allow "],
    told: ["warning SERVICE_SOURCE_RANGES nobody outside may use 198.51.100.1, 2001:db8:1::1: no range can be read"],
  });
  const single = { ...ranges("allow", "192.0.2.0/24", "fd00::/8"), loadBalancerIps: [address("198.51.100.1")] };
  t.deepEqual(restricted(single).told, [
    "warning SERVICE_SOURCE_RANGES the service has no IPv6 address for clients of fd00::/8",
  ]);
});

test("nodes that are not among those of a service do not serve it, and say so of its addresses", (t) => {
  const fields = { ...public_, externalTrafficPolicy: "Local", healthCheckNodePort: 32_123 } as const;
  const ofNode = (labels: NodeRow["labels"], nodesOf?: ServiceRow["nodes"]) =>
    tables({
      services: [service("web", { ...fields, ...(nodesOf && { nodes: nodesOf }) })],
      nodes: [node("node-1", ["172.18.0.1"], labels)],
      endpointSlices: [slice("s", [endpoint("10.1.0.1", here)])],
    });
  const front = makeSelector([requirement("tier", "In", ["front"])]);
  const compute = createFrontends();
  const all = compute(ofNode({ tier: "front" }, front), options);
  t.true(all.frontends.length > 0);
  t.is(all.elsewhere, undefined);
  t.is(all.healthChecks.length, 1);
  t.deepEqual(all, computeFrontends(ofNode({}), options), "without a word on nodes it is for all");
  const none = compute(ofNode({ tier: "back" }, front), options);
  t.deepEqual([none.frontends, none.healthChecks], [[], []]);
  const addresses = [...new Set(all.frontends.flatMap((each) => (each.nodePort ? [] : [each.address.text])))];
  t.deepEqual(none.elsewhere?.map(({ text }) => text).sort(), addresses.sort());
  t.deepEqual(compute(ofNode({ tier: "front" }, front), options), all, "the node has the label again");
  const direct = (nodesOf?: ServiceRow["nodes"]) =>
    computeFrontends(ofNode({ tier: "front" }, nodesOf), { ...options, loadBalancerMode: "dsr" }).frontends.some(
      ({ directReturn }) => directReturn,
    );
  t.deepEqual(
    [direct(), direct(front)],
    [true, false],
    "other nodes answer nobody by addresses that they do not serve",
  );
});

test("of the kinds of address that its type brings a service has those that it is exposed by", (t) => {
  const addresses = (exposed: ServiceRow["exposed"]) => {
    const fields = { ...public_, ...(exposed !== undefined && { exposed }) };
    const { frontends } = computeFrontends(tables({ services: [service("web", fields)], nodes }), options);
    return frontends.map(({ address: { text }, port }) => `${text}:${port}`);
  };
  t.deepEqual(addresses(undefined), ["10.96.0.1:80", "172.18.0.1:30080", "192.0.2.1:80", "198.51.100.1:80"]);
  t.deepEqual(addresses(["LoadBalancer"]), ["192.0.2.1:80", "198.51.100.1:80"], "external addresses are of no type");
  t.deepEqual(addresses(["ClusterIP", "NodePort"]), ["10.96.0.1:80", "172.18.0.1:30080", "192.0.2.1:80"]);
  t.deepEqual(addresses([]), ["192.0.2.1:80"]);
});
