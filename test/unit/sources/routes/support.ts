/** Rows of rtnetlink for tests, with what a plain Ethernet device or a route of kube-router has. */
import { parseAddress, parsePrefix } from "../../../../src/model/ip.ts";
import type { AddressRow, LinkRow, NetlinkEvent, RouteRow } from "../../../../src/native/netlink-contract.ts";

export function bytesOf(text: string): Buffer {
  const address = parseAddress(text);
  if (address === null) throw new Error(text);
  return Buffer.from(address.bytes);
}

export function link(index: number, name: string, overrides: Partial<LinkRow> = {}): LinkRow {
  return {
    index,
    name,
    kind: "",
    mtu: 1500,
    flags: 0x1043,
    type: 1,
    address: Buffer.alloc(6),
    operstate: 6,
    peerIndex: 0,
    master: 0,
    alias: "",
    ...overrides,
  };
}

export function address(index: number, text: string, scope = 0): AddressRow {
  const prefix = parsePrefix(text);
  if (prefix === null) throw new Error(text);
  const bytes = bytesOf(text.split("/")[0] ?? "");
  return { index, family: prefix.family, address: bytes, prefixLength: prefix.length, scope, flags: 0 };
}

/** @param via gateways with the device each leaves through */
export function route(
  destination: string,
  via: readonly (readonly [string | null, number])[],
  overrides: Partial<RouteRow> = {},
): RouteRow {
  const prefix = parsePrefix(destination);
  if (prefix === null) throw new Error(destination);
  return {
    family: prefix.family,
    destination: Buffer.from(prefix.address.bytes),
    prefixLength: prefix.length,
    table: 254,
    protocol: 17,
    scope: 0,
    type: 1,
    metric: 0,
    source: null,
    nextHops: via.map(([gateway, index]) => ({
      gateway: gateway === null ? null : bytesOf(gateway),
      index,
      weight: 1,
    })),
    mtu: null,
    ...overrides,
  };
}

export const came = (row: RouteRow): NetlinkEvent => ({ kind: "route", gone: false, row });
export const went = (row: RouteRow): NetlinkEvent => ({ kind: "route", gone: true, row });
