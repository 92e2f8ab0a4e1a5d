/** Nobody takes the traffic of others by naming their address in a Service (CVE-2020-8554), nor a node's port that is not for services. */
import test from "ava";
import { computeFrontends, createFrontends, type ServiceRules } from "../../../../src/compute/services/index.ts";
import { parsePrefix } from "../../../../src/model/ip.ts";
import type { ServiceRow } from "../../../../src/model/tables.ts";
import { address, endpoint, node, service, servicePort, slice, tables } from "./support.ts";

const prefixes = (...texts: readonly string[]) => texts.flatMap((text) => parsePrefix(text) ?? []);
const rules: ServiceRules = { externalIps: prefixes("0.0.0.0/0", "::/0"), nodePorts: { first: 30_000, last: 32_767 } };
const nodes = [
  { ...node("node-1", ["172.18.0.1"]), podCidrs: prefixes("10.1.0.0/24", "fd00:1::/64") },
  { ...node("node-2", ["172.18.0.2"]), podCidrs: prefixes("10.1.1.0/24") },
];
const dns = service("dns", { clusterIps: [address("10.96.0.10"), address("fd00:96::10")] });

/** Addresses from outside at which the service is served, and what is told of it. */
function outcome(fields: Partial<ServiceRow>, own: ServiceRules = rules): { served: string[]; told: string[] } {
  const rows = tables({ services: [service("web", fields), dns], nodes });
  const { frontends, problems } = computeFrontends(rows, { nodeName: "node-1", rules: own });
  return {
    served: frontends.flatMap(({ address: { text }, external, port }) => (external ? [`${text}:${port}`] : [])),
    told: problems.map(({ severity, code, field, message }) => `${severity} ${code} ${field}: ${message}`),
  };
}

const external = (...texts: readonly string[]): Partial<ServiceRow> => ({
  externalIps: texts.map((text) => address(text)),
});

test("externalIPs that are a node's, a pod's or a service's are refused, whatever the port; others are served", (t) => {
  const { served, told } = outcome({
    ...external("192.0.2.1", "172.18.0.2", "10.1.1.7", "fd00:1::7", "10.96.0.10", "fd00:96::10", "10.96.0.1"),
    ports: [servicePort({ port: 8053 })],
  });
  t.deepEqual(served, ["192.0.2.1:8053"]);
  const refused = (what: string) =>
    `error SERVICE_ADDRESS_REFUSED spec.externalIPs: ${what}: the service is not served there`;
  t.deepEqual(told, [
    refused("10.1.1.7 is of the pods of Node node-2"),
    refused("10.96.0.1 is the cluster address of Service shop/web"),
    refused("10.96.0.10 is the cluster address of Service shop/dns"),
    refused("172.18.0.2 is an address of Node node-2"),
    refused("fd00:1::7 is of the pods of Node node-1"),
    refused("fd00:96::10 is the cluster address of Service shop/dns"),
  ]);
});

test("addresses that are no single host's are refused", (t) => {
  for (const text of [
    "0.0.0.0",
    "127.0.0.1",
    "169.254.169.254",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "ff02::1",
  ])
    t.deepEqual(outcome(external(text)).served, [], text);
});

test("the setting says of which addresses they may be", (t) => {
  const some = { ...rules, externalIps: prefixes("192.0.2.0/24") };
  const { served, told } = outcome(external("192.0.2.1", "198.51.100.1", "2001:db8::1"), some);
  t.deepEqual(served, ["192.0.2.1:80"]);
  t.is(told.length, 2);
  t.deepEqual(outcome(external("192.0.2.1"), { ...rules, externalIps: [] }).served, []);
});

test("a load balancer's address may be a node's, and of no setting, but not a pod's or a service's", (t) => {
  const texts = ["192.0.2.1", "172.18.0.2", "10.1.1.7", "10.96.0.10"];
  const fields: Partial<ServiceRow> = { type: "LoadBalancer", loadBalancerIps: texts.map((text) => address(text)) };
  const { served, told } = outcome(fields, { ...rules, externalIps: [] });
  t.deepEqual(served, ["172.18.0.2:80", "192.0.2.1:80"]);
  t.deepEqual(
    told.map((text) => text.split(":")[0]),
    [
      "error SERVICE_ADDRESS_REFUSED status.loadBalancer",
      "error SERVICE_ADDRESS_REFUSED status.loadBalancer",
      "warning SERVICE_NODE_ADDRESS status.loadBalancer",
    ],
  );
});

test("a refusal comes and goes with who has the address", (t) => {
  const compute = createFrontends();
  const web = service("web", external("10.96.0.10", "10.1.1.7"));
  const served = (services: readonly ServiceRow[], of: typeof nodes) => {
    const { frontends } = compute(tables({ services, nodes: of }), { nodeName: "node-1", rules });
    return frontends.flatMap(({ address: { text }, external }) => (external ? [text] : []));
  };
  t.deepEqual(served([web], []), ["10.1.1.7", "10.96.0.10"]);
  t.deepEqual(served([web], nodes), ["10.96.0.10"]);
  t.deepEqual(served([web, dns], nodes), []);
  t.deepEqual(served([web, { ...dns, clusterIps: [address("10.96.0.11")] }], nodes), ["10.96.0.10"]);
  t.deepEqual(served([web], nodes.slice(0, 1)), ["10.1.1.7", "10.96.0.10"]);
});

test("a node port outside of the range is not served, and one that is listed twice once", (t) => {
  const ports = [
    servicePort({ nodePort: 22 }),
    servicePort({ name: "b", port: 81, nodePort: 30_080 }),
    servicePort({ name: "c", port: 82, nodePort: 30_080 }),
    servicePort({ name: "d", port: 82, protocol: "UDP", nodePort: 30_080 }),
  ];
  const { served, told } = outcome({ type: "NodePort", ports });
  t.deepEqual(served, ["172.18.0.1:30080", "172.18.0.1:30080"]);
  t.deepEqual(told, [
    "error SERVICE_NODE_PORT spec.ports[0].nodePort: 22 is not among the ports of nodes that are for services (30000-32767): it is not served there",
    "error SERVICE_DUPLICATE_PORT spec.ports[2].nodePort: node port 30080/TCP is listed twice",
  ]);
});

test("externalTrafficPolicy Local of backends that are on no node is told; of none at all it is not", (t) => {
  const told = (endpoints: Parameters<typeof slice>[1], policy: ServiceRow["externalTrafficPolicy"] = "Local") => {
    const web = service("web", { ...external("192.0.2.1"), externalTrafficPolicy: policy });
    const rows = tables({ services: [web], nodes, endpointSlices: [slice("s", endpoints)] });
    return computeFrontends(rows, { nodeName: "node-1", rules }).problems.map(({ code }) => code);
  };
  t.deepEqual(told([endpoint("198.51.100.1")]), ["SERVICE_LOCAL_NOWHERE"]);
  t.deepEqual(told([endpoint("198.51.100.1"), endpoint("10.1.1.1", { node: "node-2" })]), []);
  t.deepEqual(told([endpoint("198.51.100.1")], "Cluster"), []);
  t.deepEqual(told([]), [], "it has been scaled down");
});
