/** Which addresses a node announces: those at which who comes is served. */
import test from "ava";
import { type AdvertiseSettings, desiredAddresses, pathOver } from "../../../../src/compute/services/advertise.ts";
import { computeFrontends } from "../../../../src/compute/services/index.ts";
import { atOnce } from "../../../../src/lib/turns.ts";
import type { EndpointSliceRow, NodeRow, ServiceRow } from "../../../../src/model/tables.ts";
import { address, endpoint, node, service, slice, tables } from "./support.ts";

const settings: AdvertiseSettings = {
  nodeName: "node-1",
  mode: "all",
  kinds: ["ExternalIPs", "LoadBalancer"],
  drainTaints: ["node.kubernetes.io/unschedulable"],
  nextHop: "node",
};
const balanced: Partial<ServiceRow> = {
  type: "LoadBalancer",
  externalIps: [address("192.0.2.1")],
  loadBalancerIps: [address("198.51.100.1"), address("2001:db8::1")],
};
const local: Partial<ServiceRow> = { ...balanced, externalTrafficPolicy: "Local" };
const here = { node: "node-1" };
const there = { node: "node-2" };

interface Case {
  readonly services?: readonly ServiceRow[];
  readonly endpoints?: readonly EndpointSliceRow["endpoints"][number][];
  readonly node?: Partial<NodeRow>;
  readonly settings?: Partial<AdvertiseSettings>;
  readonly externalClusterIps?: boolean;
}

/** "address state", state being + or why not. */
function told(given: Case): readonly string[] {
  const rows = tables({
    services: given.services ?? [service("web", balanced)],
    nodes: [
      { ...node("node-1", ["172.18.0.1", "fd00:18::1"]), ...given.node },
      node("node-2", ["172.18.0.2", "fd00:18::2"]),
    ],
    endpointSlices: [slice("s", given.endpoints ?? [endpoint("10.2.0.1", there)])],
  });
  const { frontends } = computeFrontends(rows, {
    nodeName: "node-1",
    externalClusterIps: given.externalClusterIps ?? false,
  });
  return atOnce(desiredAddresses(rows, frontends, { ...settings, ...given.settings })).map(
    ({ address: { text }, path, why }) => `${text} ${path === null ? why : `via ${path.nextHop.text}`}`,
  );
}

test("with Cluster any node with a next hop of the family announces, and none when no backend is ready", (t) => {
  // Its slices are of the other family.
  const notServed = "2001:db8::1 no backend is ready";
  t.deepEqual(told({}), ["192.0.2.1 via 172.18.0.1", "198.51.100.1 via 172.18.0.1", notServed]);
  const unready = [endpoint("10.2.0.1", { ...there, ready: false, serving: false })];
  t.deepEqual(told({ endpoints: unready }), [
    "192.0.2.1 no backend is ready",
    "198.51.100.1 no backend is ready",
    notServed,
  ]);
  t.regex(told({ node: { addresses: [address("fd00:18::1")] } })[0] ?? "", /no IPv4 address/);
});

test("with the next hop self it is left to the speaker, where the node has an address of the family", (t) => {
  const settings = { nextHop: "self" } as const;
  t.is(told({ settings })[0], "192.0.2.1 via 0.0.0.0");
  t.regex(told({ settings, node: { addresses: [address("fd00:18::1")] } })[0] ?? "", /no IPv4 address/);
});

test("over sessions of the other family alone the next hop self is the node's address", (t) => {
  const path = { nextHop: address("::"), node: address("fd00:18::1"), communities: [], localPref: null, prepend: 0 };
  const over = (...peers: readonly string[]) =>
    pathOver(
      path,
      peers.map((text) => ({ address: address(text) })),
    ).nextHop.text;
  t.is(over("172.18.0.2"), "fd00:18::1");
  t.is(over("172.18.0.2", "fd00:18::2"), "::");
  t.is(over(), "::", "sessions are not known yet");
  t.is(pathOver({ ...path, nextHop: path.node }, [{ address: address("172.18.0.2") }]).nextHop.text, "fd00:18::1");
});

test("with Local only ready backends of this node count: neither others', nor unready, nor terminating ones", (t) => {
  const of = (fields: object) =>
    told({
      services: [service("web", local)],
      endpoints: [endpoint("10.1.0.1", fields), endpoint("10.2.0.1", there)],
    })[0];
  t.is(of(here), "192.0.2.1 via 172.18.0.1");
  const none = "192.0.2.1 externalTrafficPolicy is Local, and no backend on this node is ready";
  t.is(of(there), none);
  t.is(of({ ...here, ready: false, serving: false }), none);
  t.is(of({ ...here, ready: false, serving: true, terminating: true }), none);
});

test("modes and annotations choose the services, and kinds their addresses", (t) => {
  const addresses = (mode: AdvertiseSettings["mode"], advertise?: ServiceRow["advertise"]) =>
    told({
      services: [service("web", { ...balanced, ...(advertise && { advertise }) })],
      settings: { mode },
      externalClusterIps: true,
    }).map((text) => text.split(" ")[0]);
  const usual = ["192.0.2.1", "198.51.100.1", "2001:db8::1"];
  t.deepEqual(addresses("all"), usual);
  t.deepEqual(addresses("all", { kinds: [] }), []);
  t.deepEqual(addresses("annotated"), []);
  t.deepEqual(addresses("annotated", { kinds: true }), usual);
  t.deepEqual(addresses("annotated", { kinds: ["ClusterIP"] }), ["10.96.0.1"]);
  t.deepEqual(addresses("off", { kinds: true }), []);
});

test("a cluster address is announced only where clients outside are served by it", (t) => {
  const given = { services: [service("web", { advertise: { kinds: ["ClusterIP"] } })] };
  t.regex(told(given)[0] ?? "", /externalClusterIps is false/);
  t.deepEqual(told({ ...given, externalClusterIps: true }), ["10.96.0.1 via 172.18.0.1"]);
});

test("a node that is drained, left out or unknown announces nothing", (t) => {
  const drained = told({ node: { taints: ["a", "node.kubernetes.io/unschedulable"] } });
  t.true(drained.length === 3 && drained.every((text) => text.includes("being drained")));
  t.regex(told({ node: { taints: ["a"] } })[0] ?? "", /via/);
  const label = "node.kubernetes.io/exclude-from-external-load-balancers";
  t.regex(told({ node: { labels: { [label]: "" } } })[0] ?? "", /has the label/);
  t.regex(told({ settings: { nodeName: "node-9" } })[0] ?? "", /no Node node-9/);
});

test("of services with one address the first that is served says how", (t) => {
  const shared = { ...balanced, loadBalancerIps: [], externalIps: [address("192.0.2.1")] };
  const rows = tables({
    services: [
      service("a", { ...shared, advertise: { prepend: 1 } }),
      service("b", { ...shared, advertise: { prepend: 2 } }),
    ],
    nodes: [node("node-1", ["172.18.0.1"])],
    endpointSlices: [slice("s", [endpoint("10.1.0.1", here)])],
  });
  const outside = [{ address: address("10.1.0.1"), port: 8080, state: "ready" }] as never;
  const frontends = ["a", "b"].map((name) => ({
    address: address("192.0.2.1"),
    port: 80,
    protocol: 6,
    external: true,
    affinitySeconds: null,
    backends: [],
    outside: name === "a" ? [] : outside,
    service: `shop/${name}:80`,
  }));
  const [found] = atOnce(desiredAddresses(rows, frontends, settings));
  t.deepEqual([found?.services, found?.path?.prepend], [["shop/a", "shop/b"], 2]);
});
