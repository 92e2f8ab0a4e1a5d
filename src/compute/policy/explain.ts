/** Which rules a packet meets: the same question as the compiled groups answer, asked of the rules themselves, so that they can be named. */
import { meansName } from "../../model/dns-names.ts";
import { type Address, prefixContains } from "../../model/ip.ts";
import { isOutside } from "../identity/reserved.ts";
import type { Entry } from "./resolve.ts";

export interface Flow {
  /** IANA number. */
  readonly protocol: number;
  /** Of the destination; ICMP: type << 8. */
  readonly port: number;
}

export interface PeerFacts {
  readonly identity: number;
  readonly address: Address;
  /** Of DNS, that gave this address. Not set: none. */
  readonly names?: readonly string[];
}

export interface Meeting {
  /** They hold: peer and port. */
  readonly matches: readonly Entry[];
  /** They name the peer, but not on this port. */
  readonly otherPorts: readonly Entry[];
  /** They name the port, but not this peer. */
  readonly otherPeers: readonly Entry[];
}

export function meet(entries: readonly Entry[], peer: PeerFacts, flow: Flow): Meeting {
  const matches: Entry[] = [];
  const otherPorts: Entry[] = [];
  const otherPeers: Entry[] = [];
  for (const entry of entries) {
    const who = namesPeer(entry, peer);
    const where = holdsPort(entry, flow);
    if (who && where) matches.push(entry);
    else if (who) otherPorts.push(entry);
    else if (where) otherPeers.push(entry);
  }
  return { matches, otherPorts, otherPeers };
}

function namesPeer({ any, identities, blocks, names = [] }: Entry, { identity, address, ...peer }: PeerFacts): boolean {
  if (any || identities.some((ids) => ids.includes(identity))) return true;
  const known = isOutside(identity) ? (peer.names ?? []) : [];
  if (names.some((pattern) => known.some((name) => meansName(pattern, name)))) return true;
  return blocks.some(
    ({ prefix, except, outsideOnly }) =>
      (!outsideOnly || isOutside(identity)) &&
      prefixContains(prefix, address) &&
      !except.some((each) => prefixContains(each, address)),
  );
}

function holdsPort({ ports }: Entry, { protocol, port }: Flow): boolean {
  return ports.some(
    (range) =>
      (range.protocol === 0 || range.protocol === protocol) &&
      (range.protocol === 0 || (port >= range.first && port <= range.last)),
  );
}
