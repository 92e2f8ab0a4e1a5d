/** Packets and bytes per reason and direction: the sum over all CPUs of what the programs counted. */
import type { MapInfo } from "../native/bpf-contract.ts";
import type { NativeBinding } from "../native/contract.ts";
import { u32, u64 } from "../native/layout.ts";
import { metricsValue } from "../native/layouts.gen.ts";
import type { TrafficCount } from "./report.ts";

/** What counted nothing is left out. */
export function readTraffic(native: Pick<NativeBinding, "mapLookup">, metrics: MapInfo): readonly TrafficCount[] {
  const counts: TrafficCount[] = [];
  for (let index = 0; index < metrics.maxEntries; index++) {
    const perCpu = native.mapLookup(metrics.handle, u32.encode(index));
    if (perCpu === null) continue;
    let packets = 0n;
    let bytes = 0n;
    for (let offset = 0; offset < perCpu.length; offset += metricsValue.size) {
      const value = metricsValue.decode(perCpu, offset);
      packets += value.packets;
      bytes += value.bytes;
    }
    if (packets === 0n) continue;
    // Exact up to 2^53: at a million packets a second that is 285 years.
    const direction = index & 1 ? "ingress" : "egress";
    counts.push({ reason: index >> 1, direction, packets: Number(packets), bytes: Number(bytes) });
  }
  return counts;
}

/** Events for which the ring had no room, since the maps were made. */
export function readLostEvents(native: Pick<NativeBinding, "mapLookup">, lost: MapInfo): number {
  const perCpu = native.mapLookup(lost.handle, u32.encode(0));
  let sum = 0n;
  for (let offset = 0; perCpu !== null && offset < perCpu.length; offset += 8) sum += u64.decode(perCpu, offset);
  return Number(sum);
}
