/**
 * The outside in as few parts as policies can tell apart: a part for each prefix that a rule names, without the longer ones inside of it,
 * and the rest. Each has an address that stands for it.
 */
import {
  type Address,
  addressFromBytes,
  comparePrefixes,
  parsePrefix,
  type Prefix,
  prefixContains,
} from "../../model/ip.ts";
import type { OfflineCluster } from "./cluster.ts";
import { setsInUse } from "./sets-in-use.ts";

export interface OutsidePart {
  /** "198.18.0.0/16", "0.0.0.0/0". */
  readonly prefix: Prefix;
  readonly address: Address;
}

const everywhere = ["0.0.0.0/0", "::/0"].flatMap((text) => parsePrefix(text) ?? []);

/** Parts that these clusters' rules tell apart. An address that is inside of one of the clusters stands for nobody outside. */
export function outsideParts(clusters: readonly OfflineCluster[]): readonly OutsidePart[] {
  const sets = clusters.flatMap(setsInUse);
  const named = new Map(everywhere.map((prefix) => [prefix.text, prefix]));
  for (const { egress, ingress } of sets) {
    for (const { prefix } of [...egress.prefixes, ...ingress.prefixes]) named.set(prefix.text, prefix);
  }
  const prefixes = [...named.values()].sort(comparePrefixes);
  const inside = clusters.flatMap(({ result }) => result.desired.clusterPrefixes);
  return prefixes.flatMap((prefix): readonly OutsidePart[] => {
    const longer = prefixes.filter((other) => other.length > prefix.length && prefixContains(prefix, other.address));
    const address = freeAddress(prefix, [...longer, ...inside], clusters);
    return address === null ? [] : [{ prefix, address }];
  });
}

/** The first address of the prefix that is in none of `taken` and that nobody of the clusters has. */
function freeAddress(prefix: Prefix, taken: readonly Prefix[], clusters: readonly OfflineCluster[]): Address | null {
  let address: Address | null = firstTry(prefix);
  // Each step leaves a taken prefix or somebody's address behind for good.
  while (address !== null && prefixContains(prefix, address)) {
    const current: Address = address;
    const [around] = taken.filter((each) => prefixContains(each, current)).sort((a, b) => a.length - b.length);
    if (around !== undefined) address = following(around.address, around.length);
    else if (clusters.every((cluster) => cluster.partyAt(current).kind === "outside")) return current;
    else address = following(current, current.bytes.length * 8);
  }
  return null;
}

/** Not the network's own address, where there is another. */
function firstTry({ address, length }: Prefix): Address {
  if (length >= address.bytes.length * 8 - 1) return address;
  const bytes = Uint8Array.from(address.bytes);
  bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) | 1;
  return addressFromBytes(bytes);
}

/** The address behind a prefix; null behind the last one. */
function following(address: Address, length: number): Address | null {
  if (length === 0) return null;
  const bytes = Uint8Array.from(address.bytes);
  let index = (length - 1) >> 3;
  let step = 128 >> ((length - 1) & 7);
  // Clears what is behind the prefix, then counts it up by one.
  for (let at = index; at < bytes.length; at++) bytes[at] = (bytes[at] ?? 0) & (at === index ? 256 - step : 0);
  for (; index >= 0; index--, step = 1) {
    const sum = (bytes[index] ?? 0) + step;
    bytes[index] = sum & 255;
    if (sum < 256) return addressFromBytes(bytes);
  }
  return null;
}
