/** Entries of conntrack in words that tests compare. */
import { type Ct4Key, type Ct6Key, type CtEntry, CtFlags } from "../../src/native/layouts.gen.ts";
import { ethernet } from "./packets.ts";
import { parseFrame } from "./packets-parse.ts";
import { hostMac } from "./programs-frames.ts";

export interface Flow {
  readonly protocol: number;
  /** "address:port" of who opened it, and of the other. */
  readonly initiator: string;
  readonly responder: string;
  readonly flags: readonly string[];
  readonly egressRevision: number;
  readonly ingressRevision: number;
  readonly nat: string | null;
  readonly natId: number;
}

const dotted = (address: number) => [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join(".");
const textOf = (bytes: Uint8Array) => parseFrame(textFrame(bytes)).ip?.source ?? "";
const textFrame = (bytes: Uint8Array) => {
  const packet = Buffer.alloc(40);
  packet[0] = 0x60;
  packet.set(bytes, 8);
  return ethernet({ source: hostMac, destination: hostMac }, 0x86dd, packet);
};

function describe(
  low: string,
  high: string,
  key: { readonly lowPort: number; readonly highPort: number; readonly protocol: number },
  entry: CtEntry,
): Flow {
  const lowEnd = `${low}:${key.lowPort}`;
  const highEnd = `${high}:${key.highPort}`;
  const initiatorLow = (entry.flags & CtFlags.initiatorLow) !== 0;
  const nat = textOf(entry.natAddress);
  return {
    protocol: key.protocol,
    initiator: initiatorLow ? lowEnd : highEnd,
    responder: initiatorLow ? highEnd : lowEnd,
    flags: Object.entries(CtFlags)
      .filter(([name, flag]) => name !== "initiatorLow" && (entry.flags & flag) !== 0)
      .map(([name]) => name),
    egressRevision: entry.egressRevision,
    ingressRevision: entry.ingressRevision,
    nat: entry.flags & (CtFlags.nat | CtFlags.service) ? `${nat.replace("::ffff:", "")}:${entry.natPort}` : null,
    natId: entry.natId,
  };
}

/** An entry of ct4 by who opened the flow. */
export const describeFlow4 = (key: Ct4Key, entry: CtEntry): Flow =>
  describe(dotted(key.lowAddress), dotted(key.highAddress), key, entry);

/** The same of ct6. */
export const describeFlow6 = (key: Ct6Key, entry: CtEntry): Flow =>
  describe(textOf(key.lowAddress), textOf(key.highAddress), key, entry);
