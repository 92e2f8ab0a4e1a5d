import test from "ava";
import { type Address, parseAddress, parsePrefix, type Prefix } from "../../../src/model/ip.ts";
import type { BgpPathRow, BgpPeerRow, NodeRow, RouteFactRow } from "../../../src/model/tables.ts";
import { type BgpKnowledge, type BgpTables, whatIsOdd, whyMissing } from "../../../src/observe/route-reasons.ts";
import { routeReport } from "../../../src/observe/routes.ts";

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

const cidr = prefix("10.2.0.0/24");
const node: NodeRow = { name: "n2", labels: {}, addresses: [address("192.0.2.2")], podCidrs: [cidr] };

const peer = (text: string, more: Partial<BgpPeerRow> = {}): BgpPeerRow => ({
  address: address(text),
  asn: 64_512,
  state: "ESTABLISHED",
  adminDown: false,
  since: 0,
  holdSeconds: 90,
  gracefulRestart: true,
  received: 0,
  accepted: 0,
  advertised: 0,
  ...more,
});

const path = (text: string, more: Partial<BgpPathRow> = {}): BgpPathRow => ({
  prefix: prefix(text),
  nextHop: address("192.0.2.2"),
  peer: address("192.0.2.2"),
  asPath: "",
  localPref: 100,
  med: null,
  communities: [],
  originatorId: null,
  stale: false,
  others: [],
  ...more,
});

function tables(peers: readonly BgpPeerRow[], paths: readonly BgpPathRow[] = []): BgpTables {
  const addresses = [{ address: address("192.0.2.1"), length: 24 }];
  return {
    bgpPeers: new Map(peers.map((row) => [row.address.text, row])),
    bgpPaths: new Map(paths.map((row) => [row.prefix.text, row])),
    deviceAddresses: new Map([["2", { ifindex: 2, addresses }]]),
    hasOverlay: () => false,
    nodeAt: (text) => ({ "192.0.2.2": "n2", "192.0.2.3": "n3" })[text],
  };
}

const route = (text: string, hops: RouteFactRow["nextHops"], protocol = 17): RouteFactRow => ({
  destination: prefix(text),
  protocol,
  nextHops: hops,
  metric: 0,
  mtu: null,
  since: 0,
});

const synced: BgpKnowledge = { state: "synced", received: [] };
const up = peer("192.0.2.2");
const down = peer("192.0.2.2", { state: "ACTIVE" });
const tor = peer("192.0.2.254", { asn: 65_000 });

const cases: readonly (readonly [what: string, tables: BgpTables, bgp: BgpKnowledge, code: string])[] = [
  ["BGP is not asked", tables([up]), { state: "off", received: [] }, "unknown"],
  ["kube-router was never there", tables([]), { state: "waiting", received: [] }, "unknown"],
  ["kube-router is gone", tables([up]), { state: "stale", received: [] }, "unknown"],
  ["there are no peers", tables([]), synced, "no-peer"],
  ["the session with the node is down", tables([down, tor]), synced, "peer-down"],
  ["an operator switched it off", tables([peer("192.0.2.2", { adminDown: true, state: "IDLE" })]), synced, "peer-down"],
  ["every session is down", tables([peer("192.0.2.254", { state: "CONNECT" })]), synced, "peer-down"],
  ["the node announces nothing", tables([up]), synced, "not-announced"],
  ["the fabric announces nothing", tables([tor]), synced, "not-announced"],
  [
    "a policy rejects it",
    tables([up]),
    { state: "synced", received: [{ prefix: cidr, peer: "192.0.2.2", filtered: true }] },
    "filtered",
  ],
  ["this node announces it, too", tables([up], [path("10.2.0.0/24", { peer: null })]), synced, "own"],
  ["the path has no next hop", tables([up], [path("10.2.0.0/24", { nextHop: null })]), synced, "no-next-hop"],
  [
    "the next hop is in another subnet",
    tables([up], [path("10.2.0.0/24", { nextHop: address("198.51.100.9") })]),
    synced,
    "not-on-link",
  ],
  [
    "the tunnel to the other subnet is gone",
    {
      ...tables([up], [path("10.2.0.0/24", { nextHop: address("198.51.100.9") })]),
      hasOverlay: () => true,
    },
    synced,
    "no-tunnel",
  ],
  ["the kernel has not what BGP has", tables([up], [path("10.2.0.0/24")]), synced, "not-written"],
  ["a wider path counts", tables([up], [path("10.0.0.0/14")]), synced, "not-written"],
  ["a default route does not", tables([up], [path("0.0.0.0/0")]), synced, "not-announced"],
];

for (const [what, facts, bgp, code] of cases) {
  test(`a route is missing because ${what}: ${code}`, (t) => {
    const why = whyMissing(cidr, node, undefined, facts, bgp);
    t.is(why.code, code, why.text);
    t.true(why.text !== "" && why.remedy !== "");
  });
}

test("a route that leads nowhere is told as one, whatever BGP says", (t) => {
  const blackhole = route("10.2.0.0/24", [], 3);
  t.is(whyMissing(cidr, node, blackhole, tables([up], [path("10.2.0.0/24")]), synced).code, "unreachable");
});

test("a route that BGP has no path for any more is left over, and one that waits for a restart is told", (t) => {
  const there = route("10.2.0.0/24", [{ gateway: address("192.0.2.2"), ifindex: 2, device: "eth0" }]);
  t.is(whatIsOdd(cidr, node, there, tables([up]), synced)?.code, "left-over");
  t.is(whatIsOdd(cidr, node, there, tables([up], [path("10.2.0.0/24", { stale: true })]), synced)?.code, "stale-path");
  t.is(whatIsOdd(cidr, node, there, tables([up], [path("10.2.0.0/24")]), synced), null);
  t.is(
    whatIsOdd(cidr, node, there, tables([down], [path("10.2.0.0/24")]), synced)?.code,
    "stale-path",
    "the session says it",
  );
  t.is(whatIsOdd(cidr, node, there, tables([], [path("10.2.0.0/24")]), synced), null, "nobody knows the session");
  t.is(whatIsOdd(cidr, node, there, tables([up]), { state: "stale", received: [] }), null, "who is away says nothing");
  t.is(
    whatIsOdd(cidr, node, { ...there, protocol: 4 }, tables([up]), synced),
    null,
    "an operator's route is the operator's",
  );
});

test("a path to another node's pod CIDR that leads to a third node, or is this node's own, is told beside the route that is there", (t) => {
  const there = route("10.2.0.0/24", [{ gateway: address("192.0.2.3"), ifindex: 2, device: "eth0" }]);
  const why = (...paths: readonly BgpPathRow[]) => whatIsOdd(cidr, node, there, tables([up], paths), synced);
  t.like(why(path("10.2.0.0/24", { nextHop: address("192.0.2.3") })), { code: "other-node" });
  t.regex(why(path("10.2.0.0/24", { nextHop: address("192.0.2.3") }))?.text ?? "", /to n3, and it is a pod CIDR of n2/);
  t.like(why(path("10.2.0.0/24", { peer: null })), { code: "own" });
  t.is(why(path("10.2.0.0/24", { nextHop: address("192.0.2.254") })), null, "a router leads there");
  const passed = { nextHop: address("192.0.2.3"), peer: address("192.0.2.3") };
  for (const [told, code] of [
    [{ originatorId: "192.0.2.2" }, undefined],
    [{ originatorId: "192.0.2.3" }, "other-node"],
    [{ asPath: "64514 64513" }, undefined],
    [{ asPath: "64514 64514" }, "other-node"],
  ] as const)
    t.is(why(path("10.2.0.0/24", { ...passed, ...told }))?.code, code, "a node may pass on what others announce");
  t.is(why(path("10.0.0.0/14", { nextHop: address("192.0.2.3") })), null, "a wider one is nobody's pod CIDR");
});

test("a route goes to the node itself, into a tunnel, or by the fabric", (t) => {
  const via = (gateway: string | null, device = "eth0") => ({
    gateway: gateway === null ? null : address(gateway),
    ifindex: device === "eth0" ? 2 : 9,
    device,
  });
  const kindOf = (hops: RouteFactRow["nextHops"]) => {
    const facts = {
      ...tables([up], [path("10.2.0.0/24")]),
      nodes: new Map([["n2", node]]),
      routes: new Map([["10.2.0.0/24", route("10.2.0.0/24", hops)]]),
      uplinks: new Map(),
    };
    return routeReport(facts, "n1", synced)[0]?.kind;
  };
  t.is(kindOf([via("192.0.2.2")]), "direct");
  t.is(kindOf([via("192.0.2.254")]), "fabric");
  t.is(kindOf([via("192.0.2.2"), via("192.0.2.254")]), "fabric");
  t.is(kindOf([via(null, "tun-88d764f82ca")]), "tunnel");
  t.is(kindOf([]), null);
});

test("kube-router's overlay is known by any route into a tunnel, and the one that is missing is named", (t) => {
  const whyWith = (device: string) => {
    const other = route("10.3.0.0/24", [{ gateway: null, ifindex: 7, device }]);
    const facts = {
      ...tables([up], [path("10.2.0.0/24", { nextHop: address("198.51.100.9") })]),
      nodes: new Map([["n2", node]]),
      routes: new Map([["10.3.0.0/24", other]]),
      uplinks: new Map(),
    };
    return routeReport(facts, "n1", synced)[0]?.why;
  };
  t.like(whyWith("tun-4d28fede0fc"), { code: "no-tunnel" });
  t.regex(whyWith("tun-4d28fede0fc")?.text ?? "", /tun-[0-9a-f]{11}/);
  t.like(whyWith("eth1"), { code: "not-on-link" });
});
