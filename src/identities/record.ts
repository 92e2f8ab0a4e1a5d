/** What allocators have in common: which numbers they give, and how those in use are written down, so that they outlive the agent. */
import type { IdentityAllocator } from "../compute/result.ts";

/** Both ends belong to it. */
export interface NumberRange {
  readonly first: number;
  readonly last: number;
}

/** Numbers below are reserved (Cilium's); 16 bits, as the upper 8 of an identity are the cluster's. */
export const localNumbers: NumberRange = { first: 256, last: 65_535 };

/** @param clusterId 0-255 */
export function clusterNumbers(clusterId: number, { first, last } = localNumbers): NumberRange {
  return { first: (clusterId << 16) | first, last: (clusterId << 16) | last };
}

export function isWithin({ first, last }: NumberRange, number: number): boolean {
  return Number.isInteger(number) && number >= first && number <= last;
}

/** As it is written down; `free` is ordered, longest free first. */
export interface IdentityRecord {
  readonly version: 1;
  readonly numbers: Readonly<Record<string, number>>;
  readonly free: readonly string[];
}

/** Number -> what it stands for, as `numberFor` was asked for it. */
export type NumbersInUse = ReadonlyMap<number, { readonly key: string }>;

/** An allocator whose numbers survive the agent. After each computation: `retain`, write down what is unwritten, then use the numbers. */
export interface RecordedAllocator extends IdentityAllocator {
  /** Says which numbers are in use now: the others are not needed from here on. */
  retain(used: NumbersInUse): void;
  /** What has to be written down before the kernel may learn of new numbers; null if nothing changed since it last was. */
  unwritten(): IdentityRecord | null;
  /** What `unwritten` gave is written down. */
  written(): void;
}

/** @returns null for what is not such a record (an empty or foreign file, numbers of another cluster) */
export function parseIdentityRecord(text: string, range: NumberRange = localNumbers): IdentityRecord | null {
  try {
    const value = JSON.parse(text) as Partial<IdentityRecord> | null;
    if (value?.version !== 1 || typeof value.numbers !== "object" || !Array.isArray(value.free)) return null;
    const numbers = Object.values(value.numbers ?? {});
    const valid = numbers.every((number) => isWithin(range, number));
    return valid && new Set(numbers).size === numbers.length ? (value as IdentityRecord) : null;
  } catch {
    return null;
  }
}
