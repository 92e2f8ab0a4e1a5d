import test from "ava";
import type { AddressRow, LinkRow } from "../../../../src/native/netlink-contract.ts";
import { deviceAddresses } from "../../../../src/sources/routes/device-addresses.ts";
import { address, link } from "./support.ts";

function found(links: readonly LinkRow[], addresses: readonly AddressRow[]): readonly string[] {
  const rows = deviceAddresses(new Map(links.map((row) => [row.index, row])), addresses);
  return [...rows.values()].map(
    (row) => `${row.ifindex}: ${row.addresses.map((each) => `${each.address.text}/${each.length}`).join(" ")}`,
  );
}

const flagged = (row: AddressRow, flags: number): AddressRow => ({ ...row, flags });

test("addresses are in the kernel's order, deprecated and temporary ones last", (t) => {
  const addresses = [
    flagged(address(2, "192.0.2.3/24"), 0x20),
    address(2, "192.0.2.1/24"),
    address(2, "198.51.100.1/24"),
    flagged(address(2, "2001:db8::7/64"), 0x01),
    address(2, "2001:db8::1/64"),
  ];
  t.deepEqual(found([link(2, "eth0")], addresses), [
    "2: 192.0.2.1/24 198.51.100.1/24 2001:db8::1/64 192.0.2.3/24 2001:db8::7/64",
  ]);
});

test("no source is what is secondary, not in use yet, or good on one link only, and pods' devices have none", (t) => {
  const addresses = [
    flagged(address(2, "192.0.2.2/24"), 0x01),
    flagged(address(2, "2001:db8::2/64"), 0x40),
    flagged(address(2, "2001:db8::3/64"), 0x08),
    address(2, "169.254.7.1/16"),
    address(2, "fe80::1/64"),
    address(2, "192.0.2.1/24"),
    address(2, "10.0.0.1/32", 253),
    address(3, "10.1.1.2/32"),
  ];
  t.deepEqual(found([link(2, "eth0"), link(3, "tdm0123456789a")], addresses), ["2: 192.0.2.1/24"]);
});
