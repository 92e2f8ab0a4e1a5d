/** Which addresses pods say are theirs, by address and by pod, kept over time. */
import { put, take } from "../../lib/sorted.ts";
import type { Address } from "../../model/ip.ts";
import { compareText } from "../../model/labels.ts";
import type { Problem } from "../../model/status.ts";
import type { LocalEndpointRow } from "../../model/tables.ts";
import { podAddressDiffers } from "./address-problems.ts";
import type { NodeAddresses } from "./node-addresses.ts";
import type { PodFact } from "./pods.ts";

export interface Claim {
  readonly address: Address;
  readonly fact: PodFact;
  /** Lower wins: what the CNI gave, an address of its node's pod CIDRs, any other. */
  readonly rank: 0 | 1 | 2;
}

export interface PodClaims {
  /** Each address once. */
  readonly claims: readonly Claim[];
  readonly problems: readonly Problem[];
}

const none: PodClaims = { claims: [], problems: [] };

/**
 * What the CNI gave counts before what the Pod object says: the object may lag behind.
 * @param endpoints those of this node that are the pod's
 */
export function claimsOf(fact: PodFact, endpoints: readonly LocalEndpointRow[], nodes: NodeAddresses): PodClaims {
  const claims = new Map<string, Claim>();
  if (endpoints.length === 0) {
    for (const address of fact.row.addresses) {
      const rank = nodes.isInPodCidrsOf(fact.row.node, address) ? 1 : 2;
      claims.set(address.text, { address, fact, rank });
    }
    return { claims: [...claims.values()], problems: none.problems };
  }
  for (const address of endpoints.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6])) {
    if (address !== null) claims.set(address.text, { address, fact, rank: 0 });
  }
  const others = fact.row.addresses.filter(({ text }) => !claims.has(text));
  const problems = others.map((address) => podAddressDiffers(fact.key, address, claims.keys()));
  return { claims: [...claims.values()], problems };
}

export class ClaimTable {
  readonly #ofPod = new Map<string, PodClaims>();
  /** The winner comes first. */
  readonly #ofAddress = new Map<string, Claim[]>();

  /** @returns texts of the addresses whose claims became others */
  replace(pod: string, after: PodClaims | null): Iterable<string> {
    const before = this.#ofPod.get(pod) ?? none;
    if (after === null) this.#ofPod.delete(pod);
    else this.#ofPod.set(pod, after);
    const concerned = new Set<string>();
    for (const claim of before.claims) {
      concerned.add(claim.address.text);
      const claims = this.#ofAddress.get(claim.address.text) ?? [];
      take(claims, (each) => compareClaims(each, claim));
      if (claims.length === 0) this.#ofAddress.delete(claim.address.text);
    }
    for (const claim of after?.claims ?? []) {
      concerned.add(claim.address.text);
      const claims = this.#ofAddress.get(claim.address.text);
      if (claims === undefined) this.#ofAddress.set(claim.address.text, [claim]);
      else put(claims, claim, compareClaims);
    }
    return concerned;
  }

  ofPod(pod: string): PodClaims {
    return this.#ofPod.get(pod) ?? none;
  }

  ofAddress(text: string): readonly Claim[] {
    return this.#ofAddress.get(text) ?? none.claims;
  }
}

function compareClaims(left: Claim, right: Claim): number {
  return left.rank - right.rank || compareText(left.fact.key, right.fact.key);
}
