/** Packets of pod a and its peers, for tests of what policy says to them. */
import { podFrame, type Family, stackFrame, who, wireFrame } from "./programs-frames.ts";
import type { Transport } from "./packets.ts";
import type { ProgramNode, RunResult } from "./programs.ts";

export type Direction = "egress" | "ingress";

/** Pod a sends to `peer` (egress), or gets from it by the network or the node's stack (ingress). */
export function exchange(
  node: ProgramNode,
  direction: Direction,
  peer: string,
  family: Family,
  transport: Transport,
  fromStack = false,
): Promise<RunResult> {
  const mine = who.a[family];
  if (direction === "egress") return node.fromPod("a", podFrame("a", mine, peer, transport));
  if (fromStack) return node.run("to_pod", stackFrame("a", peer, mine, transport));
  return node.run("from_network", wireFrame(peer, mine, transport));
}
