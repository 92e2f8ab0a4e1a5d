import test from "ava";
import { type Address, parseAddress, parsePrefix, type Prefix } from "../../../src/model/ip.ts";
import type { NodeRow, RouteFactRow } from "../../../src/model/tables.ts";
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

test("a pod CIDR is present by its own route or a wider one, never by the default route", (t) => {
  const rows = routeReport(
    new Map([
      node("n1", "10.0.1.0/24"),
      node("n2", "10.0.2.0/24"),
      node("n3", "10.0.3.0/24"),
      node("n4", "10.9.0.0/24"),
    ]),
    new Map([
      route("0.0.0.0/0", 3, "172.16.0.1"),
      route("10.0.0.0/16", 4, "172.16.0.9"),
      route("10.0.2.0/24", 17, "172.16.0.2"),
    ]),
    "n1",
  );
  const told = rows.map((row) => [row.node, row.local, row.present, row.via.join(), row.origin]);
  t.deepEqual(told, [
    ["n1", true, false, "", ""],
    ["n2", false, true, "172.16.0.2", "bgp (kube-router)"],
    ["n3", false, true, "172.16.0.9", "static"],
    ["n4", false, false, "", ""],
  ]);
});
