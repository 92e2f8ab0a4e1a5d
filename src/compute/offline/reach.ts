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

/** One end's part in it. */
interface Say {
  /** Equal for equal parts. */
  readonly key: string;
  /** By family, per protocol; null: it has no say. */
  readonly pieces: ((family: 4 | 6) => Reach) | null;
}

const silent: Say = { key: "-", pieces: null };
const closed: Say = { key: "closed", pieces: (family) => whole(family, "deny") };

export class Reaches {
  readonly #cluster: OfflineCluster;
  readonly #remembered = new Map<string, Reach>();
  readonly #says = new Map<string, Say>();
  readonly #numbers = new Map<DirectionVectors, number>();

  constructor(cluster: OfflineCluster) {
    this.#cluster = cluster;
  }

  /** Both of one family, and not the same party. The same object for the same answer of the same ends. */
  between(source: Party, destination: Party): Reach {
    const family = source.address.family;
    const egress = this.#say("egress", source, destination);
    const ingress = this.#say("ingress", destination, source);
    const key = `${family} ${egress.key} ${ingress.key}`;
    const known = this.#remembered.get(key);
    if (known !== undefined) return known;
    const sides = [egress, ingress].flatMap(({ pieces }) => (pieces === null ? [] : [pieces(family)]));
    const [first = whole(family, "allow"), second] = sides;
    const reach = second === undefined ? first : both(first, second);
    this.#remembered.set(key, reach);
    return reach;
  }

  #say(side: "egress" | "ingress", subject: Party, peer: Party): Say {
    if (subject.kind !== "pod" && subject.kind !== "node") return silent;
    const [set, node] =
      subject.kind === "pod"
        ? [this.#cluster.setOf(podKey(subject.pod)), subject.pod.node]
        : [this.#cluster.setOfNode(subject.node), subject.node];
    // A node is never closed for want of a set.
    if (set === null || set.refused !== null) return subject.kind === "pod" ? closed : silent;
    const direction = set[side];
    // Most directions: no policy, nothing to look up.
    if (direction.origins.length === 0) return direction.enforced ? closed : silent;
    const vectors = vectorsOf(direction);
    const who = vectors.who(this.#cluster.identityOf(peer, node), peer.address);
    if (who === 0n) return direction.enforced ? closed : silent;
    const number = this.#numbers.get(vectors) ?? this.#numbers.size;
    this.#numbers.set(vectors, number);
    const key = `${number}:${who.toString(16)}`;
    const known = this.#says.get(key);
    if (known !== undefined) return known;
    const byFamily = new Map<number, Reach>();
    const say: Say = {
      key,
      pieces: (family) => {
        const pieces =
          byFamily.get(family) ?? protocolsOf(family).flatMap((protocol) => judged(protocol, vectors, who));
        byFamily.set(family, pieces);
        return pieces;
      },
    };
    this.#says.set(key, say);
    return say;
  }
}

function whole(family: 4 | 6, verdict: Verdict): Reach {
  return protocolsOf(family).map((protocol) => ({ protocol, first: 0, last: lastPort, verdict }));
}

/** What one end says of all ports of a protocol. */
function judged(protocol: number, vectors: DirectionVectors, who: bigint): Reach {
  const found: ReachPiece[] = [];
  for (const { first, last, vector } of vectors.segments(protocol)) {
    add(found, { protocol, first, last, verdict: vectors.verdictOf(who & vector) });
  }
  return found;
}

function both(left: Reach, right: Reach): Reach {
  const found: ReachPiece[] = [];
  for (const { protocol, first, last, was, is } of sideBySide(left, right)) {
    add(found, { protocol, first, last, verdict: worst([was, is]) });
  }
  return found;
}

/** Neighbours of one verdict are one piece. */
function add(pieces: ReachPiece[], piece: ReachPiece): void {
  const before = pieces.at(-1);
  if (before?.verdict === piece.verdict && before.protocol === piece.protocol) {
    pieces[pieces.length - 1] = { ...before, last: piece.last };
  } else pieces.push(piece);
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

/** Two answers of one family, cut where either of them changes. */
function* sideBySide(left: Reach | null, right: Reach | null) {
  const [some, other] = [left ?? denied(right), right ?? denied(left)];
  let [at, beside] = [0, 0];
  let first = 0;
  for (;;) {
    const [one, two] = [some[at], other[beside]];
    if (one === undefined || two === undefined) return;
    const last = Math.min(one.last, two.last);
    yield { protocol: one.protocol, first, last, was: one.verdict, is: two.verdict };
    if (one.last === last) at++;
    if (two.last === last) beside++;
    first = last === lastPort ? 0 : last + 1;
  }
}

/** Nothing, over the protocols of the other answer. */
function denied(other: Reach | null): Reach {
  const protocols = [...new Set((other ?? []).map(({ protocol }) => protocol))];
  return protocols.map((protocol) => ({ protocol, first: 0, last: lastPort, verdict: "deny" }));
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
