/**
 * What one party may send to another, over all protocols and ports at once: the ports are cut where any group begins or ends, and each
 * piece is judged once. Two such answers can be compared.
 */
import { lastPort, makePortSet, type PortRange, type PortSet } from "../policy/port-sets.ts";
import { protocolNumbers } from "../policy/rules.ts";
import { type OfflineCluster, type Party, podKey } from "./cluster.ts";
import { type Verdict, worst } from "./connection.ts";
import { portsText } from "./text.ts";
import { type DirectionVectors, vectorsOf } from "./vectors.ts";

/** Stands for every protocol that no rule can name: all of them are judged alike. */
export const otherProtocols = 255;

const { TCP, UDP, SCTP, ICMP, ICMPv6 } = protocolNumbers;

/** Those that the family has. */
export function protocolsOf(family: 4 | 6): readonly number[] {
  return [TCP, UDP, SCTP, family === 4 ? ICMP : ICMPv6, otherProtocols];
}

export interface ReachPiece extends PortRange {
  readonly verdict: Verdict;
}

/** In order, without gaps within a protocol. */
export type Reach = readonly ReachPiece[];

/** One end's part in it: null where it has no say. */
interface Say {
  readonly vectors: DirectionVectors;
  readonly who: bigint;
}

const closed: readonly Verdict[] = ["deny"];

export class Reaches {
  readonly #cluster: OfflineCluster;
  readonly #remembered = new Map<string, Reach>();
  readonly #numbers = new Map<DirectionVectors, number>();

  constructor(cluster: OfflineCluster) {
    this.#cluster = cluster;
  }

  /** Both of one family, and not the same party. */
  between(source: Party, destination: Party): Reach {
    const family = source.address.family;
    const egress = this.#say("egress", source, destination);
    const ingress = this.#say("ingress", destination, source);
    const key = `${family} ${this.#sayKey(egress)} ${this.#sayKey(ingress)}`;
    const known = this.#remembered.get(key);
    if (known !== undefined) return known;
    const reach = protocolsOf(family).flatMap((protocol) => pieces(protocol, egress, ingress));
    this.#remembered.set(key, reach);
    return reach;
  }

  #say(side: "egress" | "ingress", subject: Party, peer: Party): Say | "closed" | null {
    if (subject.kind !== "pod") return null;
    const set = this.#cluster.setOf(podKey(subject.pod));
    if (set === null || set.refused !== null) return "closed";
    const vectors = vectorsOf(set[side]);
    return { vectors, who: vectors.who(this.#cluster.identityOf(peer, subject.pod.node), peer.address) };
  }

  #sayKey(say: Say | "closed" | null): string {
    if (say === null || say === "closed") return String(say);
    const number = this.#numbers.get(say.vectors) ?? this.#numbers.size;
    this.#numbers.set(say.vectors, number);
    return `${number}:${say.who.toString(16)}`;
  }
}

function pieces(
  protocol: number,
  egress: Say | "closed" | null,
  ingress: Say | "closed" | null,
): readonly ReachPiece[] {
  const sides = [egress, ingress].flatMap((say) => (say === null ? [] : [judged(protocol, say)]));
  const starts = [...new Set([0, ...sides.flatMap((side) => side.map(({ first }) => first))])].sort((a, b) => a - b);
  const found: ReachPiece[] = [];
  for (const [index, first] of starts.entries()) {
    const last = (starts[index + 1] ?? lastPort + 1) - 1;
    const verdict = worst(
      sides.map((side) => side.find((piece) => first >= piece.first && first <= piece.last)?.verdict ?? "deny"),
    );
    const before = found.at(-1);
    if (before?.verdict === verdict) found[found.length - 1] = { ...before, last };
    else found.push({ protocol, first, last, verdict });
  }
  return found;
}

function judged(protocol: number, say: Say | "closed"): readonly { first: number; last: number; verdict: Verdict }[] {
  if (say === "closed") return closed.map((verdict) => ({ first: 0, last: lastPort, verdict }));
  const { vectors, who } = say;
  return vectors
    .segments(protocol)
    .map(({ first, last, vector }) => ({ first, last, verdict: vectors.verdictOf(who & vector) }));
}

/** How one answer differs from another. */
export interface ReachChange {
  readonly opens: PortSet;
  readonly closes: PortSet;
  /** What was allowed as it is and is judged by L7 rules now, and the other way round. */
  readonly narrows: PortSet;
  readonly widens: PortSet;
}

export const changeKinds = ["opens", "closes", "narrows", "widens"] as const;
export type ChangeKind = (typeof changeKinds)[number];

/** @param before null: one of both ends is not there */
export function compareReach(before: Reach | null, after: Reach | null): ReachChange {
  const ranges: Record<ChangeKind, PortRange[]> = { opens: [], closes: [], narrows: [], widens: [] };
  for (const { protocol, first, last, was, is } of sideBySide(before, after)) {
    if (was === is) continue;
    const kind = was === "deny" ? "opens" : is === "deny" ? "closes" : is === "redirect" ? "narrows" : "widens";
    ranges[kind].push({ protocol, first, last });
  }
  return {
    opens: makePortSet(ranges.opens),
    closes: makePortSet(ranges.closes),
    narrows: makePortSet(ranges.narrows),
    widens: makePortSet(ranges.widens),
  };
}

function* sideBySide(before: Reach | null, after: Reach | null) {
  const all = [...(before ?? []), ...(after ?? [])];
  for (const protocol of [...new Set(all.map((piece) => piece.protocol))]) {
    const of = (reach: Reach | null) => (reach ?? []).filter((piece) => piece.protocol === protocol);
    const [old, fresh] = [of(before), of(after)];
    const starts = [...new Set([...old, ...fresh].map(({ first }) => first))].sort((a, b) => a - b);
    for (const [index, first] of starts.entries()) {
      const last = (starts[index + 1] ?? lastPort + 1) - 1;
      const at = (side: Reach): Verdict =>
        side.find((piece) => first >= piece.first && first <= piece.last)?.verdict ?? "deny";
      yield { protocol, first, last, was: at(old), is: at(fresh) };
    }
  }
}

export function isUnchanged(change: ReachChange): boolean {
  return changeKinds.every((kind) => change[kind].length === 0);
}

/** How much is allowed: nothing, a part, everything. What L7 rules judge is a part. */
export function amountOf(reach: Reach | null): "nothing" | "some" | "everything" {
  const open = (reach ?? []).filter(({ verdict }) => verdict !== "deny");
  if (open.length === 0) return "nothing";
  return reach?.every(({ verdict }) => verdict === "allow") === true ? "everything" : "some";
}

/** "TCP 80, 443", "everything", "everything but TCP 5432": whichever says it shortly. */
export function reachText(set: PortSet, family: 4 | 6): string {
  const rest = complement(set, family);
  if (set.length > 0 && rest.length === 0) return "everything";
  if (!set.some(({ protocol }) => protocol === otherProtocols)) return portsText(set);
  const but = portsText(rest.filter(({ protocol }) => protocol !== otherProtocols));
  return `everything but ${but}`;
}

function complement(set: PortSet, family: 4 | 6): PortSet {
  return protocolsOf(family).flatMap((protocol) => {
    const rest: PortRange[] = [];
    let next = 0;
    for (const { first, last } of set.filter((range) => range.protocol === protocol)) {
      if (first > next) rest.push({ protocol, first: next, last: first - 1 });
      next = last + 1;
    }
    if (next <= lastPort) rest.push({ protocol, first: next, last: lastPort });
    return rest;
  });
}
