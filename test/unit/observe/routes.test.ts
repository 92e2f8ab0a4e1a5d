import test from "ava";
import { type Address, parseAddress, parsePrefix, type Prefix } from "../../../src/model/ip.ts";
import type { NodeRow, RouteFactRow, UplinkRow } from "../../../src/model/tables.ts";
import type { BgpKnowledge } from "../../../src/observe/route-reasons.ts";
import { routeReport, routeSummary, type RouteTables } from "../../../src/observe/routes.ts";

function prefix(text: string): Prefix {
  const parsed = parsePrefix(text);
  if (parsed === null) throw new Error(text);
  return parsed;
}

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === null) throw new Error(text);
  return parsed;
}

const node = (name: string, cidr: string): [string, NodeRow] => [
  name,
  { name, labels: {}, addresses: [], podCidrs: [prefix(cidr)] },
];

const route = (destination: string, protocol: number, gateway: string): [string, RouteFactRow] => [
  destination,
  {
    destination: prefix(destination),
    protocol,
    nextHops: [{ gateway: address(gateway), ifindex: 2, device: "eth0" }],
    metric: 0,
    mtu: null,
    since: 0,
  },
];

function tables(
  nodes: readonly [string, NodeRow][],
  routes: readonly [string, RouteFactRow][],
  uplinks: readonly [string, UplinkRow][] = [],
): RouteTables {
  const none = { bgpPeers: new Map(), bgpPaths: new Map(), deviceAddresses: new Map() };
  return { nodes: new Map(nodes), routes: new Map(routes), uplinks: new Map(uplinks), ...none };
}

const unasked: BgpKnowledge = { state: "off", received: [] };

test("a pod CIDR is present by its own route or a wider one, never by the default route", (t) => {
  const rows = routeReport(
    tables(
      [node("n1", "10.0.1.0/24"), node("n2", "10.0.2.0/24"), node("n3", "10.0.3.0/24"), node("n4", "10.9.0.0/24")],
      [
        route("0.0.0.0/0", 3, "172.16.0.1"),
        route("10.0.0.0/16", 4, "172.16.0.9"),
        route("10.0.2.0/24", 17, "172.16.0.2"),
      ],
    ),
    "n1",
    unasked,
  );
  const told = rows.map((row) => [row.node, row.local, row.present, row.via.join(), row.origin]);
  t.deepEqual(told, [
    ["n1", true, false, "", ""],
    ["n2", false, true, "172.16.0.2", "bgp (kube-router)"],
    ["n3", false, true, "172.16.0.9", "static"],
    ["n4", false, false, "", ""],
  ]);
});

test("a route without next hop hides the wider one behind it", (t) => {
  const [to, blackhole] = route("10.0.2.0/24", 3, "172.16.0.1");
  const rows = routeReport(
    tables([node("n2", "10.0.2.0/24")], [route("10.0.0.0/16", 4, "172.16.0.9"), [to, { ...blackhole, nextHops: [] }]]),
    "n1",
    unasked,
  );
  t.like(rows[0], { present: false, origin: "boot", via: [] });
});

test("the MTU is the route's, else that of the uplink it leaves through", (t) => {
  const [to, own] = route("10.0.3.0/24", 17, "172.16.0.3");
  const rows = routeReport(
    tables(
      [node("n2", "10.0.2.0/24"), node("n3", "10.0.3.0/24")],
      [route("10.0.2.0/24", 17, "172.16.0.2"), [to, { ...own, mtu: 1400 }]],
      [["2", { ifindex: 2, name: "eth0", mtu: 9000, l3: false }]],
    ),
    "n1",
    unasked,
  );
  t.deepEqual(
    rows.map(({ mtu }) => mtu),
    [9000, 1400],
  );
});

test("the summary names what is missing, of the families that pods have", (t) => {
  const rows = routeReport(
    tables(
      [node("n1", "10.0.1.0/24"), node("n2", "10.0.2.0/24"), node("n10", "10.0.10.0/24"), node("n3", "fd00:3::/64")],
      [route("10.0.10.0/24", 17, "172.16.0.2")],
    ),
    "n1",
    unasked,
  );
  t.deepEqual(
    rows.map((row) => row.node),
    ["n1", "n2", "n3", "n10"],
  );
  t.deepEqual(routeSummary(rows, new Set([4])), { expected: 2, present: 1, missing: ["10.0.2.0/24 (n2)"] });
  t.is(routeSummary(rows, new Set([4, 6])).missing.length, 2);
});
