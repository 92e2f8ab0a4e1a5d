/** Who serves clients outside that come to this node, by which addresses of a service. */
import test from "ava";
import { computeFrontends } from "../../../../src/compute/services/index.ts";
import type { EndpointSliceRow, ServiceRow } from "../../../../src/model/tables.ts";
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

test("without a backend: Local serves nobody, and says so; of Cluster the packet is left to the node, which answers", (t) => {
  t.deepEqual(served([], public_), []);
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
  const { healthChecks } = computeFrontends(tables({ services: both, nodes }), options);
  t.deepEqual(
    healthChecks.map(({ name }) => name),
    ["a"],
  );
});

test("source ranges, which nobody enforces here, keep the load balancer's addresses closed, and it is told", (t) => {
  const rows = tables({
    services: [service("web", { ...public_, restricted: true })],
    nodes,
    endpointSlices: [slice("s", [endpoint("10.1.0.1", here)])],
  });
  const { frontends, problems } = computeFrontends(rows, options);
  const open = frontends.flatMap(({ address: { text }, outside }) => (outside === undefined ? [] : [text]));
  t.deepEqual(open, ["172.18.0.1", "192.0.2.1"]);
  t.like(problems[0], { code: "SERVICE_SOURCE_RANGES", field: "spec.loadBalancerSourceRanges" });
});
