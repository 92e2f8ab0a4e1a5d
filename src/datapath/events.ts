/**
 * The ring of events: batches of records as the kernel wrote them, decoded only if somebody asks. The ring is pinned; what comes while no
 * agent reads it fills it and is then counted as lost, never waited for.
 */
import { fromMappedBytes } from "../model/ip.ts";
import type { MapInfo } from "../native/bpf-contract.ts";
import type { NativeBinding } from "../native/contract.ts";
import type { Handle } from "../native/handle.ts";
import { Direction, EventFlags, EventType, event } from "../native/layouts.gen.ts";
import type { DatapathEvent, EventBatch } from "./report.ts";

/** ms between two readings of a ring that the kernel does not call for. */
const intervalMs = 100;

/** Rules behind a group of a policy set. */
export type RulesOf = (policySet: number, direction: "egress" | "ingress", group: number) => readonly string[];

export class EventRing {
  readonly #native: Pick<NativeBinding, "openRing" | "closeRing">;
  readonly #rulesOf: RulesOf;
  readonly #listeners: ((batch: EventBatch) => void)[] = [];
  #ring: Handle | null = null;

  constructor(native: Pick<NativeBinding, "openRing" | "closeRing">, rulesOf: RulesOf) {
    this.#native = native;
    this.#rulesOf = rulesOf;
  }

  listen(listener: (batch: EventBatch) => void): void {
    this.#listeners.push(listener);
  }

  open(map: MapInfo): void {
    this.#ring ??= this.#native.openRing(map.handle, event.size, intervalMs, (records, count) => {
      const batch = new RecordBatch(records, count, this.#rulesOf);
      for (const listener of this.#listeners) listener(batch);
    });
  }

  async close(): Promise<void> {
    const ring = this.#ring;
    this.#ring = null;
    if (ring !== null) await this.#native.closeRing(ring);
  }
}

class RecordBatch implements EventBatch {
  readonly count: number;
  readonly #records: Buffer;
  readonly #rulesOf: RulesOf;
  #decoded: readonly DatapathEvent[] | null = null;

  constructor(records: Buffer, count: number, rulesOf: RulesOf) {
    this.#records = records;
    this.count = count;
    this.#rulesOf = rulesOf;
  }

  decode(): readonly DatapathEvent[] {
    this.#decoded ??= Array.from({ length: this.count }, (_, index) =>
      decodeEvent(this.#records, index * event.size, this.#rulesOf),
    );
    return this.#decoded;
  }
}

/** lowest group: none. */
const noGroup = 0xffff;

const typeNames: Readonly<Record<number, DatapathEvent["type"]>> = {
  [EventType.drop]: "drop",
  [EventType.verdict]: "verdict",
  [EventType.newFlow]: "flow",
};

export function decodeEvent(records: Buffer, offset: number, rulesOf: RulesOf): DatapathEvent {
  const raw = event.decode(records, offset);
  const direction = raw.direction === Direction.ingress ? "ingress" : "egress";
  const has = (flag: number) => (raw.flags & flag) !== 0;
  return {
    timeNs: raw.time,
    type: typeNames[raw.type] ?? "flow",
    reason: raw.reason,
    direction,
    protocol: raw.protocol,
    allowed: has(EventFlags.allowed),
    audit: has(EventFlags.audit),
    proxied: has(EventFlags.proxy),
    reply: has(EventFlags.reply),
    source: { address: fromMappedBytes(raw.source), port: raw.sourcePort },
    destination: { address: fromMappedBytes(raw.destination), port: raw.destinationPort },
    sourceIdentity: raw.sourceIdentity,
    destinationIdentity: raw.destinationIdentity,
    ifindex: raw.ifindex,
    endpoint: raw.endpoint,
    rules: raw.group === noGroup ? [] : rulesOf(raw.policySet, direction, raw.group),
    length: raw.length,
  };
}
