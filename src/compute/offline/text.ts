/** Ports, protocols and identities as people write them. */
import { icmp6Types, icmpTypes } from "../policy/icmp-types.ts";
import { lastPort, type PortRange } from "../policy/port-sets.ts";
import { protocolNumbers } from "../policy/rules.ts";

export const protocolNames = ["TCP", "UDP", "SCTP", "ICMP", "ICMPv6"] as const;
export type ProtocolName = (typeof protocolNames)[number];

/** Those of tunnels are named by nobody but the guard of a node. */
const tunnels: readonly (readonly [number, string])[] = [
  [4, "IPIP"],
  [41, "IPv6 in IP"],
];
const names: ReadonlyMap<number, string> = new Map([
  ...Object.entries(protocolNumbers).map(([name, number]): [number, string] => [number, name]),
  ...tunnels,
]);

export function protocolName(number: number): string {
  return names.get(number) ?? `IP protocol ${number}`;
}

export function isIcmp(protocol: number): boolean {
  return protocol === protocolNumbers.ICMP || protocol === protocolNumbers.ICMPv6;
}

/** "TCP 80", "ICMP 8 (EchoRequest)". @param port ICMP: type << 8 */
export function flowText(protocol: number, port: number): string {
  return portsText([{ protocol, first: port, last: isIcmp(protocol) ? port + 255 : port }]);
}

/** "TCP 80, 443, 8000-8080; UDP 53", "everything", "nothing". */
export function portsText(ranges: readonly PortRange[]): string {
  if (ranges.some(({ protocol }) => protocol === 0)) return "everything";
  if (ranges.length === 0) return "nothing";
  const byProtocol = new Map<number, PortRange[]>();
  for (const range of ranges) {
    const known = byProtocol.get(range.protocol);
    if (known === undefined) byProtocol.set(range.protocol, [range]);
    else known.push(range);
  }
  return [...byProtocol]
    .map(([protocol, each]) => {
      const name = protocolName(protocol);
      return tunnels.some(([number]) => number === protocol) ? name : `${name} ${numbersText(protocol, each)}`;
    })
    .join("; ");
}

function numbersText(protocol: number, ranges: readonly PortRange[]): string {
  return ranges
    .map(({ first, last }) => {
      if (first === 0 && last === lastPort) return isIcmp(protocol) ? "any type" : "any port";
      if (isIcmp(protocol)) return icmpText(protocol, first >> 8, last >> 8);
      return first === last ? `${first}` : `${first}-${last}`;
    })
    .join(", ");
}

function icmpText(protocol: number, first: number, last: number): string {
  if (first !== last) return `${first}-${last}`;
  const known = [...(protocol === protocolNumbers.ICMP ? icmpTypes : icmp6Types)].filter(([, type]) => type === first);
  // The last of several is the newer spelling without blanks.
  const name = known.at(-1)?.[0];
  return name === undefined ? `${first}` : `${first} (${name})`;
}
