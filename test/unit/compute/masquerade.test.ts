/** What a node masquerades, and with which address, as its tables say. */
import test from "ava";
import type { DesiredNativePrefix } from "../../../src/compute/desired.ts";
import { comparePrefixes } from "../../../src/model/ip.ts";
import type { RouteFactRow, UplinkRow } from "../../../src/model/tables.ts";
import { address, Bench, prefix } from "./support.ts";

const eth0: UplinkRow = { ifindex: 2, name: "eth0", mtu: 1500, l3: false };
const tunnel: UplinkRow = { ifindex: 5, name: "tun-1", mtu: 1480, l3: true };

function bench(families: readonly (4 | 6)[] = [4, 6]): Bench {
  const made = new Bench({ masquerade: new Set(families) });
  for (const each of [eth0, tunnel]) made.store.upsert("uplinks", String(each.ifindex), each);
  return made;
}

function route(
  to: string,
  fields: Partial<RouteFactRow> & { readonly via?: string; readonly dev?: number } = {},
): RouteFactRow {
  const { via, dev = 2, ...rest } = fields;
  const gateway = via === undefined ? null : address(via);
  const nextHops = [{ gateway, ifindex: dev, device: dev === 2 ? "eth0" : `device ${dev}` }];
  return { destination: prefix(to), protocol: 17, nextHops, metric: 0, mtu: null, since: 0, ...rest };
}

function routes(made: Bench, ...rows: readonly RouteFactRow[]): Bench {
  for (const row of rows) made.store.upsert("routes", row.destination.text, row);
  return made;
}

/** "10.0.0.0/8", and "!10.1.0.0/16" for exceptions, sorted by their prefixes. */
function native(made: Bench): readonly string[] {
  const { nativePrefixes = new Map<string, DesiredNativePrefix>() } = made.compute().desired;
  const sorted = [...nativePrefixes.values()].sort((a, b) => comparePrefixes(a.prefix, b.prefix));
  return sorted.map(({ prefix: each, keep }) => `${keep ? "" : "!"}${each.text}`);
}

const ofNodes = ["10.1.1.0/24", "10.1.2.0/24", "192.168.0.1/32", "192.168.0.2/32"];

test("prefixes of BGP and on the link of uplinks are native, a default route and others' routes are not", (t) => {
  const made = routes(
    bench(),
    route("0.0.0.0/0", { via: "192.168.0.254" }),
    route("::/0", { via: "fe80::1", protocol: 186 }),
    route("172.30.0.0/16", { via: "192.168.0.254" }),
    route("172.31.0.0/16", { via: "192.168.0.254", protocol: 12 }),
    route("10.1.9.0/24", { dev: 5 }),
    route("192.168.0.0/24", { protocol: 2 }),
    route("fd00:1::/64", { protocol: 2 }),
    route("198.51.100.0/24", { via: "192.168.0.254", protocol: 4 }),
    route("172.17.0.0/16", { protocol: 2, dev: 9 }),
    { ...route("203.0.113.0/24"), nextHops: [] },
  );
  t.deepEqual(native(made), [
    ...["10.1.1.0/24", "10.1.2.0/24", "10.1.9.0/24", "172.30.0.0/16", "172.31.0.0/16"],
    ...["192.168.0.0/24", "192.168.0.1/32", "192.168.0.2/32", "fd00:1::/64"],
  ]);
});

test("a static route inside of a native prefix is an exception, but not from pod CIDRs, nodes and the configuration", (t) => {
  const made = routes(
    bench(),
    route("172.30.0.0/16", { via: "192.168.0.254" }),
    route("172.30.7.0/24", { via: "192.168.0.253", protocol: 4 }),
    route("172.30.7.8/29", { via: "192.168.0.254" }),
    route("10.1.2.128/25", { via: "192.168.0.253", protocol: 4 }),
    route("100.64.1.0/24", { via: "192.168.0.253", protocol: 4 }),
  );
  made.store.upsert("nonMasquerade", "100.64.0.0/10", { prefix: prefix("100.64.0.0/10") });
  const [cidr1, cidr2, ...nodes] = ofNodes;
  t.deepEqual(native(made), [
    ...[cidr1, cidr2, "100.64.0.0/10", "172.30.0.0/16", "!172.30.7.0/24", "172.30.7.8/29"],
    ...nodes,
  ]);
});

test("families that are not masqueraded have no prefixes", (t) => {
  const made = routes(bench([6]), route("172.30.0.0/16"), route("fd00:2::/48", { via: "fe80::1" }));
  t.deepEqual(native(made), ["fd00:2::/48"]);
  t.deepEqual(native(routes(new Bench(), route("172.30.0.0/16"))), []);
});

test("a prefix that goes and one that comes leave the entries of all others alone", (t) => {
  const made = routes(bench(), route("172.30.0.0/16"), route("172.31.0.0/16"));
  const before = made.compute().desired.nativePrefixes;
  made.store.delete("routes", "172.31.0.0/16");
  routes(made, route("172.29.0.0/16"));
  const after = made.compute().desired.nativePrefixes;
  t.false(after?.has("172.31.0.0/16"));
  t.true(after?.get("172.29.0.0/16")?.keep);
  t.is(after?.get("172.30.0.0/16"), before?.get("172.30.0.0/16"));
  routes(made, route("172.29.0.0/16", { since: 7 }));
  t.is(made.compute().desired.nativePrefixes, after);
});

function addresses(made: Bench, ifindex: number, ...texts: readonly string[]): void {
  const rows = texts.map((text) => {
    const [one = "", length] = text.split("/");
    return { address: address(one), length: Number(length) };
  });
  made.store.upsert("deviceAddresses", String(ifindex), { ifindex, addresses: rows });
  for (const row of rows) made.store.upsert("localAddresses", row.address.text, { address: row.address, device: "d" });
}

function sources(made: Bench): readonly string[] {
  const { deviceSources = [] } = made.compute().desired;
  return deviceSources.map(({ ifindex, ipv4, ipv6 }) => `${ifindex} ${ipv4?.text ?? "-"} ${ipv6?.text ?? "-"}`);
}

test("a device sends with its first address, or with the one on the link of its default route's gateway", (t) => {
  const made = bench();
  addresses(made, 2, "198.51.100.1/24", "203.0.113.1/24", "2001:db8::1/64", "2001:db8:1::1/64");
  t.deepEqual(sources(made), ["2 198.51.100.1 2001:db8::1", "5 - -"]);
  routes(made, route("0.0.0.0/0", { via: "203.0.113.254" }), route("::/0", { via: "2001:db8:1::fe" }));
  t.deepEqual(sources(made)[0], "2 203.0.113.1 2001:db8:1::1");
  routes(made, route("0.0.0.0/0", { via: "203.0.113.254", dev: 5 }));
  t.deepEqual(sources(made)[0], "2 198.51.100.1 2001:db8:1::1");
});

test("of several that would do, the Node's address; a device without any sends with it, if this node has it at all", (t) => {
  const made = bench();
  made.nodes({ name: "n1", labels: {}, addresses: ["192.0.2.9", "192.168.0.1", "fd00::1"].map(address), podCidrs: [] });
  addresses(made, 2, "198.51.100.1/24", "192.168.0.1/24");
  t.deepEqual(sources(made), ["2 192.168.0.1 -", "5 192.168.0.1 -"]);
  addresses(made, 1, "fd00::1/128");
  t.deepEqual(sources(made), ["2 192.168.0.1 fd00::1", "5 192.168.0.1 fd00::1"]);
  made.store.delete("localAddresses", "192.168.0.1");
  made.store.delete("deviceAddresses", "2");
  t.deepEqual(sources(made), ["2 - fd00::1", "5 - fd00::1"]);
});
