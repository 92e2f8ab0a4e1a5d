import test from "ava";
import type { LinkRow } from "../../../../src/native/netlink-contract.ts";
import { chooseUplinks } from "../../../../src/sources/routes/uplinks.ts";
import { address, link } from "./support.ts";

const lo = link(1, "lo", { flags: 0x49, type: 772 });
const names = (choice: ReturnType<typeof chooseUplinks>) => choice.uplinks.map(({ name }) => name);

test("auto takes devices that are up and have a global address, or a route of BGP; nothing else", (t) => {
  const links = [
    lo,
    link(2, "eth0"),
    link(3, "eth1", { flags: 0x1002 }),
    link(4, "eth2"),
    link(5, "docker0", { kind: "bridge" }),
    link(6, "kube-bridge", { kind: "bridge" }),
    link(7, "br0", { kind: "bridge" }),
    link(8, "kube-dummy-if", { kind: "dummy" }),
    link(9, "tdm0123456789a", { kind: "veth", alias: "tandem:shop/web-0" }),
    link(10, "tun-88d764f82ca", { kind: "ipip", type: 768, mtu: 1480 }),
    link(11, "tun-0a0a0a0a0a0", { kind: "ipip", type: 768 }),
  ];
  const addresses = [
    address(1, "127.0.0.1/8", 254),
    address(2, "192.0.2.1/24"),
    address(3, "192.0.2.2/24"),
    address(4, "fe80::4/64", 253),
    address(5, "172.17.0.1/16"),
    address(8, "10.96.0.1/32"),
    address(9, "192.0.2.9/32"),
  ];
  const choice = chooseUplinks(["auto"], links, addresses, new Set([7, 10]));
  t.deepEqual(names(choice), ["eth0", "br0", "tun-88d764f82ca"]);
  t.deepEqual(choice.uplinks[0], { ifindex: 2, name: "eth0", mtu: 1500, l3: false });
  t.deepEqual(choice.uplinks[2], { ifindex: 10, name: "tun-88d764f82ca", mtu: 1480, l3: true });
  t.deepEqual(choice.problems, []);
});

test("names and globs are taken as they are, also down, but never loopback or a pod's device", (t) => {
  const links: LinkRow[] = [
    lo,
    link(2, "eth0", { flags: 0x1002 }),
    link(3, "eth10"),
    link(4, "tdm0123456789a", { alias: "tandem:shop/web-0" }),
    link(5, "ens3.100"),
    link(6, "ens3x100"),
  ];
  t.deepEqual(names(chooseUplinks(["eth?", "ens3.*"], links, [], new Set())), ["eth0", "ens3.100"]);
  t.deepEqual(names(chooseUplinks(["*"], links, [], new Set())), ["eth0", "eth10", "ens3.100", "ens3x100"]);
});

test("a name that no device has is an error that lists the devices, a glob a warning; the others are taken", (t) => {
  const { uplinks, problems } = chooseUplinks(["eth0", "bond0", "wg*"], [lo, link(2, "eth0")], [], new Set());
  t.is(uplinks.length, 1);
  t.deepEqual(
    problems.map(({ code, severity, object }) => [code, severity, object]),
    [
      ["UPLINK_MISSING", "error", "device bond0"],
      ["UPLINK_MISSING", "warning", "device wg*"],
    ],
  );
  t.regex(problems[0]?.remedy ?? "", /there are: eth0/);
});

test("a node without any uplink is warned of", (t) => {
  const { problems } = chooseUplinks(["auto"], [lo, link(2, "eth0")], [], new Set());
  t.deepEqual(
    problems.map(({ code, severity }) => [code, severity]),
    [["NO_UPLINK", "warning"]],
  );
});
