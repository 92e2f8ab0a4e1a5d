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

const portBits = 16;
const protocolBits = 8;

/**
 * What an entry of a port map covers: "ANY", "TCP", "80/TCP", "8000-8063/TCP".
 * @param entry bits: 0 every protocol; 8 every port of protocol; 8+n the first n bits of port
 */
export function portsText({
  protocol,
  port,
  bits,
}: {
  readonly protocol: number;
  readonly port: number;
  readonly bits: number;
}): string {
  if (bits === 0) return "ANY";
  const name = protocolName(protocol);
  if (bits <= protocolBits) return name;
  const last = port + 2 ** (portBits - (bits - protocolBits)) - 1;
  return `${last === port ? port : `${port}-${last}`}/${name}`;
}
