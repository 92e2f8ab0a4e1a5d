/** Ports by name: what a name means is said by the destination, and pods may disagree. */
import { prefixContains } from "../../model/ip.ts";
import type { ContainerPort } from "../../model/tables.ts";
import { makePortSet, type PortRange, portSetText } from "./port-sets.ts";
import { type Block, type Port, protocolNumbers } from "./rules.ts";
import { hostBlock } from "./host-block.ts";
import type { PodPeer } from "./peer-index.ts";
import type { Peers, RuleSurroundings } from "./surroundings.ts";

export type NamedPort = Extract<Port, { readonly kind: "named" }>;

export function namedRanges(named: readonly NamedPort[], ports: readonly ContainerPort[]): readonly PortRange[] {
  return named.flatMap(({ protocol, name }) =>
    ports
      .filter((each) => each.name === name && protocolNumbers[each.protocol] === protocol)
      .map(({ port }) => ({ protocol, first: port, last: port })),
  );
}

/** What names mean to the pods of an identity. */
interface Meaning {
  /** Of each pod, in order. */
  readonly each: readonly (readonly PortRange[])[];
  /** Of all of them; null where they disagree. */
  readonly agreed: readonly PortRange[] | null;
}

const remembered = new WeakMap<readonly PodPeer[], Map<string, Meaning>>();

function meaningOf(named: readonly NamedPort[], text: string, pods: readonly PodPeer[]): Meaning {
  const known = remembered.get(pods) ?? new Map<string, Meaning>();
  remembered.set(pods, known);
  const before = known.get(text);
  if (before !== undefined) return before;
  const each = pods.map(({ ports }) => namedRanges(named, ports));
  const texts = new Set(each.map((ranges) => portSetText(makePortSet(ranges))));
  const meaning = { each, agreed: texts.size > 1 ? null : (each[0] ?? []) };
  known.set(text, meaning);
  return meaning;
}

/**
 * Destinations by what the names mean to them. Pods of one identity may disagree; then each is named by its addresses, as an
 * identity would open one pod's number on all of them.
 */
export function peersByPorts(
  named: readonly NamedPort[],
  peers: Peers,
  { selectors, peers: destinations }: RuleSurroundings,
): readonly { readonly ranges: readonly PortRange[]; readonly who: Peers }[] {
  const found = new Map<
    string,
    { readonly ranges: readonly PortRange[]; readonly ids: number[]; readonly blocks: Block[] }
  >();
  const under = (ranges: readonly PortRange[]) => {
    const text = portSetText(makePortSet(ranges));
    const known = found.get(text);
    if (known !== undefined) return known;
    const fresh = { ranges, ids: [], blocks: [] };
    found.set(text, fresh);
    return fresh;
  };
  const names = named.map(({ protocol, name }) => `${protocol} ${name}`).join(",");
  const whole = new Set(peers.any ? selectors.all : peers.identities.flat());
  const inside = peers.blocks.filter(({ outsideOnly }) => !outsideOnly);
  for (const id of inside.length > 0 ? selectors.all : [...whole].sort((a, b) => a - b)) {
    const pods = destinations.podsOf(id);
    const { each, agreed } = meaningOf(named, names, pods);
    if (agreed !== null && (agreed.length === 0 || whole.has(id))) {
      if (agreed.length > 0) under(agreed).ids.push(id);
      continue;
    }
    for (const [index, ranges] of each.entries()) {
      if (ranges.length === 0) continue;
      for (const address of pods[index]?.addresses ?? []) {
        if (whole.has(id) || isInside(inside, address)) under(ranges).blocks.push(hostBlock(address, false));
      }
    }
  }
  return [...found.values()].map(({ ranges, ids, blocks }) => ({
    ranges,
    who: { any: false, identities: [ids], blocks },
  }));
}

function isInside(blocks: readonly Block[], address: PodPeer["addresses"][number]): boolean {
  return blocks.some(
    ({ prefix, except }) => prefixContains(prefix, address) && !except.some((each) => prefixContains(each, address)),
  );
}
