/** What an answer means, by who sent it and of which size the question was. */
import { constants } from "node:os";
import { addressFromBytes, type Address, prefixContains } from "../../model/ip.ts";
import type { ProbeAnswer } from "../../native/probe-contract.ts";
import type { MtuProbe } from "./mtu-probe.ts";
import type { NodeProbe } from "./node-probe.ts";
import type { Moment, PathProbe } from "./path-probe.ts";

export interface Probed {
  readonly node: NodeProbe;
  readonly path: PathProbe;
}

/** What a question of size is of, and how large. */
export interface Sized {
  readonly mtu: MtuProbe;
  readonly bytes: number;
}

/** Of a large packet: an error of the node itself is an answer, and one of a router's says nothing of sizes. */
export function takeSized({ node, path }: Probed, { mtu, bytes }: Sized, answer: ProbeAnswer, now: Moment): true {
  const { event, value } = answer;
  if (event === "too_large") mtu.missed(bytes, value, now);
  else if (event === "reply" || (event === "unreachable" && isOf(node, path, answer))) mtu.answered(bytes, now);
  else if (event === "failed" && value === constants.errno.EMSGSIZE) mtu.missed(bytes, 0, now);
  else mtu.unsure(now);
  return true;
}

export function tellerOf({ path }: PathProbe, { from }: ProbeAnswer): Address {
  return addressFromBytes(path.address.family === 4 ? from.slice(0, 4) : from.slice());
}

/** The node itself says so, by whichever of its addresses: nearly always by the first, for which no address is made. */
export function isOf({ node: { addresses, podCidrs } }: NodeProbe, path: PathProbe, answer: ProbeAnswer): boolean {
  const { family } = path.path.address;
  const { from } = answer;
  const isFrom = ({ bytes }: Address) => bytes.every((byte, at) => from[at] === byte);
  if (addresses.some((address) => address.family === family && isFrom(address))) return true;
  const teller = tellerOf(path, answer);
  return podCidrs.some((cidr) => prefixContains(cidr, teller));
}
