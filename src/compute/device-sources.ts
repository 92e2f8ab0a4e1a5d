/**
 * In whose name traffic leaves by a device: with the address that the kernel would take, which is the one on the link of the way out. A device
 * without one, as on a node that speaks BGP to the fabric and has its address on loopback, sends with the node's own.
 */
import { type Address, makePrefix, prefixContains } from "../model/ip.ts";
import type { TableSnapshot } from "../model/store.ts";
import type { DeviceAddressesRow, NodeRow, RouteFactRow } from "../model/tables.ts";
import type { DesiredDeviceSource } from "./desired.ts";

export type SourceTables = Pick<TableSnapshot, "uplinks" | "deviceAddresses" | "localAddresses" | "routes">;

const defaults = { 4: "0.0.0.0/0", 6: "::/0" } as const;

/**
 * @param node this one; null: it is not known (yet)
 * @returns by ifindex
 */
export function deviceSources(tables: SourceTables, node: NodeRow | null): readonly DesiredDeviceSource[] {
  const { uplinks, deviceAddresses, localAddresses, routes } = tables;
  // What some router in front of it translates is no address to send from.
  const own = (node?.addresses ?? []).filter(({ text }) => localAddresses.has(text));
  return [...uplinks.values()]
    .sort((a, b) => a.ifindex - b.ifindex)
    .map(({ ifindex }) => {
      const addresses = deviceAddresses.get(String(ifindex))?.addresses ?? [];
      const source = (family: 4 | 6) =>
        choose(
          addresses.filter(({ address }) => address.family === family),
          gateways(routes.get(defaults[family]), ifindex),
          own.filter((address) => address.family === family),
        );
      return { ifindex, ipv4: source(4), ipv6: source(6) };
    });
}

/** @param addresses of the device, in the kernel's order @param own the node's */
function choose(
  addresses: DeviceAddressesRow["addresses"],
  ways: readonly Address[],
  own: readonly Address[],
): Address | null {
  const onWay = addresses.filter(({ address, length }) =>
    ways.some((way) => prefixContains(makePrefix(address, length), way)),
  );
  const candidates = onWay.length > 0 ? onWay : addresses;
  const texts = new Set(own.map(({ text }) => text));
  const [first] = candidates;
  return (candidates.find(({ address }) => texts.has(address.text)) ?? first)?.address ?? own[0] ?? null;
}

function gateways(route: RouteFactRow | undefined, device: number): readonly Address[] {
  return (route?.nextHops ?? []).flatMap(({ gateway, ifindex }) => (ifindex === device ? (gateway ?? []) : []));
}
