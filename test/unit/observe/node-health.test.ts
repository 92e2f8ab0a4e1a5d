/** Silence, routes and BGP's sessions together make a sentence that says what is wrong. */
import test from "ava";
import { type Address, parseAddress, parsePrefix } from "../../../src/model/ip.ts";
import type { NodeHealthRow, SilentPath } from "../../../src/model/node-health.ts";
import type { BgpPeerRow, NodeRow, RouteFactRow } from "../../../src/model/tables.ts";
import { nodeHealthProblems, nodeHealthReport } from "../../../src/observe/node-health.ts";
import { misledCidrs, missingRoutes, peerProblems } from "../../../src/observe/peer-problems.ts";

const address = (text: string): Address => {
  const parsed = parseAddress(text);
  if (parsed === null) throw new Error(text);
  return parsed;
};
const prefix = (text: string) => {
  const parsed = parsePrefix(text);
  if (parsed === null) throw new Error(text);
  return parsed;
};

const nodes = new Map<string, NodeRow>([
  ["n1", { name: "n1", labels: {}, addresses: [address("192.0.2.1")], podCidrs: [prefix("10.0.1.0/24")] }],
  ["n2", { name: "n2", labels: {}, addresses: [address("192.0.2.2")], podCidrs: [prefix("10.0.2.0/24")] }],
]);
const toN2 = (...hops: readonly (readonly [string, number])[]): ReadonlyMap<string, RouteFactRow> =>
  new Map([
    [
      "10.0.2.0/24",
      {
        destination: prefix("10.0.2.0/24"),
        protocol: 17,
        nextHops: hops.map(([gateway, ifindex]) => ({ gateway: address(gateway), ifindex, device: `eth${ifindex}` })),
        metric: 0,
        mtu: null,
        since: 0,
      },
    ],
  ]);
const peer = (text: string, state: string, more: Partial<BgpPeerRow> = {}): ReadonlyMap<string, BgpPeerRow> => {
  const numbers = { asn: 64512, holdSeconds: 90, received: 0, accepted: 0, advertised: 0 };
  const row = {
    address: address(text),
    state,
    adminDown: false,
    since: 60_000,
    gracefulRestart: false,
    ...numbers,
    ...more,
  };
  return new Map([[text, row]]);
};

const silent = (
  kind: SilentPath["kind"],
  text: string,
  answered: number | null = 1_000,
  ifindex?: number,
): SilentPath => ({
  kind,
  address: address(text),
  device: ifindex === undefined ? null : { ifindex, name: `eth${ifindex}` },
  answered,
});
const row = (state: NodeHealthRow["state"], more: Partial<NodeHealthRow>): NodeHealthRow => ({
  ...{ node: "n2", state, since: 5_000, silent: [], agent: true, podsLost: [], mtu: [], ...more },
});

function told(
  health: NodeHealthRow,
  { routes = toN2(["192.0.2.2", 2]), peers = peer("192.0.2.2", "ESTABLISHED"), bgp = "synced" as const } = {},
) {
  const tables = { nodes, nodeHealth: new Map([["n2", health]]), routes, bgpPeers: peers };
  return nodeHealthProblems(tables, bgp);
}

const all = [silent("icmp", "192.0.2.2", 1_000), silent("tcp", "192.0.2.2", 2_000), silent("pods", "10.0.2.0", null)];

test("silent with its route there: a black hole, with since when, BGP's session and the way", (t) => {
  t.like(told(row("unreachable", { silent: all })), {
    length: 1,
    0: {
      code: "NODE_BLACK_HOLE",
      severity: "error",
      object: "Node n2",
      message:
        "no answer since 1970-01-01T00:00:02.000Z, by ICMP or TCP, of the node or of its pods' addresses; BGP's session with it is up, its route to 10.0.2.0/24 (via 192.0.2.2 dev eth2) is there: what is sent there is lost",
    },
  });
  const byFabric = told(row("unreachable", { silent: all }), { peers: peer("192.0.2.254", "ESTABLISHED") });
  t.is(byFabric[0]?.code, "NODE_BLACK_HOLE");
  t.regex(byFabric[0]?.message ?? "", /session with it does not exist: its routes come by others/);
});

test("silent as BGP knows, or without a route: unreachable, which pages nobody", (t) => {
  const down = told(row("unreachable", { silent: all }), { peers: peer("192.0.2.2", "ACTIVE") });
  t.deepEqual(
    down.map(({ code, severity }) => [code, severity]),
    [["NODE_UNREACHABLE", "warning"]],
  );
  const without = told(row("unreachable", { silent: [silent("icmp", "192.0.2.2", null)] }), { routes: new Map() });
  t.regex(without[0]?.message ?? "", /^no answer since this agent started, .* there is no route to its pods$/);
});

test("its pods alone: told once they answered, or an agent is there that would answer for them", (t) => {
  const lost = (answered: number | null, agent: boolean | null) =>
    told(row("partly", { silent: [silent("pods", "10.0.2.0", answered)], agent })).map(({ code }) => code);
  t.deepEqual(lost(1_000, null), ["NODE_PODS_UNREACHABLE"]);
  t.deepEqual(lost(null, true), ["NODE_PODS_UNREACHABLE"]);
  t.deepEqual(lost(null, false), []);
  t.deepEqual(lost(null, null), []);
});

test("one device of two, and one kind of probe, are a part", (t) => {
  const routes = toN2(["192.0.2.2", 2], ["198.51.100.2", 3]);
  const [path] = told(row("partly", { silent: [silent("pods", "10.0.2.0", 1_000, 3)] }), { routes });
  t.is(path?.code, "NODE_PATH_SILENT");
  t.regex(path?.message ?? "", /^what goes to 10\.0\.2\.0\/24 by eth3 is not answered since/);
  const both = [silent("pods", "10.0.2.0", 1_000, 2), silent("pods", "10.0.2.0", 1_000, 3)];
  t.deepEqual(
    told(row("partly", { silent: both }), { routes }).map(({ code }) => code),
    ["NODE_PODS_UNREACHABLE"],
  );
  t.regex(
    told(row("partly", { silent: [silent("tcp", "192.0.2.2")] }))[0]?.message ?? "",
    /^TCP to 192\.0\.2\.2 is not answered since/,
  );
  t.deepEqual(
    told(row("partly", { silent: [silent("tcp", "192.0.2.2", null)] })),
    [],
    "a firewall that was always there",
  );
});

test("an MTU has both numbers", (t) => {
  const problem = (carried: number | null) =>
    told(row("reachable", { mtu: [{ family: 4, claimed: 1500, carried }] }))[0];
  t.like(problem(1400), {
    code: "NODE_MTU",
    message:
      "packets of 1500 bytes, which the IPv4 route to its pods takes, are lost on the way: 1400 bytes are the most that arrive",
  });
  t.regex(problem(null)?.message ?? "", /how large they may be is being tried$/);
});

test("the report has each path with times in ms, and what is wrong", (t) => {
  const path = {
    kind: "icmp",
    address: address("192.0.2.2"),
    device: null,
    state: "silent",
    since: 5_000,
    answered: 1_000,
  } as const;
  const paths = [{ ...path, p50Us: 1234.6, p99Us: null, sent: 9, lost: 3, told: "why" }];
  const tables = {
    nodes,
    nodeHealth: new Map([["n2", row("unreachable", { silent: all })]]),
    routes: toN2(["192.0.2.2", 2]),
    bgpPeers: new Map(),
  };
  t.like(nodeHealthReport(tables, [{ node: "n2", paths }], "off"), {
    length: 1,
    0: {
      node: "n2",
      state: "unreachable",
      since: "1970-01-01T00:00:05.000Z",
      problems: { length: 1, 0: { code: "NODE_BLACK_HOLE" } },
      paths: { length: 1, 0: { address: "192.0.2.2", device: null, p50Ms: 1.235, p99Ms: null, lost: 3, told: "why" } },
    },
  });
});

test("sessions that do not stand are told by name, the same whatever their state, and only while BGP answers", (t) => {
  const of = (state: string, more: Partial<BgpPeerRow> = {}) =>
    peerProblems(peer("192.0.2.2", state, more), nodes, "synced");
  t.deepEqual(of("ESTABLISHED"), []);
  t.deepEqual(of("ACTIVE"), of("OPENSENT"));
  t.like(of("ACTIVE")[0], {
    code: "BGP_PEER_DOWN",
    object: "BGP peer n2 (192.0.2.2)",
    message: "the session with n2 (192.0.2.2) is not established since 1970-01-01T00:01:00.000Z",
  });
  t.regex(of("IDLE", { adminDown: true })[0]?.remedy ?? "", /gobgp neighbor 192\.0\.2\.2 enable/);
  t.regex(of("IDLE", { since: null })[0]?.message ?? "", /and never was$/);
  t.deepEqual(peerProblems(peer("192.0.2.2", "ACTIVE"), nodes, "stale"), []);
});

test("a missing route is told with its reason, in families that pods have", (t) => {
  const none = { bgpPaths: new Map(), deviceAddresses: new Map(), uplinks: new Map() };
  const tables = { nodes, routes: new Map(), bgpPeers: peer("192.0.2.2", "ACTIVE"), ...none };
  t.deepEqual(
    missingRoutes(tables, "n1", new Set([4]), "synced").map(({ object, message }) => [object, message]),
    [["Node n2", "there is no route to its pods 10.0.2.0/24: the BGP session with it does not stand"]],
  );
  t.deepEqual(missingRoutes(tables, "n1", new Set([6]), "synced"), []);
  t.deepEqual(missingRoutes({ ...tables, routes: toN2(["192.0.2.2", 2]) }, "n1", new Set([4]), "synced"), []);
});

test("nobody at all answers: told once, with what to look for here, and no page for what never answered", (t) => {
  const lost = (answered: number | null) =>
    ({ state: "unreachable", silent: [silent("icmp", "192.0.2.2", answered)] }) as const;
  const of = (...rows: readonly NodeHealthRow[]) => {
    const nodeHealth = new Map(rows.map((each) => [each.node, each]));
    return nodeHealthProblems(
      { nodes, nodeHealth, routes: toN2(["192.0.2.2", 2]), bgpPeers: peer("192.0.2.2", "ESTABLISHED") },
      "synced",
    );
  };
  const [one, ...more] = of(row("unreachable", lost(1_000)), row("unreachable", { ...lost(1_000), node: "n1" }));
  t.deepEqual(more, []);
  t.like(one, { code: "NODES_UNREACHABLE", severity: "error" });
  t.regex(one?.message ?? "", /^none of the 2 other nodes answers since 1970.*; BGP has sessions with 1 of them$/);
  t.is(of(row("unreachable", lost(null)), row("unreachable", { ...lost(null), node: "n1" }))[0]?.severity, "warning");
  t.is(of(row("unreachable", lost(1_000)), row("reachable", { node: "n1" }))[0]?.code, "NODE_BLACK_HOLE");
  t.like(of(row("unreachable", lost(null)), row("reachable", { node: "n1" }))[0], {
    code: "NODE_UNREACHABLE",
    severity: "warning",
  });
});

test("pod CIDRs that BGP leads to another node, or that this node announces, are told of who announces them", (t) => {
  const nothing = {
    asPath: "",
    localPref: null,
    med: null,
    communities: [],
    originatorId: null,
    stale: false,
    others: [],
  };
  const told = (nextHop: string, from: string | null, cluster: ReadonlyMap<string, NodeRow> = nodes) => {
    const cidr = prefix("10.0.2.0/24");
    const path = { prefix: cidr, nextHop: address(nextHop), peer: from === null ? null : address(from), ...nothing };
    return misledCidrs(cluster, new Map([[cidr.text, path]]), "n1").map(({ code, object }) => `${code} ${object}`);
  };
  const third = new Map(nodes).set("n3", {
    name: "n3",
    labels: {},
    addresses: [address("192.0.2.3")],
    podCidrs: [prefix("10.0.3.0/24")],
  });
  t.deepEqual(told("192.0.2.2", "192.0.2.2"), []);
  t.deepEqual(told("192.0.2.1", null), ["POD_CIDR_ANNOUNCED Node n1"]);
  t.deepEqual(told("192.0.2.3", "192.0.2.3", third), ["POD_CIDR_ANNOUNCED Node n3"]);
  t.deepEqual(told("192.0.2.254", "192.0.2.254", third), [], "a router");
  const both = new Map(nodes).set("n1", {
    name: "n1",
    labels: {},
    addresses: [address("192.0.2.1")],
    podCidrs: [prefix("10.0.1.0/24"), prefix("10.0.2.0/24")],
  });
  t.deepEqual(told("192.0.2.1", null, both), [], "two Nodes with one CIDR are told as such");
});
