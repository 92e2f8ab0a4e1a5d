/**
 * What the kernel says of one packet: the look-ups of bpf/lib/policy.h and context.h, made in the very maps, longest prefixes by the
 * kernel itself. For people who ask why; nothing that the agent believes has a part in it.
 */
import type { MapInfo } from "../native/bpf-contract.ts";
import type { NativeBinding } from "../native/contract.ts";
import type { Address } from "../model/ip.ts";
import { u32 } from "../native/layout.ts";
import {
  Direction as DirectionNumber,
  EndpointFlags,
  endpoint,
  endpointKey,
  IdentityNumber,
  ipcache4Key,
  ipcache6Key,
  ipcacheValue,
  type MapName,
  POLICY_SET_GUARDS_SHIFT,
  policyBits,
  policyPeerKey,
  policyPortKey,
  policyPrefix4Key,
  policyPrefix6Key,
  policySet,
  policySetKey,
  prefix4Key,
  prefix6Key,
} from "../native/layouts.gen.ts";
import { addressNumber } from "./addresses.ts";
import { decodeGroups } from "./policy-encode.ts";
import type { Direction, PolicyJudgement } from "./report.ts";

export interface PacketQuestion {
  /** Device of a pod; null: the node itself. */
  readonly ifindex: number | null;
  readonly direction: Direction;
  readonly peer: Address;
  /** IANA number. */
  readonly protocol: number;
  /** Of the destination; ICMP: type << 8. */
  readonly port: number;
}

type Look = (map: MapName, key: Buffer) => Buffer | null;

/** Null: the end is closed as long as it has no policy. Audit mode is not looked at. */
export function readVerdict(
  native: Pick<NativeBinding, "mapLookup">,
  map: (name: MapName) => MapInfo,
  { ifindex, direction, peer, protocol, port }: PacketQuestion,
): PolicyJudgement | null {
  const look: Look = (name, key) => native.mapLookup(map(name).handle, key);
  const bytes =
    ifindex === null ? look("host_endpoint", u32.encode(0)) : look("endpoint", endpointKey.encode({ ifindex }));
  if (bytes === null) return ifindex === null ? open : null;
  const { flags, policySet: number } = endpoint.decode(bytes);
  const ingress = direction === "ingress";
  const enforced = (flags & (ingress ? EndpointFlags.enforceIngress : EndpointFlags.enforceEgress)) !== 0;
  const hasRules = (flags & (ingress ? EndpointFlags.policyIngress : EndpointFlags.policyEgress)) !== 0;
  if (flags & EndpointFlags.closed) return null;
  if (!enforced && !hasRules) return open;
  const set = number * 2 + (ingress ? DirectionNumber.ingress : DirectionNumber.egress);
  const shape = look("policy_set", policySetKey.encode({ setDirection: set }));
  if (shape === null) return null;
  const groups = groupsOf(look, set, shape, { identity: identify(look, peer), peer, protocol, port });
  const group = groups.length === 0 ? null : Math.min(...groups);
  if (group === null) return { verdict: enforced ? "deny" : "allow", group };
  const { denies, allows, flags: setFlags } = policySet.decode(shape);
  const rank = group - (setFlags >> POLICY_SET_GUARDS_SHIFT);
  if (rank < 0) return { verdict: "allow", group };
  if (rank < denies) return { verdict: "deny", group };
  return { verdict: rank < denies + allows ? "allow" : "redirect", group };
}

const open: PolicyJudgement = { verdict: "allow", group: null };

/** `identify` of context.h. */
function identify(look: Look, peer: Address): number {
  const four = peer.family === 4;
  const known = four
    ? look("ipcache4", ipcache4Key.encode({ address: addressNumber(peer) }))
    : look("ipcache6", ipcache6Key.encode({ address: peer.bytes }));
  const value =
    known ??
    (four
      ? look("cluster_prefix4", prefix4Key.encode({ prefixlen: 32, address: addressNumber(peer) }))
      : look("cluster_prefix6", prefix6Key.encode({ prefixlen: 128, address: peer.bytes })));
  if (value !== null) return ipcacheValue.decode(value).identity;
  return four ? IdentityNumber.worldIpv4 : IdentityNumber.worldIpv6;
}

interface Packet extends Pick<PacketQuestion, "peer" | "protocol" | "port"> {
  readonly identity: number;
}

/** `look_up_policy` of policy.h. */
function groupsOf(
  look: Look,
  setDirection: number,
  shape: Buffer,
  { identity, peer, protocol, port }: Packet,
): readonly number[] {
  const bits = (value: Buffer | null): readonly number[] => (value === null ? [] : decodeGroups(value));
  const portBytes = Uint8Array.of(port >> 8, port & 255);
  const holding = new Set(
    bits(look("policy_port", policyPortKey.encode({ prefixlen: 56, setDirection, protocol, port: portBytes }))),
  );
  const prefix =
    peer.family === 4
      ? look("policy_prefix4", policyPrefix4Key.encode({ prefixlen: 64, setDirection, address: addressNumber(peer) }))
      : look("policy_prefix6", policyPrefix6Key.encode({ prefixlen: 160, setDirection, address: peer.bytes }));
  const isOutside = [IdentityNumber.world, IdentityNumber.worldIpv4, IdentityNumber.worldIpv6].some(
    (each) => each === identity,
  );
  const outsideOnly = new Set(decodeGroups(policyBits.encode(policySet.decode(shape).outsideOnly)));
  const naming = [
    ...bits(prefix).filter((group) => isOutside || !outsideOnly.has(group)),
    ...bits(look("policy_peer", policyPeerKey.encode({ setDirection, identity }))),
    ...bits(look("policy_peer", policyPeerKey.encode({ setDirection, identity: 0 }))),
  ];
  return naming.filter((group) => holding.has(group));
}
