/**
 * Addresses that this node itself answers on, beyond those of its Node object: secondary ones, those of bridges, and those that several
 * hosts announce by BGP and keep on `lo` or a dummy device. A packet from or to one of them is the host's, as the kernel sees it.
 * Not those of pods' devices, and none that are good on one link or inside of this host only.
 */
import { addressFromBytes } from "../../model/ip.ts";
import type { LocalAddressRow } from "../../model/tables.ts";
import type { AddressRow, LinkRow } from "../../native/netlink-contract.ts";
import { isPodDevice } from "./uplinks.ts";

/** RT_SCOPE_UNIVERSE. */
const global = 0;

/** By text of the address. Of several devices with one address the first by index is told. */
export function localAddresses(
  links: ReadonlyMap<number, LinkRow>,
  addresses: Iterable<AddressRow>,
): ReadonlyMap<string, LocalAddressRow> {
  const rows = new Map<string, LocalAddressRow>();
  for (const row of [...addresses].sort((a, b) => a.index - b.index)) {
    const link = links.get(row.index);
    // A device that is not known yet is told of right after its address, or was a pod's and is gone.
    if (row.scope !== global || link === undefined || isPodDevice(link)) continue;
    const address = addressFromBytes(row.address);
    if (!rows.has(address.text)) rows.set(address.text, { address, device: link.name });
  }
  return rows;
}
