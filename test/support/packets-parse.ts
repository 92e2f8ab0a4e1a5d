/** Reads frames back: what a table of packets compares, and whether every checksum in it is right. */
import { addressFromBytes } from "../../src/model/ip.ts";
import { checksum, crc32c, EtherType, Protocol, pseudoHeader } from "./packets.ts";

export interface ParsedIp {
  readonly version: 4 | 6;
  readonly source: string;
  readonly destination: string;
  readonly ttl: number;
  readonly protocol: number;
  /** Ports of TCP, UDP and SCTP; null where there are none (or the header is in another fragment). */
  readonly sourcePort: number | null;
  readonly destinationPort: number | null;
  /** Of ICMP and ICMPv6. */
  readonly type: number | null;
  readonly code: number | null;
  /** From behind all IP headers on. */
  readonly payload: Buffer;
  /** The packet that an ICMP error is about, as far as it is carried. */
  readonly inner: ParsedIp | null;
}

export interface ParsedFrame {
  readonly sourceMac: string;
  readonly destinationMac: string;
  readonly type: number;
  readonly ip: ParsedIp | null;
}

export function parseFrame(frame: Buffer): ParsedFrame {
  const type = frame.readUInt16BE(12);
  return {
    destinationMac: frame.toString("hex", 0, 6),
    sourceMac: frame.toString("hex", 6, 12),
    type,
    ip: type === EtherType.ipv4 || type === EtherType.ipv6 ? parseIp(frame.subarray(14)) : null,
  };
}

interface Located {
  readonly version: 4 | 6;
  readonly source: Buffer;
  readonly destination: Buffer;
  readonly ttl: number;
  readonly protocol: number;
  readonly laterFragment: boolean;
  readonly anyFragment: boolean;
  /** Behind all IP headers, up to the length that the header tells. */
  readonly payload: Buffer;
}

const isExtension = (protocol: number) =>
  [Protocol.hopByHop, Protocol.routing, Protocol.destination, Protocol.ah, Protocol.fragment].some(
    (p) => p === protocol,
  );

function locate(packet: Buffer): Located {
  const version = (packet[0] ?? 0) >> 4 === 6 ? 6 : 4;
  if (version === 4) {
    const header = ((packet[0] ?? 0) & 15) * 4;
    const fragment = packet.readUInt16BE(6);
    return {
      version,
      source: packet.subarray(12, 16),
      destination: packet.subarray(16, 20),
      ttl: packet[8] ?? 0,
      protocol: packet[9] ?? 0,
      laterFragment: (fragment & 0x1fff) !== 0,
      anyFragment: (fragment & 0x3fff) !== 0,
      payload: packet.subarray(header, packet.readUInt16BE(2)),
    };
  }
  let at = 40;
  let protocol = packet[6] ?? 0;
  let laterFragment = false;
  let anyFragment = false;
  while (isExtension(protocol) && at + 8 <= packet.length && !laterFragment) {
    const next = packet[at] ?? 0;
    if (protocol === Protocol.fragment) {
      laterFragment = (packet.readUInt16BE(at + 2) & 0xfff8) !== 0;
      anyFragment ||= (packet.readUInt16BE(at + 2) & 0xfff9) !== 0;
      at += 8;
    } else at += protocol === Protocol.ah ? ((packet[at + 1] ?? 0) + 2) * 4 : ((packet[at + 1] ?? 0) + 1) * 8;
    protocol = next;
  }
  return {
    version,
    source: packet.subarray(8, 24),
    destination: packet.subarray(24, 40),
    ttl: packet[7] ?? 0,
    protocol,
    laterFragment,
    anyFragment,
    payload: packet.subarray(at, 40 + packet.readUInt16BE(4)),
  };
}

const isIcmp = (protocol: number) => protocol === Protocol.icmp || protocol === Protocol.icmp6;
const hasPorts = (protocol: number) =>
  protocol === Protocol.tcp || protocol === Protocol.udp || protocol === Protocol.sctp;

export function parseIp(packet: Buffer): ParsedIp {
  const found = locate(packet);
  const { payload, protocol } = found;
  const ports = hasPorts(protocol) && !found.laterFragment && payload.length >= 4;
  const messages = isIcmp(protocol) && !found.laterFragment && payload.length >= 8;
  const type = messages ? (payload[0] ?? 0) : null;
  const isError =
    type !== null && (protocol === Protocol.icmp6 ? type >= 1 && type <= 4 : [3, 4, 5, 11, 12].includes(type));
  const least = found.version === 6 ? 48 : 28;
  return {
    version: found.version,
    source: addressFromBytes(found.source).text,
    destination: addressFromBytes(found.destination).text,
    ttl: found.ttl,
    protocol,
    sourcePort: ports ? payload.readUInt16BE(0) : null,
    destinationPort: ports ? payload.readUInt16BE(2) : null,
    type,
    code: messages ? (payload[1] ?? 0) : null,
    payload,
    inner: isError && payload.length >= 8 + least ? parseIp(payload.subarray(8)) : null,
  };
}

/** Every checksum of the frame that is wrong, in words; of a fragment only the IPv4 header has one that can be verified. */
export function wrongChecksums(frame: Buffer): readonly string[] {
  const type = frame.readUInt16BE(12);
  if (type !== EtherType.ipv4 && type !== EtherType.ipv6) return [];
  return wrongIn(frame.subarray(14));
}

function wrongIn(packet: Buffer): readonly string[] {
  const found = locate(packet);
  const wrong: string[] = [];
  if (found.version === 4 && checksum(packet.subarray(0, ((packet[0] ?? 0) & 15) * 4)) !== 0) wrong.push("IPv4 header");
  if (found.anyFragment) return wrong;
  const { payload, protocol, source, destination } = found;
  const pseudo = pseudoHeader(source, destination, protocol, payload.length);
  if (protocol === Protocol.tcp && checksum(pseudo, payload) !== 0) wrong.push("TCP");
  if (protocol === Protocol.udp) {
    if (payload.readUInt16BE(6) === 0) {
      if (found.version === 6) wrong.push("UDP (none)"); // RFC 8200 8.1
    } else if (checksum(pseudo, payload) !== 0) wrong.push("UDP");
  }
  if (protocol === Protocol.sctp && payload.length >= 12 && crc32c(payload) !== payload.readUInt32LE(8))
    wrong.push("SCTP");
  if (protocol === Protocol.icmp && checksum(payload) !== 0) wrong.push("ICMP");
  if (protocol === Protocol.icmp6 && checksum(pseudo, payload) !== 0) wrong.push("ICMPv6");
  if (isIcmp(protocol)) {
    const type = payload[0] ?? 0;
    const isError = protocol === Protocol.icmp6 ? type >= 1 && type <= 4 : [3, 11, 12].includes(type);
    const inner = payload.subarray(8);
    if (
      isError &&
      found.version === 4 &&
      inner.length >= 20 &&
      checksum(inner.subarray(0, ((inner[0] ?? 0) & 15) * 4)) !== 0
    )
      wrong.push("IPv4 header inside of an ICMP error");
  }
  return wrong;
}
