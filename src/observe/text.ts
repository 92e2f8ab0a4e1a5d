/** Protocols and sockets as people write them. */
import type { Address } from "../model/ip.ts";

const protocols: Readonly<Record<number, string>> = {
  0: "ANY",
  1: "ICMP",
  2: "IGMP",
  4: "IPIP",
  6: "TCP",
  17: "UDP",
  41: "IPv6",
  47: "GRE",
  50: "ESP",
  58: "ICMPv6",
  132: "SCTP",
};

/** @param number IANA protocol number */
export const protocolName = (number: number): string => protocols[number] ?? String(number);

/** "10.0.0.1:80", "[fd00::1]:80". */
export function socketText(address: Address, port: number): string {
  return address.family === 4 ? `${address.text}:${port}` : `[${address.text}]:${port}`;
}
