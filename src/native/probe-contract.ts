/** The part of the addon's contract that probes other nodes: ICMP echo and TCP, and what answers the TCP of theirs. */
import type { Handle } from "./contract.ts";

export interface ProbeRequest {
  readonly kind: "icmp" | "tcp";
  /** 16 bits; the answer has it. */
  readonly sequence: number;
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  /** Of TCP. */
  readonly port: number;
  /** Bytes of the whole packet, which is not fragmented; 0: as small as can be. Of ICMP. */
  readonly size: number;
  /** Device that it leaves by; 0: as the routes say. */
  readonly ifindex: number;
}

/**
 * reply: an echo reply. unreachable, too_large: an ICMP error of `from`, a router or the host itself (and this node's own, where a neighbour does not
 * answer). accepted, refused: of TCP. failed: it could not be sent, or TCP has not got an answer in 2 s.
 */
export type ProbeEvent = "reply" | "unreachable" | "too_large" | "accepted" | "refused" | "failed";

export interface ProbeAnswer {
  readonly sequence: number;
  readonly event: ProbeEvent;
  /** too_large: MTU of the next link, 0: not told; failed: errno. */
  readonly value: number;
  readonly rttUs: number;
  /** 16 bytes, of IPv4 the first four; of TCP all zero. */
  readonly from: Uint8Array;
}

export interface ProbeBinding {
  /**
   * Sends and receives on a thread of its own; answers come in batches, those to a request at most once each but for strays of the network.
   * @param port where TCP of other nodes is accepted and closed; 0: nowhere
   * @throws NativeError EADDRINUSE: somebody has the port; EPERM: no CAP_NET_RAW
   */
  openProber(netns: string | null, port: number, onAnswers: (answers: Buffer) => void): Handle;
  /** @param requests as `packRequests` makes them */
  probe(prober: Handle, requests: Buffer): void;
  closeProber(prober: Handle): Promise<void>;
}

const requestSize = 28;
const answerSize = 28;
/** By number; probe/packet.h. */
const events: readonly ProbeEvent[] = ["reply", "unreachable", "too_large", "accepted", "refused", "failed"];

export function packRequests(requests: readonly ProbeRequest[]): Buffer {
  const packed = Buffer.alloc(requests.length * requestSize);
  let at = 0;
  for (const { kind, sequence, address, port, size, ifindex } of requests) {
    packed[at] = kind === "tcp" ? 1 : 0;
    packed[at + 1] = address.length === 16 ? 1 : 0;
    packed.writeUInt16LE(sequence, at + 2);
    packed.writeUInt16LE(port, at + 4);
    packed.writeUInt16LE(size, at + 6);
    packed.writeUInt32LE(ifindex, at + 8);
    packed.set(address, at + 12);
    at += requestSize;
  }
  return packed;
}

export function readAnswers(packed: Buffer): readonly ProbeAnswer[] {
  const answers: ProbeAnswer[] = [];
  for (let at = 0; at + answerSize <= packed.length; at += answerSize) {
    const event = events[packed[at + 2] ?? events.length];
    if (event === undefined) continue;
    answers.push({
      sequence: packed.readUInt16LE(at),
      event,
      value: packed.readUInt32LE(at + 4),
      rttUs: packed.readUInt32LE(at + 8),
      from: packed.subarray(at + 12, at + answerSize),
    });
  }
  return answers;
}
