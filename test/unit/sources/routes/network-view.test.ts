import test from "ava";
import { prefixKey, prefixText } from "../../../../src/sources/routes/facts.ts";
import { NetworkView } from "../../../../src/sources/routes/network-view.ts";
import { address, came, link, route, went } from "./support.ts";

const pods = route("10.0.2.0/24", [["192.0.2.2", 2]]);
const key = prefixKey(pods);

function listed(...routes: ReturnType<typeof route>[]): NetworkView {
  const view = new NetworkView();
  view.replace({ links: [link(2, "eth0"), link(3, "eth1")], addresses: [address(2, "192.0.2.1/24")], routes }, 0);
  view.takeDevicesChanged();
  view.takeDirty(0);
  return view;
}

test("prefixes keep their text through the key", (t) => {
  for (const text of ["0.0.0.0/0", "10.0.2.0/24", "255.255.255.255/32", "::/0", "fd00:1::/64", "ff00:ffff::ff/128"]) {
    t.is(prefixText(prefixKey(route(text, []))), text);
  }
});

test("a route that goes is leaving until it stayed away; one that came again is not", (t) => {
  const view = listed(pods);
  view.apply(went(pods), 100);
  t.deepEqual(view.takeDirty(99), { settled: [], leaving: [key] });
  t.true(view.isDirty(key));
  t.deepEqual(view.takeDirty(100), { settled: [key], leaving: [] });
  t.false(view.isDirty(key));
  t.deepEqual(view.takeDirty(100), { settled: [], leaving: [] });

  view.apply(came(pods), 150);
  view.takeDirty(0);
  view.apply(went(pods), 200);
  t.deepEqual(view.takeDirty(0).leaving, [key]);
  view.apply(came(pods), 201);
  t.deepEqual(view.takeDirty(0), { settled: [key], leaving: [] });
  t.deepEqual(view.counts, { routes: 1, bgp: 1 });
});

test("routes of other tables, link-local ones and our own are not looked at", (t) => {
  const view = listed();
  for (const row of [
    route("10.0.0.0/8", [["192.0.2.2", 2]], { table: 100 }),
    route("192.0.2.1/32", [[null, 2]], { table: 255, type: 2 }),
    route("fe80::/64", [[null, 2]], { protocol: 2 }),
    route("10.0.1.7/32", [[null, 9]], { protocol: 158 }),
  ]) {
    view.apply(came(row), 0);
  }
  t.deepEqual(view.takeDirty(0), { settled: [], leaving: [] });
  view.apply(came(route("192.0.2.9/32", [[null, 2]], { table: 77, protocol: 3 })), 0);
  t.is(view.takeDirty(0).settled.length, 1);
});

test("what is listed replaces what is known: the missing goes, the same is not touched", (t) => {
  const other = route("10.0.3.0/24", [["192.0.2.3", 2]]);
  const moved = route("10.0.4.0/24", [["192.0.2.4", 2]]);
  const view = listed(pods, other, moved);
  const there = route("10.0.4.0/24", [["192.0.2.5", 3]]);
  view.replace({ links: [link(2, "eth0"), link(3, "eth1")], addresses: [], routes: [pods, there] }, 7);
  t.deepEqual(view.takeDirty(6), { settled: [prefixKey(moved)], leaving: [prefixKey(other)] });
  t.true(view.takeDevicesChanged(), "an address went, and a device has a route of BGP now");
  t.deepEqual([...view.bgpDevices()], [2, 3]);
});

test("the device of the last BGP route is one no longer", (t) => {
  const view = listed(pods);
  t.deepEqual([...view.bgpDevices()], [2]);
  view.apply(went(pods), 0);
  t.true(view.takeDevicesChanged());
  t.deepEqual([...view.bgpDevices()], []);
});

test("a device with routes that goes down, and an address that goes, ask for a list: such routes go silently", (t) => {
  const view = listed(pods);
  view.apply({ kind: "link", gone: false, row: link(3, "eth1", { flags: 0x1002 }) }, 0);
  t.false(view.takeListWanted(), "no route leaves through it");
  view.apply({ kind: "link", gone: false, row: link(2, "eth0", { flags: 0x1002 }) }, 0);
  t.true(view.takeListWanted());
  t.false(view.takeListWanted());
  view.apply({ kind: "address", gone: true, row: address(2, "192.0.2.1/24") }, 0);
  t.true(view.takeListWanted());
});

test("the deletion of one next hop of several asks for a list and removes nothing by itself", (t) => {
  const both = route("fd00:2::/64", [
    ["fd00::2", 2],
    ["fd00::3", 3],
  ]);
  const view = listed(both);
  view.apply(went(route("fd00:2::/64", [["fd00::3", 3]])), 0);
  t.true(view.takeListWanted());
  t.is(view.routesTo(prefixKey(both)).length, 1);
});

test("a renamed device touches the routes through it", (t) => {
  const view = listed(pods, route("10.0.3.0/24", [["192.0.2.3", 3]]));
  view.apply({ kind: "link", gone: false, row: link(2, "wan0") }, 0);
  t.deepEqual(view.takeDirty(0), { settled: [key], leaving: [] });
});
