/**
 * What the network of one pod consists of, as plain data: its two ends, addresses, routes and neighbours.
 *
 * A pod sees no neighbours: every packet goes to a gateway that no device has (169.254.1.1 and fe80::1, the same in all
 * pods), whose hardware address is told as a permanent neighbour. So no ARP or NDP is ever spoken on the link, and there
 * is nothing that a pod could answer for another. Routes carry protocol 158: how a restarted agent knows them as its own.
 */
import { createHash } from "node:crypto";
import { type Address, addressFromBytes } from "../model/ip.ts";
import type { AddressRow, NeighbourRow, NetlinkChange, RouteRow } from "../native/netlink-contract.ts";
import type { EndpointRecord } from "./endpoint-files.ts";

export const gateway4 = addressFromBytes(Uint8Array.of(169, 254, 1, 1));
export const gateway6 = addressFromBytes(Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1));

/** RTPROT of every route that Tandem writes. */
export const tandemProtocol = 158;
const devicePrefix = "tdm";
const aliasPrefix = "tandem:";
/** IFALIASZ less its NUL. */
const longestAlias = 255;

const mainTable = 254;
const scope = { universe: 0, link: 253 };
const permanent = 0x80;
const unicast = 1;
/** lo is the first device of every network namespace. */
const loopbackIndex = 1;

/** Name of the host's end: "tdm" and 11 hexadecimal digits that only this container has. */
export function hostDeviceName(containerId: string): string {
  return devicePrefix + digest(containerId).toString("hex").slice(0, 11);
}

export function aliasOf(pod: string): string {
  return (aliasPrefix + pod).slice(0, longestAlias);
}

/** True of the devices that this service makes, and of no others. */
export function isPodDevice(link: { readonly name: string; readonly alias: string }): boolean {
  return link.name.startsWith(devicePrefix) && link.alias.startsWith(aliasPrefix);
}

/** Locally administered and the same at each try: nothing about a pod's link depends on chance. */
export function macFor(containerId: string, end: "host" | "pod"): Buffer {
  const mac = Buffer.from(digest(`${end}/${containerId}`).subarray(0, 6));
  mac[0] = ((mac[0] ?? 0) & 0xfc) | 0x02;
  return mac;
}

export function macText(mac: Uint8Array): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

export function macBytes(text: string): Buffer {
  return Buffer.from(text.replaceAll(":", ""), "hex");
}

/** The pod's end, `ifindex` being its index in the pod's namespace. In an order that the kernel takes. */
export function podChanges(record: EndpointRecord, ifindex: number): readonly NetlinkChange[] {
  const hostMac = macBytes(record.row.hostMac);
  return [
    linkUp(loopbackIndex),
    linkUp(ifindex),
    ...addressesOf(record).flatMap(({ address, gateway }): readonly NetlinkChange[] => [
      { kind: "address", op: "replace", nodad: true, address: addressRow(address, ifindex) },
      { kind: "neighbour", op: "replace", neighbour: neighbourRow(gateway, ifindex, hostMac) },
      { kind: "route", op: "replace", onlink: false, route: hostRoute(gateway, ifindex) },
      { kind: "route", op: "replace", onlink: true, route: defaultRoute(gateway, ifindex) },
    ]),
  ];
}

type RouteChange = Extract<NetlinkChange, { readonly kind: "route" }>;

/** Of each family that the pod has. */
export function defaultRoutes(record: EndpointRecord, ifindex: number): readonly RouteChange[] {
  return addressesOf(record).map(({ gateway }) => ({
    kind: "route",
    op: "replace",
    onlink: true,
    route: defaultRoute(gateway, ifindex),
  }));
}

/** The host's end. `replace` throughout: a restarted agent writes them again and so repairs what is missing. */
export function hostChanges(record: EndpointRecord): readonly NetlinkChange[] {
  const { ifindex } = record.row;
  const podMac = macBytes(record.row.podMac);
  return [
    linkUp(ifindex),
    ...addressesOf(record).flatMap(({ address }): readonly NetlinkChange[] => [
      { kind: "neighbour", op: "replace", neighbour: neighbourRow(address, ifindex, podMac) },
      { kind: "route", op: "replace", onlink: false, route: hostRoute(address, ifindex) },
    ]),
  ];
}

/** Settings of the host's end, named with slashes because a device's name may hold dots. Routes to a pod are asymmetric as soon as services are translated, hence no rp_filter. */
export function hostSysctls(record: EndpointRecord): readonly { readonly name: string; readonly value: string }[] {
  const device = record.hostDevice;
  const settings = [
    { name: `net/ipv4/conf/${device}/rp_filter`, value: "0" },
    { name: `net/ipv4/conf/${device}/forwarding`, value: "1" },
  ];
  if (record.row.ipv6 !== null) {
    settings.push(
      { name: `net/ipv6/conf/${device}/forwarding`, value: "1" },
      // A pod must not be able to give its node routes.
      { name: `net/ipv6/conf/${device}/accept_ra`, value: "0" },
    );
  }
  return settings;
}

export function podSysctls(record: EndpointRecord): readonly { readonly name: string; readonly value: string }[] {
  if (record.row.ipv6 === null) return [];
  const { ifname } = record.row;
  return [
    { name: `net/ipv6/conf/${ifname}/disable_ipv6`, value: "0" },
    { name: `net/ipv6/conf/${ifname}/accept_dad`, value: "0" },
    { name: `net/ipv6/conf/${ifname}/accept_ra`, value: "0" },
  ];
}

/** The node forwards. */
export const nodeSysctls = {
  4: [{ name: "net.ipv4.ip_forward", value: "1" }],
  6: [{ name: "net.ipv6.conf.all.forwarding", value: "1" }],
} as const;

export function addressesOf(
  record: EndpointRecord,
): readonly { readonly address: Address; readonly gateway: Address }[] {
  const { ipv4, ipv6 } = record.row;
  return [
    ...(ipv4 === null ? [] : [{ address: ipv4, gateway: gateway4 }]),
    ...(ipv6 === null ? [] : [{ address: ipv6, gateway: gateway6 }]),
  ];
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

function linkUp(index: number): NetlinkChange {
  return { kind: "link", op: "set", index, up: true, mtu: null, name: null, master: null, alias: null };
}

function addressRow(address: Address, index: number): AddressRow {
  const prefixLength = address.bytes.length * 8;
  return {
    index,
    family: address.family,
    address: Buffer.from(address.bytes),
    prefixLength,
    scope: scope.universe,
    flags: 0,
  };
}

function neighbourRow(address: Address, index: number, lladdr: Buffer): NeighbourRow {
  return { index, family: address.family, address: Buffer.from(address.bytes), lladdr, state: permanent };
}

function hostRoute(address: Address, index: number): RouteRow {
  return {
    ...routeBase(address.family),
    destination: Buffer.from(address.bytes),
    prefixLength: address.bytes.length * 8,
    scope: address.family === 4 ? scope.link : scope.universe,
    nextHops: [{ gateway: null, index, weight: 1 }],
  };
}

function defaultRoute(gateway: Address, index: number): RouteRow {
  return {
    ...routeBase(gateway.family),
    destination: Buffer.alloc(gateway.bytes.length),
    prefixLength: 0,
    scope: scope.universe,
    nextHops: [{ gateway: Buffer.from(gateway.bytes), index, weight: 1 }],
  };
}

function routeBase(family: 4 | 6): Omit<RouteRow, "destination" | "prefixLength" | "scope" | "nextHops"> {
  return { family, table: mainTable, protocol: tandemProtocol, type: unicast, metric: 0, source: null, mtu: null };
}
