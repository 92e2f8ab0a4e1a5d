/**
 * Flows that began at the addresses of services, as the programs count them: read for people, and cleared of what is no service's any more. A count
 * goes on over restarts of the agent, and begins anew with an address that was gone.
 */
import type { DesiredFrontend } from "../compute/desired.ts";
import { fromMappedBytes, toMappedBytes } from "../model/ip.ts";
import type { MapInfo } from "../native/contract.ts";
import { ServiceScope, service6Key, serviceFlows } from "../native/layouts.gen.ts";
import { deleteEntries, keyText, type MapNative, readEntries } from "./map-table.ts";
import type { ServiceFlowCount } from "./report.ts";

export class ServiceFlowCounts {
  readonly #native: MapNative;
  readonly #map: MapInfo;
  #pruned: readonly DesiredFrontend[] | null = null;

  constructor(native: MapNative, map: MapInfo) {
    this.#native = native;
    this.#map = map;
  }

  async read(): Promise<readonly ServiceFlowCount[]> {
    return (await readEntries(this.#native, this.#map)).map(({ key, value }) => {
      const { address, port, protocol, scope } = service6Key.decode(key);
      let begun = 0n;
      for (let at = 0; at < value.length; at += serviceFlows.size) begun += serviceFlows.decode(value, at).begun;
      return {
        frontend: { address: fromMappedBytes(address), port },
        protocol,
        outside: scope === ServiceScope.outside,
        // Exact up to 2^53.
        begun: Number(begun),
      };
    });
  }

  /** Removes what is of none of these; does nothing if they are those of the last time. */
  async prune(frontends: readonly DesiredFrontend[]): Promise<void> {
    if (frontends === this.#pruned) return;
    const wanted = new Set<string>();
    for (const { address, port, protocol } of frontends) {
      for (const scope of Object.values(ServiceScope)) {
        wanted.add(keyText(service6Key.encode({ address: toMappedBytes(address), port, protocol, scope })));
      }
    }
    const entries = await readEntries(this.#native, this.#map);
    const stale = entries.flatMap(({ key }) => (wanted.has(keyText(key)) ? [] : [Buffer.from(key)]));
    await deleteEntries(this.#native, this.#map, stale);
    this.#pruned = frontends;
  }
}
