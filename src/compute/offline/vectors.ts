/**
 * Lookups in a compiled direction, as `look_up_policy` of bpf/lib/policy.h makes them, on the bit vectors that its maps would hold:
 * (groups of the peer | of anybody | of the longest prefix) & groups of the longest port prefix, and the lowest bit decides.
 */
import type { Address } from "../../model/ip.ts";
import { prefixContains } from "../../model/ip.ts";
import type { CompiledDirection, Groups } from "../desired.ts";
import { isOutside } from "../identity/reserved.ts";
import type { Action } from "../policy/rules.ts";

/** Ports of one protocol that the same groups hold. */
export interface PortSegment {
  readonly first: number;
  readonly last: number;
  readonly vector: bigint;
}

const lastPort = 65_535;
const known = new WeakMap<CompiledDirection, DirectionVectors>();

/** Of one compiled direction always the same object: what was looked up once is remembered with it. */
export function vectorsOf(direction: CompiledDirection): DirectionVectors {
  const before = known.get(direction);
  if (before !== undefined) return before;
  const vectors = new DirectionVectors(direction);
  known.set(direction, vectors);
  return vectors;
}

export class DirectionVectors {
  readonly direction: CompiledDirection;
  readonly #peers: ReadonlyMap<number, bigint>;
  readonly #prefixes: readonly { readonly prefix: CompiledDirection["prefixes"][number]["prefix"]; vector: bigint }[];
  readonly #outsideOnly: bigint;
  readonly #byAddress = new Map<string, bigint>();
  readonly #segments = new Map<number, readonly PortSegment[]>();

  constructor(direction: CompiledDirection) {
    this.direction = direction;
    this.#peers = new Map([...direction.peers].map(([identity, groups]) => [identity, vectorOf(groups)]));
    // The longest first: the first that holds an address is the one.
    this.#prefixes = [...direction.prefixes]
      .sort((a, b) => b.prefix.length - a.prefix.length)
      .map(({ prefix, groups }) => ({ prefix, vector: vectorOf(groups) }));
    this.#outsideOnly = vectorOf(direction.outsideOnly);
  }

  /** Groups that name this peer. */
  who(identity: number, address: Address): bigint {
    let vector = this.#longestPrefix(address);
    if (!isOutside(identity)) vector &= ~this.#outsideOnly;
    return vector | (this.#peers.get(identity) ?? 0n) | (this.#peers.get(0) ?? 0n);
  }

  /** Groups that hold this port. @param protocol IANA number @param port of the destination; ICMP: type << 8 */
  where(protocol: number, port: number): bigint {
    const segments = this.segments(protocol);
    let low = 0;
    let high = segments.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((segments[middle]?.first ?? 0) <= port) low = middle;
      else high = middle - 1;
    }
    return segments[low]?.vector ?? 0n;
  }

  /** All ports of a protocol, in order, without gaps. */
  segments(protocol: number): readonly PortSegment[] {
    const before = this.#segments.get(protocol);
    if (before !== undefined) return before;
    const segments = segmentsOf(this.direction, protocol);
    this.#segments.set(protocol, segments);
    return segments;
  }

  actionOf(group: number): Action {
    const { guards = 0, denies, allows } = this.direction;
    if (group < guards) return "allow";
    if (group < guards + denies) return "deny";
    return group < guards + denies + allows ? "allow" : "redirect";
  }

  /** Of the lowest group, or the default where there is none. */
  verdictOf(vector: bigint): Action {
    const group = lowest(vector);
    if (group !== null) return this.actionOf(group);
    return this.direction.enforced ? "deny" : "allow";
  }

  #longestPrefix(address: Address): bigint {
    if (this.#prefixes.length === 0) return 0n;
    const before = this.#byAddress.get(address.text);
    if (before !== undefined) return before;
    const vector = this.#prefixes.find(({ prefix }) => prefixContains(prefix, address))?.vector ?? 0n;
    this.#byAddress.set(address.text, vector);
    return vector;
  }
}

/** Null: none. */
export function lowest(vector: bigint): number | null {
  if (vector === 0n) return null;
  let group = 0;
  for (let rest = vector; (rest & 1n) === 0n; rest >>= 1n) group++;
  return group;
}

/** The groups of a vector, in order. */
export function groupsOf(vector: bigint): readonly number[] {
  const groups: number[] = [];
  let group = 0;
  for (let rest = vector; rest !== 0n; rest >>= 1n, group++) if ((rest & 1n) === 1n) groups.push(group);
  return groups;
}

function vectorOf(groups: Groups): bigint {
  return groups.reduce((vector, group) => vector | (1n << BigInt(group)), 0n);
}

function segmentsOf({ ports }: CompiledDirection, protocol: number): readonly PortSegment[] {
  const whole = vectorOf(ports.find(({ bits }) => bits === 0)?.groups ?? []);
  const entries = ports
    .filter((entry) => entry.bits > 0 && entry.protocol === protocol)
    .map(({ port, bits, groups }) => ({
      first: port,
      last: port + 2 ** (24 - bits) - 1,
      bits,
      vector: vectorOf(groups),
    }))
    .sort((a, b) => a.first - b.first || a.bits - b.bits);
  const segments: PortSegment[] = [];
  const add = (first: number, last: number, vector: bigint): void => {
    if (first > last) return;
    const before = segments.at(-1);
    if (before?.vector === vector) segments[segments.length - 1] = { ...before, last };
    else segments.push({ first, last, vector });
  };
  // Entries lie inside of each other or apart: those around the current port are a stack.
  const around: { readonly last: number; readonly vector: bigint }[] = [{ last: lastPort, vector: whole }];
  let next = 0;
  const closeUntil = (port: number): void => {
    for (let inner = around.at(-1); inner !== undefined && inner.last < port; inner = around.at(-1)) {
      add(next, inner.last, inner.vector);
      next = inner.last + 1;
      around.pop();
    }
  };
  for (const entry of entries) {
    closeUntil(entry.first);
    add(next, entry.first - 1, around.at(-1)?.vector ?? 0n);
    next = entry.first;
    around.push(entry);
  }
  closeUntil(lastPort + 1);
  return segments;
}
