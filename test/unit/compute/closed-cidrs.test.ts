/** A pod CIDR is closed unless that would cut the node off from who is in it. */
import test from "ava";
import { closedCidrs } from "../../../src/compute/closed-cidrs.ts";
import type { RouteFactRow } from "../../../src/model/tables.ts";
import { address, Bench, node, prefix } from "./support.ts";

const [uplink, podDevice] = [2, 9];
const uplinks = new Map([["2", { ifindex: uplink }]]);

function route(destination: string, via: string, ifindex = uplink): [string, RouteFactRow] {
  const nextHops = [{ gateway: address(via), ifindex, device: `eth${ifindex}` }];
  return [destination, { destination: prefix(destination), protocol: 4, nextHops, metric: 0, mtu: null, since: 0 }];
}

function closed(cidrs: readonly string[], routes: readonly [string, RouteFactRow][] = []) {
  const nodes = [node("n1", ["192.0.2.1", "fd99::1"], cidrs), node("n2", ["192.0.2.2", "fd99::2"], ["10.0.2.0/24"])];
  const { prefixes, problems } = closedCidrs(
    "n1",
    new Map(nodes.map((each) => [each.name, each])),
    new Map(routes),
    uplinks,
  );
  return { prefixes: prefixes?.map(({ text }) => text), problems };
}

test("what covers another node stays open and is told, of each family by itself; what covers this one alone is closed", (t) => {
  const { prefixes, problems } = closed(["192.0.2.0/25", "fd99:1::/64"]);
  t.deepEqual(prefixes, ["fd99:1::/64"]);
  t.like(problems[0], { code: "POD_CIDR_NOT_CLOSED", object: "Node n1", field: "spec.podCIDRs" });
  t.regex(problems[0]?.message ?? "", /^192\.0\.2\.0\/25 covers 192\.0\.2\.2 \(Node n2\): it is not closed/);
  t.is(problems.length, 1);
  t.deepEqual(closed(["192.0.2.0/31", "10.0.1.0/24"]), { prefixes: ["192.0.2.0/31", "10.0.1.0/24"], problems: [] });
});

test("what covers a router that routes lead through stays open; a next hop behind a pod's device is no router", (t) => {
  const cidrs = ["10.0.1.0/24"];
  const { prefixes, problems } = closed(cidrs, [route("0.0.0.0/0", "10.0.1.254")]);
  t.deepEqual(prefixes, []);
  t.regex(problems[0]?.message ?? "", /10\.0\.1\.254 \(a next hop of routes\)/);
  t.deepEqual(closed(cidrs, [route("10.9.0.0/16", "10.0.1.7", podDevice)]).prefixes, cidrs);
});

test("of a node that is not known nothing is said, and the kernel is given what is closed", (t) => {
  t.is(closedCidrs("n9", new Map(), new Map(), new Map()).prefixes, undefined);
  const bench = new Bench();
  bench.nodes(node("n1", ["192.168.0.1"], ["192.168.0.0/28", "fd00::/64"]));
  const { desired, problems } = bench.compute();
  t.deepEqual(
    desired.podCidrs?.map(({ text }) => text),
    ["fd00::/64"],
  );
  t.true(problems.some(({ code }) => code === "POD_CIDR_NOT_CLOSED"));
});
