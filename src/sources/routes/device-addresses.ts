/**
 * What a device has as the source of traffic in this node's name, in the order in which the kernel would take it: secondary addresses and
 * those that may not be used yet never, deprecated and temporary ones last (RFC 6724 section 5, rules 3 and 7).
 */
import { type Address, addressFromBytes } from "../../model/ip.ts";
import type { DeviceAddressesRow } from "../../model/tables.ts";
import type { AddressRow, LinkRow } from "../../native/netlink-contract.ts";
import { isPodDevice } from "./uplinks.ts";

/** RT_SCOPE_UNIVERSE. */
const global = 0;
/** IFA_F_* of linux/if_addr.h. The first bit says of IPv4 that it is secondary, of IPv6 that it is temporary. */
const flag = { secondary: 0x01, failed: 0x08, deprecated: 0x20, tentative: 0x40 } as const;

/** By ifindex. */
export function deviceAddresses(
  links: ReadonlyMap<number, LinkRow>,
  addresses: Iterable<AddressRow>,
): ReadonlyMap<string, DeviceAddressesRow> {
  const found = new Map<number, AddressRow[]>();
  for (const row of addresses) {
    const link = links.get(row.index);
    if (link === undefined || isPodDevice(link) || !isUsable(row)) continue;
    const ofDevice = found.get(row.index);
    if (ofDevice === undefined) found.set(row.index, [row]);
    else ofDevice.push(row);
  }
  return new Map(
    [...found].map(([ifindex, rows]) => {
      const ordered = rows.map((row, at) => ({ row, at })).sort((a, b) => rank(a.row) - rank(b.row) || a.at - b.at);
      const usable = ordered.map(({ row }) => ({ address: addressFromBytes(row.address), length: row.prefixLength }));
      return [String(ifindex), { ifindex, addresses: usable.filter(({ address }) => !isLinkLocal(address)) }];
    }),
  );
}

function isUsable({ family, scope, flags }: AddressRow): boolean {
  if (scope !== global || (flags & (flag.failed | flag.tentative)) !== 0) return false;
  return family === 6 || (flags & flag.secondary) === 0;
}

function rank({ flags }: AddressRow): number {
  return (flags & (flag.secondary | flag.deprecated)) === 0 ? 0 : 1;
}

/** 169.254.0.0/16 (RFC 3927) and fe80::/10, whatever scope somebody gave them. */
function isLinkLocal({ family, bytes }: Address): boolean {
  const [first = 0, second = 0] = bytes;
  return family === 4 ? first === 169 && second === 254 : first === 0xfe && (second & 0xc0) === 0x80;
}
