/** Who is there in the tables and on the wires of a node for its programs (programs.ts), and the frames between them. */
import { frame, type IpOptions, type Macs, mac, type Transport } from "./packets.ts";

/** The people of the tables. Pods a and b live here, r on another node; w is outside; `new` is in a pod CIDR, unknown to ipcache. */
export const who = {
  a: { ipv4: "10.0.1.10", ipv6: "fd00:1::10", mac: mac("02:00:00:00:00:0a"), identity: 65_001 },
  b: { ipv4: "10.0.1.11", ipv6: "fd00:1::11", mac: mac("02:00:00:00:00:0b"), identity: 65_002 },
  r: { ipv4: "10.0.2.20", ipv6: "fd00:2::20", identity: 65_003 },
  new: { ipv4: "10.0.2.99", ipv6: "fd00:2::99", identity: 3 },
  host: { ipv4: "192.0.2.1", ipv6: "2001:db8:f::1", identity: 1 },
  node2: { ipv4: "192.0.2.2", ipv6: "2001:db8:f::2", identity: 6 },
  w: { ipv4: "198.51.100.7", ipv6: "2001:db8:99::7", identity: 2 },
} as const;
export type Someone = keyof typeof who;

export const hostMac = mac("02:00:00:00:01:00");
const uplinkMac = mac("02:00:00:00:02:00");
const routerMac = mac("02:00:00:00:02:fe");

/** What a frame shows of one family at a time: tests run every row for both. */
export type Family = "ipv4" | "ipv6";
export const families: readonly Family[] = ["ipv4", "ipv6"];

/** The frame by which `from` reaches the host side of its veth. */
export function podFrame(
  from: "a" | "b",
  source: string,
  destination: string,
  transport: Transport,
  options?: IpOptions,
): Buffer {
  return frame({ source: who[from].mac, destination: hostMac }, source, destination, transport, options);
}

/** A frame as the router sends it to this node. */
export function wireFrame(source: string, destination: string, transport: Transport, options?: IpOptions): Buffer {
  return frame(wireMacs, source, destination, transport, options);
}

/** A frame as the node's stack sends it to a pod. */
export function stackFrame(
  to: "a" | "b",
  source: string,
  destination: string,
  transport: Transport,
  options?: IpOptions,
): Buffer {
  return frame({ source: hostMac, destination: who[to].mac }, source, destination, transport, options);
}

export const wireMacs: Macs = { source: routerMac, destination: uplinkMac };
export const podMacs = (name: "a" | "b"): Macs => ({ source: who[name].mac, destination: hostMac });
