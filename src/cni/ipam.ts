/**
 * Host-scope address management: this node's pods get addresses of its pod CIDRs. The addresses in use are those of the
 * endpoint files, told by `claim` at start, so there is no second record that could disagree. The first and last
 * address of a CIDR and its gateway (.1) are never given. Next-fit, so that an address rests as long as possible before
 * another pod gets it: peers may still hold connections, caches and policies of its last owner.
 */
import { type Address, addressFromBytes, type Prefix, prefixContains } from "../model/ip.ts";
import { CniError, cniCodes } from "./errors.ts";

export interface PodAddresses {
  readonly ipv4: Address | null;
  readonly ipv6: Address | null;
}

export interface AddressUsage {
  readonly family: 4 | 6;
  readonly podCidr: string;
  readonly used: number;
  /** Addresses that can be given, at most 2^53-1. */
  readonly size: number;
}

export class AddressPools {
  readonly #podCidrs: () => readonly Prefix[];
  /** Address text -> holder ("namespace/pod"). */
  readonly #holders = new Map<string, { readonly address: Address; readonly pod: string }>();
  /** Prefix text -> offset that was given last. */
  readonly #cursors = new Map<string, bigint>();

  /** `podCidrs` is asked at each allocation: a node may get its CIDRs late, or another one. */
  constructor(podCidrs: () => readonly Prefix[]) {
    this.#podCidrs = podCidrs;
  }

  /**
   * Gives one address of each family of `families` that the node has a CIDR for, or nothing at all.
   * Throws CniError: in use (with the holder), refused, exhausted, no pod CIDR.
   */
  allocate(pod: string, families: readonly (4 | 6)[], requested: readonly Address[]): PodAddresses {
    const cidrs = this.#podCidrs().filter((cidr) => families.includes(cidr.family));
    if (cidrs.length === 0) {
      throw new CniError({
        code: "CNI_NO_POD_CIDR",
        cniCode: cniCodes.tryAgainLater,
        object: `Pod ${pod}`,
        message: "this node has no pod CIDR yet",
        remedy: "give the Node object spec.podCIDRs",
      });
    }
    for (const address of requested) this.#checkRequested(pod, address, cidrs);
    const given: PodAddresses = {
      ipv4: this.#choose(pod, 4, requested, cidrs),
      ipv6: this.#choose(pod, 6, requested, cidrs),
    };
    for (const address of [given.ipv4, given.ipv6]) if (address !== null) this.claim(address, pod);
    return given;
  }

  /** Marks an address as held, whatever CIDR it is of: what a pod has is a fact. Returns another holder, null if none. */
  claim(address: Address, pod: string): string | null {
    const holder = this.#holders.get(address.text);
    if (holder !== undefined && holder.pod !== pod) return holder.pod;
    this.#holders.set(address.text, { address, pod });
    const cidr = this.#podCidrs().find((one) => prefixContains(one, address));
    if (cidr !== undefined) this.#cursors.set(cidr.text, toNumber(address) - toNumber(cidr.address));
    return null;
  }

  release(addresses: PodAddresses): void {
    for (const address of [addresses.ipv4, addresses.ipv6]) if (address !== null) this.#holders.delete(address.text);
  }

  usage(): readonly AddressUsage[] {
    const held = [...this.#holders.values()];
    return this.#podCidrs().map((cidr) => {
      const size = capacity(cidr);
      return {
        family: cidr.family,
        podCidr: cidr.text,
        used: held.filter(({ address }) => prefixContains(cidr, address)).length,
        size: size > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(size),
      };
    });
  }

  #checkRequested(pod: string, address: Address, cidrs: readonly Prefix[]): void {
    const object = `Pod ${pod}`;
    const cidr = cidrs.find((one) => prefixContains(one, address));
    if (cidr === undefined) {
      throw new CniError({
        code: "CNI_ADDRESS_OUTSIDE",
        cniCode: cniCodes.addressRefused,
        object,
        message: `the requested address ${address.text} is outside of this node's pod CIDRs (${list(cidrs)})`,
        remedy: "request an address of this node's CIDRs, or none",
      });
    }
    if (isReserved(cidr, toNumber(address) - toNumber(cidr.address))) {
      throw new CniError({
        code: "CNI_ADDRESS_RESERVED",
        cniCode: cniCodes.addressRefused,
        object,
        message: `the requested address ${address.text} is reserved (first, gateway or last of ${cidr.text})`,
        remedy: "request another address",
      });
    }
    const holder = this.#holders.get(address.text);
    if (holder !== undefined) {
      throw new CniError({
        code: "CNI_ADDRESS_IN_USE",
        cniCode: cniCodes.addressInUse,
        object,
        message: `the requested address ${address.text} is in use by pod ${holder.pod}`,
        remedy: `delete pod ${holder.pod} or request another address`,
      });
    }
  }

  #choose(pod: string, family: 4 | 6, requested: readonly Address[], cidrs: readonly Prefix[]): Address | null {
    const ofFamily = cidrs.filter((cidr) => cidr.family === family);
    if (ofFamily.length === 0) return null;
    const wanted = requested.find((address) => address.family === family);
    if (wanted !== undefined) return wanted;
    for (const cidr of ofFamily) {
      const address = this.#next(cidr);
      if (address !== null) return address;
    }
    throw new CniError({
      code: "CNI_POOL_EXHAUSTED",
      cniCode: cniCodes.exhausted,
      object: `Pod ${pod}`,
      message: `no free IPv${family} address is left in ${list(ofFamily)}`,
      remedy: "remove pods from this node or give it a larger pod CIDR",
    });
  }

  #next(cidr: Prefix): Address | null {
    const span = 1n << BigInt((cidr.family === 4 ? 32 : 128) - cidr.length);
    const base = toNumber(cidr.address);
    const cursor = this.#cursors.get(cidr.text) ?? this.#newest(cidr, base);
    // Among this many consecutive candidates one is free, unless all are taken: each holder or reserved address takes one.
    const steps = Math.min(Number(span), this.#holders.size + 4);
    for (let step = 1n; step <= BigInt(steps); step++) {
      const offset = (cursor + step) % span;
      if (isReserved(cidr, offset)) continue;
      const address = fromNumber(cidr.family, base + offset);
      if (!this.#holders.has(address.text)) return address;
    }
    return null;
  }

  /** Where to go on in a CIDR that became known after the addresses were claimed: an agent restores before it sees its Node. */
  #newest(cidr: Prefix, base: bigint): bigint {
    const inside = [...this.#holders.values()].filter(({ address }) => prefixContains(cidr, address));
    const last = inside.at(-1);
    return last === undefined ? 0n : toNumber(last.address) - base;
  }
}

function isReserved(cidr: Prefix, offset: bigint): boolean {
  const span = 1n << BigInt((cidr.family === 4 ? 32 : 128) - cidr.length);
  return offset === 0n || offset === 1n || offset === span - 1n;
}

function capacity(cidr: Prefix): bigint {
  const span = 1n << BigInt((cidr.family === 4 ? 32 : 128) - cidr.length);
  return span > 3n ? span - 3n : 0n;
}

function toNumber(address: Address): bigint {
  return address.bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
}

function fromNumber(family: 4 | 6, value: bigint): Address {
  const bytes = new Uint8Array(family === 4 ? 4 : 16);
  let rest = value;
  for (let i = bytes.length - 1; i >= 0; i--, rest >>= 8n) bytes[i] = Number(rest & 0xffn);
  return addressFromBytes(bytes);
}

function list(cidrs: readonly Prefix[]): string {
  return cidrs.map((cidr) => cidr.text).join(", ");
}
