/** Addresses as the kernel's records have them: numbers for IPv4, sixteen bytes for both families together. */
import { type Address, addressFromBytes } from "../model/ip.ts";

/** An IPv4 address as a number; 0 for none. */
export function addressNumber(address: Address | null): number {
  if (address === null) return 0;
  const [a = 0, b = 0, c = 0, d = 0] = address.bytes;
  return ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
}

export function addressOfNumber(number: number): Address {
  return addressFromBytes(Uint8Array.of(number >>> 24, (number >>> 16) & 255, (number >>> 8) & 255, number & 255));
}

/** "aa:bb:cc:dd:ee:ff" as six bytes. */
export function macBytes(text: string): Uint8Array {
  return Uint8Array.from(text.split(":"), (part) => Number.parseInt(part, 16));
}
