/**
 * Flows that began at the addresses of services, as the programs count them: read for people, and cleared of what is no service's any more. A count
 * goes on over restarts of the agent, and begins anew with an address that was gone.
 */
import { setImmediate } from "node:timers/promises";
import type { DesiredFrontend } from "../compute/desired.ts";
import { fromMappedBytes, toMappedBytes } from "../model/ip.ts";
import type { MapInfo } from "../native/bpf-contract.ts";
import { ServiceScope, service6Key, serviceFlows } from "../native/layouts.gen.ts";
import { deleteEntries, keyBytes, keyText, type MapNative, readEntries } from "./map-table.ts";
import type { ServiceFlowCount } from "./report.ts";
import { rowChanges } from "./row-changes.ts";

/** Frontends that are looked at before others get their turn: about a millisecond. */
const sliceFrontends = 256;

export class ServiceFlowCounts {
  readonly #native: MapNative;
  readonly #map: MapInfo;
  #pruned: readonly DesiredFrontend[] | null = null;
  /** Removed the last time, and once more the next time: programs may have counted a flow while the service was on its way out of the kernel. */
  #left: readonly string[] = [];

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

  /** Removes what is of none of these. Costs what changed since the last time; the first one looks at all that is there. */
  async prune(frontends: readonly DesiredFrontend[]): Promise<void> {
    const before = this.#pruned;
    if (before === null) {
      // First: what a service that comes meanwhile counts is not among these.
      const there = (await readEntries(this.#native, this.#map)).map(({ key }) => keyText(key));
      const wanted = new Set<string>();
      for (const [at, frontend] of frontends.entries()) {
        if (at % sliceFrontends === sliceFrontends - 1) await setImmediate();
        for (const key of keysOf(frontend)) wanted.add(key);
      }
      await this.#remove(there.filter((key) => !wanted.has(key)));
    } else {
      const { gone, come } = rowChanges(before, frontends);
      const kept = new Set(come.flatMap(keysOf));
      const left = gone.flatMap(keysOf).filter((key) => !kept.has(key));
      await this.#remove([...left, ...this.#left.filter((key) => !kept.has(key))]);
      this.#left = left;
    }
    this.#pruned = frontends;
  }

  #remove(keys: readonly string[]): Promise<void> {
    return deleteEntries(this.#native, this.#map, keys.map(keyBytes));
  }
}

/** For clients of each kind. */
function keysOf({ address, port, protocol }: DesiredFrontend): readonly string[] {
  const place = { address: toMappedBytes(address), port, protocol };
  return Object.values(ServiceScope).map((scope) => keyText(service6Key.encode({ ...place, scope })));
}
