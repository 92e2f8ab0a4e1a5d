/** Pod CIDRs of two nodes, those that cover nodes, and routes that kube-router left behind. */
import test from "ava";
import { parseAddress, parsePrefix } from "../../../src/model/ip.ts";
import type { BgpPathRow, NodeRow, RouteFactRow } from "../../../src/model/tables.ts";
import { bgpDefaultRoutes, leftOverRoutes, podCidrProblems } from "../../../src/observe/route-problems.ts";

const prefix = (text: string) => {
  const parsed = parsePrefix(text);
  if (parsed === null) throw new Error(text);
  return parsed;
};

function nodes(...rows: readonly (readonly [name: string, address: string, ...cidrs: readonly string[]])[]) {
  return new Map(
    rows.map(([name, text, ...cidrs]): [string, NodeRow] => {
      const address = parseAddress(text);
      if (address === null) throw new Error(text);
      return [name, { name, labels: {}, addresses: [address], podCidrs: cidrs.map(prefix) }];
    }),
  );
}

const route = (text: string, protocol = 17): [string, RouteFactRow] => [
  text,
  { destination: prefix(text), protocol, nextHops: [], metric: 0, mtu: null, since: 0 },
];

const path = (text: string): [string, BgpPathRow] => {
  const nothing = { asPath: "", localPref: null, med: null, communities: [], originatorId: null, stale: false };
  return [text, { prefix: prefix(text), nextHop: null, peer: null, others: [], ...nothing }];
};

test("nodes with pod CIDRs of their own, next to each other, are no problem", (t) => {
  const cluster = nodes(
    ["n1", "192.0.2.1", "10.0.0.0/24", "fd00:1::/64"],
    ["n2", "192.0.2.2", "10.0.1.0/25", "fd00:2::/64"],
    ["n3", "192.0.2.3", "10.0.1.128/25", "fd00:3::/64"],
  );
  t.deepEqual(podCidrProblems(cluster), []);
});

test("one pod CIDR of two nodes, and one inside of another, in any order of the nodes", (t) => {
  const rows = [
    ["n1", "192.0.2.1", "10.0.0.0/24", "fd00::/48"],
    ["n2", "192.0.2.2", "10.0.0.0/24", "fd00:0:0:2::/64"],
  ] as const;
  const [first, second] = rows;
  const told = podCidrProblems(nodes(first, second));
  t.deepEqual(
    told.map(({ code, object, message }) => [code, object, message.slice(0, 40)]),
    [
      ["POD_CIDR_OVERLAP", "Node n2", "10.0.0.0/24 is also a pod CIDR of Node n"],
      ["POD_CIDR_OVERLAP", "Node n2", "fd00:0:0:2::/64 is inside of fd00::/48, "],
    ],
  );
  t.deepEqual(podCidrProblems(nodes(second, first)), told);
});

test("a pod CIDR that covers an address of a node, also of its own", (t) => {
  const told = podCidrProblems(nodes(["n1", "10.0.0.7", "10.0.0.0/24"], ["n2", "10.0.1.7", "10.0.2.0/24"]));
  t.deepEqual(
    told.map(({ code, object }) => [code, object]),
    [["POD_CIDR_NODE_ADDRESS", "Node n1"]],
  );
});

test("kube-router's routes without a path are left over; those of others are not its own", (t) => {
  const routes = new Map([route("10.0.1.0/24"), route("10.0.2.0/24"), route("10.0.9.0/24"), route("10.0.8.0/24", 4)]);
  const cluster = nodes(["n1", "192.0.2.1", "10.0.1.0/24"], ["n2", "192.0.2.2", "10.0.2.0/24"]);
  const told = leftOverRoutes(routes, new Map([path("10.0.1.0/24")]), cluster);
  t.deepEqual(
    told.map(({ object }) => object),
    ["Route 10.0.2.0/24", "Route 10.0.9.0/24"],
  );
  t.regex(told[0]?.message ?? "", /it is the pod CIDR of Node n2$/);
  t.regex(told[1]?.message ?? "", /no node has this pod CIDR$/);
});

test("a default route of kube-router's is told with the peer that sent it; one of anybody else is not", (t) => {
  const peer = parseAddress("192.0.2.9");
  const gateway = parseAddress("192.0.2.254");
  const [text, row] = route("0.0.0.0/0");
  const routes = new Map([
    [text, { ...row, nextHops: [{ gateway, ifindex: 2, device: "eth0" }] }],
    route("::/0", 186),
    route("10.0.0.0/24"),
  ]);
  const [name, sent] = path("0.0.0.0/0");
  const told = bgpDefaultRoutes(routes, new Map([[name, { ...sent, peer }]]));
  t.deepEqual(
    told.map(({ code, object }) => [code, object]),
    [["BGP_DEFAULT_ROUTE", "Route 0.0.0.0/0"]],
  );
  t.regex(told[0]?.message ?? "", /from BGP peer 192\.0\.2\.9, via 192\.0\.2\.254:/);
  t.deepEqual(bgpDefaultRoutes(new Map([route("0.0.0.0/0", 3)]), new Map()), []);
});

test("very many are told by some and a number", (t) => {
  const routes = new Map(Array.from({ length: 120 }, (_, i) => route(`10.1.${i}.0/24`)));
  const told = leftOverRoutes(routes, new Map(), new Map());
  t.is(told.length, 20);
  t.regex(told.at(-1)?.message ?? "", /\(and 100 more like it\)$/);
});
