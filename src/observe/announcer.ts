/** Who announces one address by BGP: a host's prefix is its own, an aggregate is a way and no announcement of the address. Pure. */
import { type Address, makePrefix } from "../model/ip.ts";
import type { BgpPathRow, NodeRow } from "../model/tables.ts";

type Paths = ReadonlyMap<string, BgpPathRow>;

/**
 * Who announces an address: the name of a node, else the next hop of BGP's best path. null: nobody that this node knows of. kube-router tells the
 * fabric of service addresses and not its other nodes, so that those are known only where the fabric tells them again.
 */
export function announcerOf(
  address: Address,
  bgpPaths: Paths,
  nodes: ReadonlyMap<string, NodeRow>,
  nodeName: string,
): string | null {
  const path = pathToAddress(address, bgpPaths);
  if (path === undefined) return null;
  if (path.peer === null) return nodeName;
  const { nextHop } = path;
  if (nextHop === null) return path.peer.text;
  for (const { name, addresses } of nodes.values()) {
    if (addresses.some(({ text }) => text === nextHop.text)) return name;
  }
  return nextHop.text;
}

export function pathToAddress(address: Address, bgpPaths: Paths): BgpPathRow | undefined {
  return bgpPaths.get(makePrefix(address, address.bytes.length * 8).text);
}
