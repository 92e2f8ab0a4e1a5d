/**
 * A compiled set as entries of the kernel's policy maps, without its number: two sets of equal content have equal rows, whether they were
 * compiled here or read from the kernel. That is how a restarted agent knows the sets that are pinned.
 */
import { createHash } from "node:crypto";
import type { CompiledDirection, CompiledPrefix, CompiledSet, Groups } from "../compute/desired.ts";
import {
  Direction,
  EndpointFlags,
  PolicySetFlags,
  POLICY_SET_GUARDS_SHIFT,
  POLICY_WORDS,
  policyBits,
  policyPeerKey,
  policyPortKey,
  policyPrefix4Key,
  policyPrefix6Key,
  policySet,
  policySetKey,
} from "../native/layouts.gen.ts";
import { addressNumber } from "./addresses.ts";

/** Maps of a set, in the order in which it is written: its shape comes last. */
export const policyMaps = ["policy_peer", "policy_prefix4", "policy_prefix6", "policy_port", "policy_set"] as const;
export type PolicyMap = (typeof policyMaps)[number];

/** One entry. `key` has the set's number left out (0, direction 0). */
export interface PolicyRow {
  readonly map: PolicyMap;
  readonly direction: number;
  readonly key: Buffer;
  readonly value: Buffer;
}

/** Where set_direction lies in the key, and whether it is in network order. */
const setField: Record<PolicyMap, { readonly offset: number; readonly bigEndian: boolean }> = {
  policy_peer: { offset: 0, bigEndian: false },
  policy_prefix4: { offset: 4, bigEndian: true },
  policy_prefix6: { offset: 4, bigEndian: true },
  policy_port: { offset: 4, bigEndian: true },
  policy_set: { offset: 0, bigEndian: false },
};

export function groupCount(direction: CompiledDirection): number {
  return (direction.guards ?? 0) + direction.denies + direction.allows + direction.redirects;
}

/** Flags of an endpoint that has this set. None: everything passes, and the set needs no entries. */
export function endpointFlags({ egress, ingress }: CompiledSet): number {
  return (
    (egress.enforced ? EndpointFlags.enforceEgress : 0) |
    (ingress.enforced ? EndpointFlags.enforceIngress : 0) |
    (groupCount(egress) > 0 ? EndpointFlags.policyEgress : 0) |
    (groupCount(ingress) > 0 ? EndpointFlags.policyIngress : 0)
  );
}

export function encodeSet(set: CompiledSet): readonly PolicyRow[] {
  return [...encodeDirection(set.egress, Direction.egress), ...encodeDirection(set.ingress, Direction.ingress)];
}

function encodeDirection(compiled: CompiledDirection, direction: number): readonly PolicyRow[] {
  const groups = groupCount(compiled);
  if (!compiled.enforced && groups === 0) return [];
  const rows: PolicyRow[] = [];
  const add = (map: PolicyMap, key: Buffer, value: Buffer) => rows.push({ map, direction, key, value });
  for (const [identity, bits] of compiled.peers) {
    if (bits.length > 0) add("policy_peer", policyPeerKey.encode({ setDirection: 0, identity }), encodeGroups(bits));
  }
  // Addresses of names may come at any time.
  let flags = compiled.names === undefined ? 0 : PolicySetFlags.prefix4 | PolicySetFlags.prefix6;
  for (const each of compiled.prefixes) {
    flags |= each.prefix.family === 4 ? PolicySetFlags.prefix4 : PolicySetFlags.prefix6;
    rows.push(encodePrefix(each, direction));
  }
  for (const { protocol, port, bits, groups: named } of compiled.ports) {
    // What the prefix does not cover is zero, as the same entry reads from the kernel.
    const kept = bits <= 8 ? 0 : port & (0xffff << (24 - bits)) & 0xffff;
    const key = {
      prefixlen: 32 + bits,
      setDirection: 0,
      protocol: bits === 0 ? 0 : protocol,
      port: Uint8Array.of(kept >> 8, kept & 255),
    };
    add("policy_port", policyPortKey.encode(key), encodeGroups(named));
  }
  const shape = {
    words: Math.max(1, Math.ceil(groups / 64)),
    flags: flags | ((compiled.guards ?? 0) << POLICY_SET_GUARDS_SHIFT),
    denies: compiled.denies,
    allows: compiled.allows,
    outsideOnly: policyBits.decode(encodeGroups(compiled.outsideOnly)),
  };
  add("policy_set", policySetKey.encode({ setDirection: 0 }), policySet.encode(shape));
  return rows;
}

/** A prefix without groups counts too: it takes out what a shorter one carries. */
export function encodePrefix({ prefix, groups }: CompiledPrefix, direction: number = Direction.egress): PolicyRow {
  const prefixlen = 32 + prefix.length;
  const value = encodeGroups(groups);
  if (prefix.family === 4) {
    const key = { prefixlen, setDirection: 0, address: addressNumber(prefix.address) };
    return { map: "policy_prefix4", direction, key: policyPrefix4Key.encode(key), value };
  }
  const key = { prefixlen, setDirection: 0, address: prefix.address.bytes };
  return { map: "policy_prefix6", direction, key: policyPrefix6Key.encode(key), value };
}

/** @throws RangeError for a group that no vector has room for */
export function encodeGroups(groups: Groups): Buffer {
  const buffer = Buffer.alloc(policyBits.size);
  for (const group of groups) {
    if (group < 0 || group >= POLICY_WORDS * 64) throw new RangeError(`group ${group} has no bit`);
    // Bit g of word g/64, words in host order (little endian): bit g%8 of byte g/8.
    buffer[group >> 3] = (buffer[group >> 3] ?? 0) | (1 << (group & 7));
  }
  return buffer;
}

export function decodeGroups(bits: Buffer): readonly number[] {
  const groups: number[] = [];
  for (const [index, byte] of bits.entries()) {
    for (let bit = 0; byte >> bit !== 0; bit++) if ((byte >> bit) & 1) groups.push(index * 8 + bit);
  }
  return groups;
}

/** The key of a row for a set of this number. */
export function numberedKey(row: PolicyRow, set: number): Buffer {
  const key = Buffer.from(row.key);
  const { offset, bigEndian } = setField[row.map];
  const value = set * 2 + row.direction;
  if (bigEndian) key.writeUInt32BE(value, offset);
  else key.writeUInt32LE(value, offset);
  return key;
}

/** The inverse: an entry of the kernel as a row, and the number of its set. */
export function rowOf(map: PolicyMap, key: Buffer, value: Buffer): { readonly set: number; readonly row: PolicyRow } {
  const { offset, bigEndian } = setField[map];
  const setDirection = bigEndian ? key.readUInt32BE(offset) : key.readUInt32LE(offset);
  const bare = Buffer.from(key).fill(0, offset, offset + 4);
  return { set: setDirection >>> 1, row: { map, direction: setDirection & 1, key: bare, value } };
}

/** Equal rows in any order, equal digest. */
export function contentDigest(rows: readonly PolicyRow[]): string {
  const texts = rows.map(
    ({ map, direction, key, value }) =>
      `${policyMaps.indexOf(map)}${direction}${key.toString("latin1")}${value.toString("latin1")}`,
  );
  const hash = createHash("sha1");
  for (const text of texts.sort()) hash.update(text, "latin1");
  return hash.digest("hex");
}
