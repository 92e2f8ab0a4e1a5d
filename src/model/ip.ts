/**
 * Addresses and prefixes of our own, so that a bare string never means one. An address is its bytes in network order plus
 * a canonical text (RFC 5952 for IPv6) that serves as a map key; equal addresses have equal text.
 */

export interface Address {
  readonly family: 4 | 6;
  /** Canonical text. */
  readonly text: string;
  /** 4 or 16 bytes, network order. Never written to. */
  readonly bytes: Uint8Array;
}

export interface Prefix {
  readonly family: 4 | 6;
  /** Canonical text with length, host bits zero. */
  readonly text: string;
  readonly address: Address;
  /** 0-32 or 0-128. */
  readonly length: number;
}

const ZERO = 48;
const NINE = 57;
const DOT = 46;
const COLON = 58;

/**
 * Reads four decimal octets of `text` from `start` to its end into `bytes` at `offset`. Leading zeros are refused: some
 * readers take them for octal, so that one text would mean two addresses.
 */
function readOctets(text: string, start: number, bytes: Uint8Array, offset: number): boolean {
  let octet = 0;
  let digits = 0;
  let index = 0;
  for (let position = start; position <= text.length; position++) {
    const code = position === text.length ? DOT : text.charCodeAt(position);
    if (code === DOT) {
      if (digits === 0 || index > 3) return false;
      bytes[offset + index++] = octet;
      octet = 0;
      digits = 0;
    } else if (code >= ZERO && code <= NINE) {
      if (digits > 0 && octet === 0) return false;
      octet = octet * 10 + code - ZERO;
      if (++digits > 3 || octet > 255) return false;
    } else return false;
  }
  return index === 4;
}

function hexDigit(code: number): number {
  if (code >= ZERO && code <= NINE) return code - ZERO;
  const lower = code | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

/** Groups of RFC 4291 section 2.2: eight, or fewer around one "::", the last two perhaps as a dotted quad. No zone. */
function readIpv6(text: string): Uint8Array | null {
  const bytes = new Uint8Array(16);
  let filled = 0;
  let gap = -1;
  let position = 0;
  if (text.startsWith("::")) {
    gap = 0;
    position = 2;
  }
  while (position < text.length) {
    if (filled >= 16) return null;
    let end = position;
    let group = 0;
    while (end < text.length && text.charCodeAt(end) !== COLON) {
      const code = text.charCodeAt(end);
      if (code === DOT) {
        if (filled > 12 || !readOctets(text, position, bytes, filled)) return null;
        return close(bytes, filled + 4, gap);
      }
      const digit = hexDigit(code);
      if (digit < 0 || end - position === 4) return null;
      group = (group << 4) | digit;
      end++;
    }
    if (end === position) return null;
    bytes[filled++] = group >> 8;
    bytes[filled++] = group & 255;
    if (end === text.length) break;
    position = end + 1;
    if (text.charCodeAt(position) === COLON) {
      if (gap >= 0) return null;
      gap = filled;
      position++;
    } else if (position === text.length) return null;
  }
  return close(bytes, filled, gap);
}

/** Moves what stands behind the "::" to the end. A "::" has to stand for at least one group. */
function close(bytes: Uint8Array, filled: number, gap: number): Uint8Array | null {
  if (gap < 0) return filled === 16 ? bytes : null;
  if (filled > 14) return null;
  bytes.copyWithin(16 - (filled - gap), gap, filled);
  bytes.fill(0, gap, 16 - (filled - gap));
  return bytes;
}

function formatIpv4(bytes: Uint8Array, offset: number): string {
  return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}`;
}

function isMapped(bytes: Uint8Array): boolean {
  for (let index = 0; index < 10; index++) if (bytes[index] !== 0) return false;
  return bytes[10] === 255 && bytes[11] === 255;
}

/** RFC 5952: lower case, the longest run of two or more zero groups (the first of equals) as "::", mapped ones dotted. */
function formatIpv6(bytes: Uint8Array): string {
  if (isMapped(bytes)) return `::ffff:${formatIpv4(bytes, 12)}`;
  const groups: number[] = [];
  for (let index = 0; index < 16; index += 2) groups.push(((bytes[index] ?? 0) << 8) | (bytes[index + 1] ?? 0));
  let best = -1;
  let bestLength = 1;
  for (let start = 0; start < 8; start++) {
    let end = start;
    while (end < 8 && groups[end] === 0) end++;
    if (end - start > bestLength) {
      best = start;
      bestLength = end - start;
    }
    if (end > start) start = end;
  }
  const text = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(":");
  if (best < 0) return text(groups);
  return `${text(groups.slice(0, best))}::${text(groups.slice(best + bestLength))}`;
}

/** Strict: no leading zeros, no zone, no surrounding space, no length. Returns null for what is not an address. */
export function parseAddress(text: string): Address | null {
  if (text.includes(":")) {
    const bytes = text.length <= 45 ? readIpv6(text) : null;
    return bytes === null ? null : { family: 6, text: formatIpv6(bytes), bytes };
  }
  const bytes = new Uint8Array(4);
  // The strict reader accepts canonical text only, so the text is its own canonical form.
  return readOctets(text, 0, bytes, 0) ? { family: 4, text, bytes } : null;
}

/** The address of 4 or 16 bytes in network order; they are copied. Throws a RangeError for any other number of bytes. */
export function addressFromBytes(bytes: Uint8Array): Address {
  const copy = new Uint8Array(bytes);
  if (copy.length === 4) return { family: 4, text: formatIpv4(copy, 0), bytes: copy };
  if (copy.length === 16) return { family: 6, text: formatIpv6(copy), bytes: copy };
  throw new RangeError(`an address has 4 or 16 bytes, not ${copy.length}`);
}

/** "address/length"; an address without a length is a prefix of one. Host bits may be set and are cleared. */
export function parsePrefix(text: string): Prefix | null {
  const slash = text.indexOf("/");
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (address === null) return null;
  const width = address.family === 4 ? 32 : 128;
  if (slash < 0) return makePrefix(address, width);
  const length = text.slice(slash + 1);
  if (!/^(0|[1-9][0-9]{0,2})$/.test(length) || Number(length) > width) return null;
  return makePrefix(address, Number(length));
}

/** Bits of the byte at `index` that belong to the network. */
function networkBits(index: number, length: number): number {
  return index < length >> 3 ? 255 : index === length >> 3 ? 255 & ~(255 >> (length & 7)) : 0;
}

function hasHostBits(bytes: Uint8Array, length: number): boolean {
  for (let index = length >> 3; index < bytes.length; index++) {
    if (((bytes[index] ?? 0) & ~networkBits(index, length)) !== 0) return true;
  }
  return false;
}

function networkAddress(bytes: Uint8Array, length: number): Address {
  return addressFromBytes(bytes.map((byte, index) => byte & networkBits(index, length)));
}

/** The prefix of `length` bits that holds the address. Throws a RangeError where the family has no such length. */
export function makePrefix(address: Address, length: number): Prefix {
  const width = address.bytes.length * 8;
  if (!Number.isInteger(length) || length < 0 || length > width) {
    throw new RangeError(`${length} is not a prefix length of ${address.text} (0-${width})`);
  }
  const base = hasHostBits(address.bytes, length) ? networkAddress(address.bytes, length) : address;
  return { family: address.family, text: `${base.text}/${length}`, address: base, length };
}

function sharesBits(left: Uint8Array, right: Uint8Array, length: number): boolean {
  const whole = length >> 3;
  for (let index = 0; index < whole; index++) if (left[index] !== right[index]) return false;
  const rest = length & 7;
  if (rest === 0) return true;
  return (((left[whole] ?? 0) ^ (right[whole] ?? 0)) & (255 & ~(255 >> rest))) === 0;
}

/** An address of the other family is never inside, mapped or not. */
export function prefixContains(prefix: Prefix, address: Address): boolean {
  return prefix.family === address.family && sharesBits(prefix.address.bytes, address.bytes, prefix.length);
}

/** True also when both are equal. */
export function prefixContainsPrefix(outer: Prefix, inner: Prefix): boolean {
  return outer.length <= inner.length && prefixContains(outer, inner.address);
}

/** 16 bytes for the kernel's maps: IPv6 as it is, IPv4 as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2). A fresh array. */
export function toMappedBytes(address: Address): Uint8Array {
  if (address.family === 6) return Uint8Array.from(address.bytes);
  const bytes = new Uint8Array(16);
  bytes[10] = 255;
  bytes[11] = 255;
  bytes.set(address.bytes, 12);
  return bytes;
}

/** The inverse of `toMappedBytes`: mapped bytes are an IPv4 address. Throws a RangeError unless given 16 bytes. */
export function fromMappedBytes(bytes: Uint8Array): Address {
  if (bytes.length !== 16) throw new RangeError(`a mapped address has 16 bytes, not ${bytes.length}`);
  return addressFromBytes(isMapped(bytes) ? bytes.subarray(12) : bytes);
}

/** By family, then by bytes: negative, zero or positive. */
export function compareAddresses(left: Address, right: Address): number {
  if (left.family !== right.family) return left.family - right.family;
  for (let index = 0; index < left.bytes.length; index++) {
    const difference = (left.bytes[index] ?? 0) - (right.bytes[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** By address, then shorter prefixes first, so that a prefix comes before all that it contains. */
export function comparePrefixes(left: Prefix, right: Prefix): number {
  return compareAddresses(left.address, right.address) || left.length - right.length;
}
