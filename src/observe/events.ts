/** Events of the datapath for people: names, texts and wall time instead of numbers. */
import type { EventDto } from "../api/dto.ts";
import type { DatapathEvent, Endpoint } from "../datapath/report.ts";
import { reasonText } from "../model/reasons.gen.ts";
import type { NameOf } from "./names.ts";
import { protocolName } from "./text.ts";

/** Two clocks read at one moment. */
export interface ClockReading {
  /** ns of CLOCK_MONOTONIC, which events are stamped with. */
  readonly monotonicNs: bigint;
  /** ms since the epoch. */
  readonly wallMs: number;
}

export function eventReport(
  events: readonly DatapathEvent[],
  nameOf: NameOf,
  reading: ClockReading,
): readonly EventDto[] {
  return events.map((event) => ({
    time: wallTime(event.timeNs, reading),
    type: event.type,
    verdict: verdictOf(event),
    reason: reasonText(event.reason),
    direction: event.direction,
    protocol: protocolName(event.protocol),
    source: peer(event.source, event.sourceIdentity, nameOf),
    destination: peer(event.destination, event.destinationIdentity, nameOf),
    rules: event.rules,
    bytes: event.length,
  }));
}

/** ISO text; to the ms, as the reading of the wall clock is. */
export function wallTime(timeNs: bigint, { monotonicNs, wallMs }: ClockReading): string {
  return new Date(wallMs - Number((monotonicNs - timeNs) / 1_000_000n)).toISOString();
}

/** Audit: it passed, and would have been denied. Redirected: the L7 proxy has the last word. */
function verdictOf({ type, allowed, audit, proxied }: DatapathEvent): EventDto["verdict"] {
  if (audit) return "audit";
  if (proxied && type === "verdict") return "redirected";
  return allowed && type !== "drop" ? "allowed" : "denied";
}

function peer({ address, port }: Endpoint, identity: number, nameOf: NameOf): EventDto["source"] {
  return { address: address.text, port, identity, name: nameOf(address) };
}
