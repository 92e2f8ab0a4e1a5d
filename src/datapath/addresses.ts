/** Addresses as the kernel's records have them: numbers for IPv4, sixteen bytes for both families together. */
import { type Address, addressFromBytes } from "../model/ip.ts";

/** An IPv4 address as a number; 0 for none. */
export function addressNumber(address: Address | null): number {
  if (address === null) return 0;
  // By index: taking them apart as a list costs several times as much, and this is done for each of thousands of prefixes.
  const { bytes } = address;
  const octet = (at: number) => bytes[at] ?? 0;
  return ((octet(0) << 24) | (octet(1) << 16) | (octet(2) << 8) | octet(3)) >>> 0;
}

export function addressOfNumber(number: number): Address {
  return addressFromBytes(Uint8Array.of(number >>> 24, (number >>> 16) & 255, (number >>> 8) & 255, number & 255));
}

/** "aa:bb:cc:dd:ee:ff" as six bytes. */
export function macBytes(text: string): Uint8Array {
  return Uint8Array.from(text.split(":"), (part) => Number.parseInt(part, 16));
}
