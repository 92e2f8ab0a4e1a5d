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
