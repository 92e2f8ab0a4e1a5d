/**
 * Builds packets byte by byte, with right checksums unless a test asks for a wrong one. A frame is Ethernet around IP around a
 * transport; each part is a plain value, so that tables of packets read as what they are about.
 */
import { parseAddress } from "../../src/model/ip.ts";

export const Protocol = {
  hopByHop: 0,
  icmp: 1,
  tcp: 6,
  udp: 17,
  routing: 43,
  fragment: 44,
  esp: 50,
  ah: 51,
  icmp6: 58,
  noNext: 59,
  destination: 60,
  sctp: 132,
} as const;
export const EtherType = { ipv4: 0x0800, arp: 0x0806, vlan: 0x8100, ipv6: 0x86dd, lldp: 0x88cc } as const;

/** What stands behind the IP headers; `bytes` gets the addresses for the pseudo header (RFC 9293 3.1, RFC 8200 8.1). */
export interface Transport {
  readonly protocol: number;
  bytes(source: Uint8Array, destination: Uint8Array): Buffer;
}

/** An IPv6 extension header, or an IPv4 option block is `options` below. `bytes` begins with the next header, which is filled in. */
export interface Extension {
  readonly protocol: number;
  readonly bytes: Buffer;
}

export interface IpOptions {
  readonly ttl?: number;
  /** IPv4 identification, or that of the IPv6 fragment header. */
  readonly id?: number;
  /** This packet is the part of the datagram from `offset` on, `length` bytes (multiples of 8 but for the last). */
  readonly part?: { readonly offset: number; readonly length: number };
  /** IPv4 options, a multiple of 4 bytes. */
  readonly options?: Buffer;
  /** IPv6 extension headers, before the fragment header. */
  readonly extensions?: readonly Extension[];
  /** IPv6 extension headers inside of the fragmentable part. */
  readonly innerExtensions?: readonly Extension[];
  /** Type of service, or traffic class. */
  readonly tos?: number;
  /** Total length (IPv4) or payload length (IPv6) as the header tells it, where it is to lie. */
  readonly claimedLength?: number;
  /** First header byte (version and IPv4 header length), where it is to lie. */
  readonly firstByte?: number;
}

export function bytesOf(text: string): Uint8Array {
  const address = parseAddress(text);
  if (address === null) throw new Error(`${text} is not an address`);
  return address.bytes;
}

export const isIpv6 = (text: string): boolean => text.includes(":");
export const mac = (text: string): Buffer => Buffer.from(text.replaceAll(":", ""), "hex");

/** RFC 1071 over the parts laid end to end (each of even length but the last). */
export function checksum(...parts: readonly Uint8Array[]): number {
  let sum = 0;
  for (const part of parts) {
    for (let i = 0; i < part.length; i += 2) sum += ((part[i] ?? 0) << 8) | (part[i + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

export function pseudoHeader(source: Uint8Array, destination: Uint8Array, protocol: number, length: number): Buffer {
  const tail = Buffer.alloc(source.length === 4 ? 4 : 8);
  if (source.length === 4) tail.writeUInt16BE(length, 2);
  else tail.writeUInt32BE(length, 0);
  tail[source.length === 4 ? 1 : 7] = protocol;
  return Buffer.concat([source, destination, tail]);
}

export type TcpFlags = string;

/** `flags`: letters of F S R P A U. */
export function tcp(
  sourcePort: number,
  destinationPort: number,
  flags: TcpFlags,
  options: { readonly data?: Buffer; readonly headerWords?: number; readonly checksum?: number } = {},
): Transport {
  return {
    protocol: Protocol.tcp,
    bytes(source, destination) {
      const header = Buffer.alloc(20);
      header.writeUInt16BE(sourcePort, 0);
      header.writeUInt16BE(destinationPort, 2);
      header.writeUInt32BE(1000, 4);
      header.writeUInt32BE(flags.includes("A") ? 2000 : 0, 8);
      header[12] = (options.headerWords ?? 5) << 4;
      header[13] = [..."FSRPAU"].reduce((bits, letter, i) => bits | (flags.includes(letter) ? 1 << i : 0), 0);
      header.writeUInt16BE(8192, 14);
      const data = options.data ?? Buffer.alloc(0);
      const pseudo = pseudoHeader(source, destination, Protocol.tcp, 20 + data.length);
      header.writeUInt16BE(options.checksum ?? checksum(pseudo, header, data), 16);
      return Buffer.concat([header, data]);
    },
  };
}

/** `checksum: 0`: none, as IPv4 allows. */
export function udp(
  sourcePort: number,
  destinationPort: number,
  options: { readonly data?: Buffer; readonly checksum?: number } = {},
): Transport {
  return {
    protocol: Protocol.udp,
    bytes(source, destination) {
      const data = options.data ?? Buffer.from("question");
      const header = Buffer.alloc(8);
      header.writeUInt16BE(sourcePort, 0);
      header.writeUInt16BE(destinationPort, 2);
      header.writeUInt16BE(8 + data.length, 4);
      const sum = checksum(pseudoHeader(source, destination, Protocol.udp, 8 + data.length), header, data);
      header.writeUInt16BE(options.checksum ?? (sum || 0xffff), 6);
      return Buffer.concat([header, data]);
    },
  };
}

/** RFC 9260 appendix A, bit by bit: of the bytes with their checksum's field (8-11) as zero. */
export function crc32c(packet: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const [at, byte] of packet.entries()) {
    crc ^= at >= 8 && at < 12 ? 0 : byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f6_3b78 : 0);
  }
  return ~crc >>> 0;
}

/** The common header (RFC 9260 3.1) and an INIT, with `more` bytes behind. */
export function sctp(sourcePort: number, destinationPort: number, more = 0): Transport {
  return {
    protocol: Protocol.sctp,
    bytes() {
      const header = Buffer.alloc(32 + more, 0x5a);
      header.fill(0, 0, 32);
      header.writeUInt16BE(sourcePort, 0);
      header.writeUInt16BE(destinationPort, 2);
      header.writeUInt32BE(0x12345678, 4);
      header[12] = 1; // INIT
      header.writeUInt16BE(20 + more, 14);
      header.writeUInt32LE(crc32c(header), 8);
      return header;
    },
  };
}

/** ICMP where the addresses are IPv4, ICMPv6 where they are IPv6 (types differ: the caller gives the right one). */
function icmpLike(protocol: number, type: number, code: number, rest: number, data: Buffer): Transport {
  return {
    protocol,
    bytes(source, destination) {
      const header = Buffer.alloc(8);
      header[0] = type;
      header[1] = code;
      header.writeUInt32BE(rest >>> 0, 4);
      const pseudo =
        protocol === Protocol.icmp6 ? pseudoHeader(source, destination, protocol, 8 + data.length) : Buffer.alloc(0);
      header.writeUInt16BE(checksum(pseudo, header, data), 2);
      return Buffer.concat([header, data]);
    },
  };
}

export const icmp = (type: number, code: number, rest = 0, data = Buffer.alloc(0)): Transport =>
  icmpLike(Protocol.icmp, type, code, rest, data);
export const icmp6 = (type: number, code: number, rest = 0, data = Buffer.alloc(0)): Transport =>
  icmpLike(Protocol.icmp6, type, code, rest, data);

/** Echo of the family that `like` has. */
export function echo(like: string, kind: "request" | "reply", id: number): Transport {
  const rest = id * 65536 + 1;
  const data = Buffer.from("ping");
  return isIpv6(like)
    ? icmp6(kind === "request" ? 128 : 129, 0, rest, data)
    : icmp(kind === "request" ? 8 : 0, 0, rest, data);
}

/** An error about `packet` (IP header on), of which at most `keep` bytes are carried. */
export function icmpError(
  what: "unreachable" | "port" | "tooBig" | "expired",
  packet: Buffer,
  options: { readonly mtu?: number; readonly keep?: number } = {},
): Transport {
  const v6 = (packet[0] ?? 0) >> 4 === 6;
  const carried = packet.subarray(0, options.keep ?? (v6 ? 1232 : 548));
  const mtu = options.mtu ?? 1400;
  const [type, code, rest] = v6
    ? { unreachable: [1, 0, 0], port: [1, 4, 0], tooBig: [2, 0, mtu], expired: [3, 0, 0] }[what]
    : { unreachable: [3, 1, 0], port: [3, 3, 0], tooBig: [3, 4, mtu], expired: [11, 0, 0] }[what];
  return icmpLike(v6 ? Protocol.icmp6 : Protocol.icmp, type ?? 0, code ?? 0, rest ?? 0, carried);
}

/** A protocol without ports. */
export const raw = (protocol: number, data = Buffer.alloc(16)): Transport => ({ protocol, bytes: () => data });

/** RFC 4861 4.3, 4.4: neighbour solicitation (135) and advertisement (136) about `target`. */
export function neighbour(type: 135 | 136, target: string): Transport {
  return icmp6(type, 0, type === 136 ? 0x60000000 : 0, Buffer.from(bytesOf(target)));
}

/** Extension headers of `words` * 8 bytes behind the first 8 (AH: * 4). */
export const extension = (protocol: number, words = 0): Extension => {
  const size = protocol === Protocol.ah ? (words + 2) * 4 : (words + 1) * 8;
  const bytes = Buffer.alloc(size);
  bytes[1] = words;
  if (protocol === Protocol.hopByHop || protocol === Protocol.destination) {
    bytes[2] = 1; // PadN over the rest
    bytes[3] = Math.min(size - 4, 255);
  }
  return { protocol, bytes };
};

function chain(extensions: readonly Extension[], last: number): { readonly first: number; readonly bytes: Buffer } {
  const all = extensions.map(({ bytes }, i) => {
    const copy = Buffer.from(bytes);
    copy[0] = extensions[i + 1]?.protocol ?? last;
    return copy;
  });
  return { first: extensions[0]?.protocol ?? last, bytes: Buffer.concat(all) };
}

/** An IPv4 or IPv6 packet, from the IP header on. */
export function ip(source: string, destination: string, transport: Transport, options: IpOptions = {}): Buffer {
  const from = bytesOf(source);
  const to = bytesOf(destination);
  return from.length === 4 ? ipv4(from, to, transport, options) : ipv6(from, to, transport, options);
}

function ipv4(from: Uint8Array, to: Uint8Array, transport: Transport, options: IpOptions): Buffer {
  const whole = transport.bytes(from, to);
  const { offset, length } = options.part ?? { offset: 0, length: whole.length };
  const payload = whole.subarray(offset, offset + length);
  const more = offset + length < whole.length;
  const extra = options.options ?? Buffer.alloc(0);
  const header = Buffer.concat([Buffer.alloc(20), extra]);
  header[0] = options.firstByte ?? 0x40 | (header.length / 4);
  header[1] = options.tos ?? 0;
  header.writeUInt16BE(options.claimedLength ?? header.length + payload.length, 2);
  header.writeUInt16BE(options.id ?? 0x1234, 4);
  header.writeUInt16BE((more ? 0x2000 : 0) | (offset / 8), 6);
  header[8] = options.ttl ?? 64;
  header[9] = transport.protocol;
  header.set(from, 12);
  header.set(to, 16);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, payload]);
}

function ipv6(from: Uint8Array, to: Uint8Array, transport: Transport, options: IpOptions): Buffer {
  const inner = chain(options.innerExtensions ?? [], transport.protocol);
  const whole = Buffer.concat([inner.bytes, transport.bytes(from, to)]);
  const { offset, length } = options.part ?? { offset: 0, length: whole.length };
  const extensions = [...(options.extensions ?? [])];
  if (options.part !== undefined) {
    const bytes = Buffer.alloc(8);
    bytes.writeUInt16BE(offset | (offset + length < whole.length ? 1 : 0), 2);
    bytes.writeUInt32BE(options.id ?? 0x1234, 4);
    extensions.push({ protocol: Protocol.fragment, bytes });
  }
  const outer = chain(extensions, inner.first);
  const payload = Buffer.concat([outer.bytes, whole.subarray(offset, offset + length)]);
  const header = Buffer.alloc(40);
  header.writeUInt32BE(0x60000000 | ((options.tos ?? 0) << 20), 0);
  if (options.firstByte !== undefined) header[0] = options.firstByte;
  header.writeUInt16BE(options.claimedLength ?? payload.length, 4);
  header[6] = outer.first;
  header[7] = options.ttl ?? 64;
  header.set(from, 8);
  header.set(to, 24);
  return Buffer.concat([header, payload]);
}

export interface Macs {
  readonly source: Buffer;
  readonly destination: Buffer;
}

export function ethernet(macs: Macs, type: number, payload: Buffer): Buffer {
  const header = Buffer.concat([macs.destination, macs.source, Buffer.alloc(2)]);
  header.writeUInt16BE(type, 12);
  return Buffer.concat([header, payload]);
}

/** A whole frame; the EtherType follows the family. */
export function frame(
  macs: Macs,
  source: string,
  destination: string,
  transport: Transport,
  options?: IpOptions,
): Buffer {
  const packet = ip(source, destination, transport, options);
  return ethernet(macs, isIpv6(source) ? EtherType.ipv6 : EtherType.ipv4, packet);
}

/** RFC 826. */
export function arp(
  macs: Macs,
  options: {
    readonly operation: "request" | "reply";
    readonly senderMac: Buffer;
    readonly sender: string;
    readonly target: string;
  },
): Buffer {
  const header = Buffer.from([0, 1, 8, 0, 6, 4, 0, options.operation === "request" ? 1 : 2]);
  const body = [header, options.senderMac, bytesOf(options.sender), Buffer.alloc(6), bytesOf(options.target)];
  return ethernet(macs, EtherType.arp, Buffer.concat(body));
}
