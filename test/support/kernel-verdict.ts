/** `look_up_policy` and `judge` of bpf/lib/policy.h over a compiled set, step by step as the kernel does it, on entries as its maps hold them. */
import type { CompiledDirection, CompiledSet, DesiredState, Groups } from "../../src/compute/desired.ts";
import { identityNumbers, isOutside } from "../../src/compute/identity/reserved.ts";
import { type Address, prefixContains } from "../../src/model/ip.ts";

export type Verdict = "allow" | "deny" | "redirect";

export interface Packet {
  readonly peer: Address;
  /** IANA number. */
  readonly protocol: number;
  /** Of the destination; ICMP: type << 8. */
  readonly port: number;
}

/** ipcache, then the pod CIDRs, then the outside. */
export function identityOf(state: DesiredState, address: Address): number {
  const known = state.identities.get(address.text);
  if (known !== undefined) return known.identity;
  if (state.clusterPrefixes.some((prefix) => prefixContains(prefix, address))) return identityNumbers.unmanaged;
  return address.family === 4 ? identityNumbers.worldIpv4 : identityNumbers.worldIpv6;
}

const known = new WeakMap<Groups, bigint>();

function bits(groups: Groups | undefined): bigint {
  if (groups === undefined) return 0n;
  let all = known.get(groups);
  if (all === undefined) {
    all = groups.reduce((sum, group) => sum | (1n << BigInt(group)), 0n);
    known.set(groups, all);
  }
  return all;
}

function longestPort(direction: CompiledDirection, protocol: number, port: number): Groups | undefined {
  let best: CompiledDirection["ports"][number] | undefined;
  for (const entry of direction.ports) {
    const holds =
      entry.bits === 0 ||
      (entry.protocol === protocol && port >> (24 - entry.bits) === entry.port >> (24 - entry.bits));
    if (holds && (best === undefined || entry.bits > best.bits)) best = entry;
  }
  return best?.groups;
}

function longestPrefix(direction: CompiledDirection, peer: Address): Groups | undefined {
  let best: CompiledDirection["prefixes"][number] | undefined;
  for (const entry of direction.prefixes) {
    if (!prefixContains(entry.prefix, peer)) continue;
    if (best === undefined || entry.prefix.length > best.prefix.length) best = entry;
  }
  return best?.groups;
}

/** All groups that are set, in their order. */
export function groupsOf(direction: CompiledDirection, identity: number, packet: Packet): readonly number[] {
  const both = vectorOf(direction, identity, packet);
  const groups: number[] = [];
  for (let group = 0; both >> BigInt(group) !== 0n; group++) if ((both >> BigInt(group)) & 1n) groups.push(group);
  return groups;
}

function vectorOf(direction: CompiledDirection, identity: number, packet: Packet): bigint {
  const ports = bits(longestPort(direction, packet.protocol, packet.port));
  let who = bits(longestPrefix(direction, packet.peer));
  if (!isOutside(identity)) who &= ~bits(direction.outsideOnly);
  who |= bits(direction.peers.get(identity)) | bits(direction.peers.get(0));
  return who & ports;
}

/** Null: no group is set. */
export function lookUp(direction: CompiledDirection, identity: number, packet: Packet): number | null {
  return groupsOf(direction, identity, packet)[0] ?? null;
}

export function judge(set: CompiledSet, side: "ingress" | "egress", identity: number, packet: Packet): Verdict {
  const direction = set[side];
  const group = lookUp(direction, identity, packet);
  if (group === null) return direction.enforced ? "deny" : "allow";
  if (group < direction.denies) return "deny";
  return group < direction.denies + direction.allows ? "allow" : "redirect";
}
