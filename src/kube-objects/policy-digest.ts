/**
 * A set of policies, each at its generation, in 128 bits: the sum, modulo 2^128, of the hash of each. It does not depend on an order, and a policy
 * that comes, goes or changes costs one hash, whatever the number of the others.
 *
 * Two sets with one digest would make a status say too early that a policy is enforced, and nothing else: no kernel goes by it. By chance
 * that is one in 2^128; who wanted to bring it about would have to choose uids, which the API server does.
 */
import { createHash } from "node:crypto";

const digits = 32;
const modulus = 1n << 128n;
const pattern = /^[0-9a-f]{32}$/;

/** One policy at one generation. */
export interface PolicyVersion {
  readonly uid: string;
  readonly generation: number;
}

export class PolicyDigest {
  #sum = 0n;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** 32 hexadecimal digits; zeros for none. */
  get text(): string {
    return this.#sum.toString(16).padStart(digits, "0");
  }

  add(policy: PolicyVersion): void {
    this.#sum = (this.#sum + hashOf(policy)) % modulus;
    this.#count++;
  }

  /** One that is in it. */
  remove(policy: PolicyVersion): void {
    this.#sum = (this.#sum - hashOf(policy) + modulus) % modulus;
    this.#count--;
  }
}

export function isDigest(value: unknown): value is string {
  return typeof value === "string" && pattern.test(value);
}

function hashOf({ uid, generation }: PolicyVersion): bigint {
  const hex = createHash("sha256").update(`${uid}/${generation}`).digest("hex").slice(0, digits);
  return BigInt(`0x${hex}`);
}
