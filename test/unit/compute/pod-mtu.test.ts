/** Which way decides how large pods' packets are, and what is said of it. */
import test from "ava";
import { type MtuTables, podMtu } from "../../../src/compute/pod-mtu.ts";
import { parsePrefix } from "../../../src/model/ip.ts";
import type { NodeRow, RouteFactRow } from "../../../src/model/tables.ts";

const prefix = (text: string) => {
  const parsed = parsePrefix(text);
  if (parsed === null) throw new Error(`${text} is no prefix`);
  return parsed;
};

const node = (name: string, ...podCidrs: readonly string[]): [string, NodeRow] => [
  name,
  { name, addresses: [], podCidrs: podCidrs.map(prefix), labels: {} } as unknown as NodeRow,
];

const route = (to: string, ifindexes: readonly number[], mtu: number | null = null): [string, RouteFactRow] => [
  to,
  {
    destination: prefix(to),
    protocol: 17,
    nextHops: ifindexes.map((ifindex) => ({ gateway: null, ifindex, device: `eth${ifindex}` })),
    metric: 0,
    mtu,
    since: 0,
  },
];

const device = (
  ifindex: number,
  name: string,
  mtu: number,
): [string, { ifindex: number; name: string; mtu: number; l3: boolean }] => [
  String(ifindex),
  { ifindex, name, mtu, l3: name.startsWith("tun-") },
];

function tables(parts: {
  nodes?: [string, NodeRow][];
  routes?: [string, RouteFactRow][];
  uplinks?: ReturnType<typeof device>[];
}): MtuTables {
  return { nodes: new Map(parts.nodes), routes: new Map(parts.routes), uplinks: new Map(parts.uplinks) };
}

const options = { nodeName: "n1", podMtu: null };
const nodes = [node("n1", "10.0.1.0/24"), node("n2", "10.0.2.0/24", "fd00:2::/64"), node("n3", "10.0.3.0/24")];
const uplinks = [device(2, "eth0", 9000), device(3, "tun-a", 1480), device(4, "eth1", 1400)];

test("the setting, else the least way, else the least device, else Ethernet's", (t) => {
  const all = tables({ nodes, uplinks, routes: [route("10.0.2.0/24", [2]), route("10.0.3.0/24", [3])] });
  t.deepEqual(podMtu(all, { ...options, podMtu: 1300 }), { bytes: 1300, from: "setting podMtu" });
  t.deepEqual(podMtu(all, options), { bytes: 1480, from: "route to 10.0.3.0/24 (n3)" });
  t.deepEqual(podMtu(tables({ nodes, uplinks }), options), { bytes: 1400, from: "device eth1" });
  t.is(podMtu(tables({ nodes }), options).bytes, 1500);
});

test("a route's own MTU and each of its paths count; routes to nobody's pods and the own node's do not", (t) => {
  const from = (...routes: [string, RouteFactRow][]) => podMtu(tables({ nodes, uplinks, routes }), options);
  t.is(from(route("10.0.2.0/24", [2], 1450)).bytes, 1450);
  t.is(from(route("10.0.2.0/24", [3], 8000)).bytes, 1480, "a route cannot promise more than its device");
  t.is(from(route("10.0.2.0/24", [2, 4])).bytes, 1400);
  t.is(from(route("10.0.0.0/16", [2])).bytes, 9000, "one that covers them");
  t.is(from(route("fd00:2::/64", [2]), route("10.0.1.0/24", [4]), route("192.0.2.0/24", [4])).bytes, 9000);
  t.is(from(route("0.0.0.0/0", [4]), route("10.0.2.0/24", [2])).bytes, 9000);
});
