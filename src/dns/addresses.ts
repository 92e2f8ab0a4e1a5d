/** What a response says about the name that was asked for, and nothing else that somebody put into it. */
import type { Address } from "../model/ip.ts";
import type { Response } from "./message.ts";

export interface NameAddress {
  readonly address: Address;
  /** Seconds that it holds: no longer than the aliases that lead to it. */
  readonly ttl: number;
}

/** Aliases of aliases that are followed. */
const mostAliases = 16;

/**
 * Addresses of the name in the question: of its own records, or of those of the name that its aliases lead to. Records of other names
 * do not count, whoever they are: a server must not speak for names that it was not asked about.
 */
export function addressesOf({ question, answers }: Response): readonly NameAddress[] {
  let name = question.name;
  let ttl = Number.POSITIVE_INFINITY;
  const seen = new Set<string>();
  for (;;) {
    const found = answers.flatMap((record): readonly NameAddress[] =>
      record.name === name && record.type === question.type && record.data.kind === "address"
        ? [{ address: record.data.address, ttl: Math.min(ttl, record.ttl) }]
        : [],
    );
    if (found.length > 0) return found;
    seen.add(name);
    const alias = answers.find((record) => record.name === name && record.data.kind === "alias");
    if (alias?.data.kind !== "alias" || seen.has(alias.data.target) || seen.size > mostAliases) return [];
    ttl = Math.min(ttl, alias.ttl);
    name = alias.data.target;
  }
}

/** Whether a name may give it to a pod at all: not "this host", "this network", nobody in particular, or many at once (RFC 6890). */
export function isReachable({ family, bytes }: Address): boolean {
  const [first = 0] = bytes;
  if (family === 4) return first !== 0 && first !== 127 && first < 224;
  const isSmall = bytes.subarray(0, 10).every((byte) => byte === 0);
  // ::, ::1, and IPv4 addresses in another dress.
  return first !== 255 && !isSmall;
}
