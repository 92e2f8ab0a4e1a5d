/** Which backend a client of a service had last, where the service keeps it (sessionAffinity), or the client's socket does. */
import { fromMappedBytes } from "../model/ip.ts";
import type { MapInfo } from "../native/bpf-contract.ts";
import type { NativeBinding } from "../native/contract.ts";
import { AffinityClient, affinity, affinityKey } from "../native/layouts.gen.ts";
import { readEntries } from "./map-table.ts";
import type { KernelAffinity } from "./report.ts";

/** @param nowSeconds of CLOCK_MONOTONIC */
export async function readAffinities(
  native: Pick<NativeBinding, "mapDump">,
  map: MapInfo,
  nowSeconds: number,
): Promise<readonly KernelAffinity[]> {
  return (await readEntries(native, map)).map(({ key, value }) => {
    const { client, service, port, protocol, kind } = affinityKey.decode(key);
    const kept = affinity.decode(value);
    return {
      client:
        kind === AffinityClient.address
          ? { kind: "address", address: fromMappedBytes(client) }
          : {
              kind: kind === AffinityClient.netns ? "netns" : "socket",
              cookie: Buffer.from(client).readBigUInt64LE(0),
            },
      service: { address: fromMappedBytes(service), port },
      protocol,
      backend: { address: fromMappedBytes(kept.address), port: kept.port },
      idleSeconds: Math.max(0, nowSeconds - kept.lastUsed),
    };
  });
}
