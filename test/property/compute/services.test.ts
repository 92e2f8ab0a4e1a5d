import test from "ava";
import fc from "fast-check";
import { computeFrontends, createFrontends, type ServiceTables } from "../../../src/compute/services/index.ts";
import { type Prefix, parsePrefix, prefixContains } from "../../../src/model/ip.ts";
import { makeSelector, requirement } from "../../../src/model/labels.ts";
import type { EndpointSliceRow, NodeRow, PodRow, ServiceRow } from "../../../src/model/tables.ts";
import {
  address,
  endpoint,
  node,
  pod,
  service,
  servicePort,
  slice,
  tables,
} from "../../unit/compute/services/support.ts";

function prefix(text: string): Prefix {
  const read = parsePrefix(text);
  if (read === null) throw new Error(text);
  return read;
}

const zoneLabel = "topology.kubernetes.io/zone";
/** Few names and addresses, so that services meet. */
const name = fc.constantFrom("a", "b", "c", "d");
const app = fc.constantFrom("x", "y");
const namespace = fc.constantFrom("n1", "n2");
const vip = fc.constantFrom("10.96.0.1", "10.96.0.2", "10.96.0.3", "fd00:96::1", "172.18.0.2", "10.1.1.9").map(address);
const podIp = fc.constantFrom("10.1.0.1", "10.1.0.2", "fd00:1::1", "172.18.0.2");
const range = fc.constantFrom("10.0.0.0/8", "192.0.2.0/24", "fd00::/8").map(prefix);
const vips = fc.array(vip, { maxLength: 2 });
const port = fc
  .record({
    name: fc.constantFrom("", "http"),
    protocol: fc.constantFrom("TCP", "UDP"),
    port: fc.constantFrom(80, 81),
    targetPort: fc.constantFrom<number | string>(8080, "http"),
    nodePort: fc.constantFrom(null, 30080),
  })
  .map(servicePort);
const serviceRow: fc.Arbitrary<ServiceRow> = fc
  .record({
    namespace,
    name,
    type: fc.constantFrom("ClusterIP", "NodePort", "LoadBalancer"),
    clusterIps: vips,
    externalIps: vips,
    loadBalancerIps: vips,
    ports: fc.array(port, { maxLength: 2 }),
    selector: fc.option(app.map((value) => ({ app: value }))),
    publishNotReady: fc.boolean(),
    internalTrafficPolicy: fc.constantFrom("Cluster", "Local"),
    externalTrafficPolicy: fc.constantFrom("Cluster", "Local"),
    healthCheckNodePort: fc.constantFrom(null, 32_000, 32_001),
    sourceRanges: fc.option(
      fc.record({ policy: fc.constantFrom("allow", "deny"), prefixes: fc.array(range, { maxLength: 3 }) }),
    ),
    nodes: fc.constantFrom(
      makeSelector([]),
      makeSelector([requirement(zoneLabel, "In", ["a"])]),
      makeSelector([requirement(zoneLabel, "DoesNotExist")]),
    ),
    exposed: fc.subarray<"ClusterIP" | "NodePort" | "LoadBalancer">(["ClusterIP", "NodePort", "LoadBalancer"], {
      minLength: 2,
    }),
  })
  .map((fields) => service(fields.name, fields));
const podRow: fc.Arbitrary<PodRow> = fc
  .record({
    namespace,
    name,
    app,
    ips: fc.uniqueArray(podIp, { maxLength: 2 }),
    ready: fc.boolean(),
    named: fc.boolean(),
  })
  .map(({ ips, app, named, ...fields }) =>
    pod(fields.name, ips, {
      ...fields,
      labels: { app },
      ports: named ? [{ name: "http", port: 9090, protocol: "TCP" }] : [],
    }),
  );
const sliceRow: fc.Arbitrary<EndpointSliceRow> = fc
  .record({
    namespace,
    name,
    service: name,
    family: fc.constantFrom(4, 6),
    ips: fc.array(podIp),
    ready: fc.boolean(),
    node: fc.constantFrom("node-1", "node-2"),
    zones: fc.option(fc.subarray(["a", "b"])),
  })
  .map(({ ips, ready, node, zones, ...fields }) =>
    slice(
      fields.name,
      ips.map((ip) => endpoint(ip, { ready, terminating: !ready, node, hints: zones && { zones, nodes: [] } })),
      fields,
    ),
  );
const nodeRow: fc.Arbitrary<NodeRow> = fc
  .record({
    name: fc.constantFrom("node-1", "node-2"),
    ips: fc.uniqueArray(podIp, { maxLength: 2 }),
    zone: fc.constantFrom("a", "b"),
    podCidrs: fc.uniqueArray(fc.constantFrom("10.1.0.0/24", "10.1.1.0/24", "10.1.0.0/16").map(prefix), {
      maxLength: 2,
    }),
  })
  .map(({ name, ips, zone, podCidrs }) => ({ ...node(name, ips, { [zoneLabel]: zone }), podCidrs }));

const world = fc.record({
  services: fc.array(serviceRow, { maxLength: 6 }),
  endpointSlices: fc.array(sliceRow, { maxLength: 4 }),
  pods: fc.array(podRow, { maxLength: 5 }),
  nodes: fc.array(nodeRow, { maxLength: 2 }),
});
const options = {
  nodeName: "node-1",
  rules: { externalIps: ["10.0.0.0/8", "172.18.0.0/16"].map(prefix), nodePorts: { first: 30_000, last: 32_767 } },
};

/** Rows that are not replaced keep their identity, as in the store. */
function merged(before: ServiceTables, after: ServiceTables, keep: number): ServiceTables {
  const mix = <V>(old: ReadonlyMap<string, V>, fresh: ReadonlyMap<string, V>) =>
    new Map([...[...old].filter((_, i) => (i + keep) % 3 !== 0), ...fresh]);
  return {
    services: mix(before.services, after.services),
    endpointSlices: keep % 2 === 0 ? before.endpointSlices : mix(before.endpointSlices, after.endpointSlices),
    pods: keep % 5 === 0 ? before.pods : mix(before.pods, after.pods),
    nodes: keep % 3 === 0 ? before.nodes : after.nodes,
  };
}

test("after any changes the remembering computation says what one from nothing says", (t) => {
  fc.assert(
    fc.property(fc.array(world, { minLength: 1, maxLength: 6 }), fc.nat(29), (worlds, seed) => {
      const compute = createFrontends();
      let now = tables({});
      for (const [i, rows] of worlds.entries()) {
        now = merged(now, tables(rows), seed + i);
        t.deepEqual(compute(now, options), computeFrontends(now, options));
      }
    }),
    { numRuns: 200 },
  );
});

test("the order of the rows does not matter", (t) => {
  fc.assert(
    fc.property(world, (rows) => {
      const there = tables(rows);
      const backwards = Object.fromEntries(
        Object.entries(there).map(([key, map]) => [key, new Map([...(map as ReadonlyMap<string, unknown>)].reverse())]),
      ) as unknown as ServiceTables;
      t.deepEqual(computeFrontends(backwards, options), computeFrontends(there, options));
    }),
    { numRuns: 200 },
  );
});

test("each address, port and protocol is had once, in order, by backends of its family", (t) => {
  fc.assert(
    fc.property(world, (rows) => {
      const { frontends } = computeFrontends(tables(rows), options);
      const keys = frontends.map((one) => `${one.address.text} ${one.port} ${one.protocol}`);
      t.is(new Set(keys).size, keys.length);
      t.true(frontends.every((one) => one.backends.every((backend) => backend.address.family === one.address.family)));
    }),
    { numRuns: 200 },
  );
});

test("nobody gets an address from outside that is a pod's or a service's, or, named by externalIPs, a node's", (t) => {
  fc.assert(
    fc.property(world, (facts) => {
      const given = tables(facts);
      const [services, nodes] = [[...given.services.values()], [...given.nodes.values()]];
      for (const { address: own, port, external, service: owner } of computeFrontends(given, options).frontends) {
        if (!external || port === 30_080) continue;
        const row = given.services.get(owner.slice(0, owner.lastIndexOf(":")));
        const has = (addresses: readonly { readonly text: string }[]) =>
          addresses.some(({ text }) => text === own.text);
        t.false(services.some(({ clusterIps }) => has(clusterIps)));
        t.false(nodes.some(({ podCidrs }) => podCidrs.some((cidr) => prefixContains(cidr, own))));
        const balanced = row?.type === "LoadBalancer" && has(row.loadBalancerIps);
        t.true(balanced || !nodes.some(({ addresses }) => has(addresses)));
      }
    }),
  );
});
