/**
 * The part of the addon's contract that probes other nodes: ICMP echo and TCP, and what answers the TCP of theirs. A path is asked once by a request;
 * one that answers is watched: asked again and again in the addon, which says nothing until an answer is another.
 */
import type { Handle } from "./handle.ts";

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
 * answer). accepted, refused: of TCP. failed: it could not be sent, or TCP has not got an answer in 2 s. silent: a watched path was not answered in 600 ms.
 */
export type ProbeEvent = "reply" | "unreachable" | "too_large" | "accepted" | "refused" | "failed" | "silent";

/** Asked at its interval, 20 % more or less and at least 600 ms, in bursts of several paths. It ends with the first answer that is not `event` of `from`. */
export interface Watch {
  /** Not 0, and never used before. */
  readonly id: number;
  readonly kind: ProbeRequest["kind"];
  readonly address: Uint8Array;
  readonly port: number;
  readonly ifindex: number;
  readonly event: ProbeEvent;
  /** As `ProbeAnswer.from`. */
  readonly from: Uint8Array;
  readonly intervalMs: number;
  /** Bytes of the packet that it is asked by each so many ms, after so many for the first time, instead of a small one; null: never. Of ICMP. */
  readonly large: { readonly bytes: number; readonly intervalMs: number; readonly firstMs: number } | null;
}

/** What a watch has found since it was told last. */
export interface WatchCount {
  readonly id: number;
  readonly sent: number;
  /** ms since the last answer; null: there was none. */
  readonly answeredAgoMs: number | null;
  /** Of the last 64 answers to small packets, the oldest first. */
  readonly timesUs: Uint32Array;
}

export interface ProbeAnswer {
  /** Of a request. */
  readonly sequence: number;
  /** The watch that has ended, or had before; 0: it answers a request. */
  readonly watch: number;
  /** Of a watch: its large packet was not answered as it should. */
  readonly large: boolean;
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
  /** @param watches as `packWatches` makes them; of those that are known only the intervals are taken */
  watchPaths(prober: Handle, watches: Buffer): void;
  /** @param ids 32 bits each @returns what they have found, for `readCounts` */
  unwatchPaths(prober: Handle, ids: Buffer): Buffer;
  /** Of all that were set and not taken away. */
  countWatches(prober: Handle): Buffer;
  closeProber(prober: Handle): Promise<void>;
}

const requestSize = 28;
const answerSize = 32;
const watchSize = 60;
const countSize = 16;
const none = 0xffff_ffff;
/** By number; probe/packet.h. */
const events: readonly ProbeEvent[] = ["reply", "unreachable", "too_large", "accepted", "refused", "failed", "silent"];

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
      large: packed[at + 3] !== 0,
      watch: packed.readUInt32LE(at + 4),
      value: packed.readUInt32LE(at + 8),
      rttUs: packed.readUInt32LE(at + 12),
      from: packed.subarray(at + 16, at + answerSize),
    });
  }
  return answers;
}

export function packWatches(watches: readonly Watch[]): Buffer {
  const packed = Buffer.alloc(watches.length * watchSize);
  let at = 0;
  for (const { id, kind, address, port, ifindex, event, from, intervalMs, large } of watches) {
    packed.writeUInt32LE(id, at);
    packed[at + 4] = kind === "tcp" ? 1 : 0;
    packed[at + 5] = address.length === 16 ? 1 : 0;
    packed[at + 6] = events.indexOf(event);
    packed.writeUInt16LE(port, at + 8);
    packed.writeUInt16LE(large?.bytes ?? 0, at + 10);
    packed.writeUInt32LE(ifindex, at + 12);
    packed.writeUInt32LE(Math.round(intervalMs), at + 16);
    packed.writeUInt32LE(Math.round(large?.intervalMs ?? 0), at + 20);
    packed.writeUInt32LE(Math.round(large?.firstMs ?? 0), at + 24);
    packed.set(address, at + 28);
    packed.set(from, at + 44);
    at += watchSize;
  }
  return packed;
}

export function packIds(ids: readonly number[]): Buffer {
  const packed = Buffer.alloc(4 * ids.length);
  for (const [at, id] of ids.entries()) packed.writeUInt32LE(id, 4 * at);
  return packed;
}

export function readCounts(packed: Buffer): readonly WatchCount[] {
  const counts: WatchCount[] = [];
  for (let at = 0; at + countSize <= packed.length; ) {
    const [id, sent, ago, times] = [0, 4, 8, 12].map((field) => packed.readUInt32LE(at + field)) as [
      number,
      number,
      number,
      number,
    ];
    at += countSize;
    const timesUs = Uint32Array.from({ length: times }, (_, i) => packed.readUInt32LE(at + 4 * i));
    at += 4 * times;
    counts.push({ id, sent, answeredAgoMs: ago === none ? null : ago, timesUs });
  }
  return counts;
}
