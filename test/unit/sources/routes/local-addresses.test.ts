import test from "ava";
import type { AddressRow, LinkRow } from "../../../../src/native/netlink-contract.ts";
import { localAddresses } from "../../../../src/sources/routes/local-addresses.ts";
import { address, link } from "./support.ts";

function found(links: readonly LinkRow[], addresses: readonly AddressRow[]): readonly string[] {
  const rows = localAddresses(new Map(links.map((row) => [row.index, row])), addresses);
  return [...rows].map(([text, row]) => {
    if (row.address.text !== text) throw new Error(text);
    return `${text} ${row.device}`;
  });
}

test("addresses of uplinks, bridges, dummies and lo that other hosts may use are this node's", (t) => {
  const links = [
    link(1, "lo", { flags: 0x49, type: 772 }),
    link(2, "eth0"),
    link(3, "docker0", { kind: "bridge" }),
    link(4, "kube-dummy-if", { kind: "dummy" }),
    link(5, "tun-1", { type: 768 }),
  ];
  const addresses = [
    address(2, "192.0.2.1/24"),
    address(2, "192.0.2.9/32"),
    address(2, "2001:db8::1/64"),
    address(3, "172.17.0.1/16"),
    address(4, "10.96.0.10/32"),
    address(1, "203.0.113.53/32"),
    address(5, "192.0.2.1/32"),
  ];
  t.deepEqual(found(links, addresses), [
    "203.0.113.53 lo",
    "192.0.2.1 eth0",
    "192.0.2.9 eth0",
    "2001:db8::1 eth0",
    "172.17.0.1 docker0",
    "10.96.0.10 kube-dummy-if",
  ]);
});

test("what is good on a link or in this host only, pods' devices and devices that nobody knows have none", (t) => {
  const links = [
    link(1, "lo"),
    link(2, "eth0"),
    link(3, "tdm0123456789a"),
    link(4, "veth1", { alias: "tandem:shop/a" }),
  ];
  const addresses = [
    address(1, "127.0.0.1/8", 254),
    address(2, "fe80::1/64", 253),
    address(3, "10.1.1.2/32"),
    address(4, "10.1.1.3/32"),
    address(9, "10.1.1.4/32"),
  ];
  t.deepEqual(found(links, addresses), []);
});
