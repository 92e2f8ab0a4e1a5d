/** Addresses behind services as their EndpointSlices say, ready or not, kept over time: only what is asked for is worked out. */
import { mapChanges } from "../../lib/map-diff.ts";
import { type Address, compareAddresses } from "../../model/ip.ts";
import type { EndpointSliceRow } from "../../model/tables.ts";
import { hostBlock } from "./host-block.ts";
import type { Block } from "./rules.ts";

interface Known {
  readonly addresses: readonly Address[];
  readonly blocks: readonly Block[];
}

const nobody: Known = { addresses: [], blocks: [] };

export class ServiceEndpoints {
  #slices: ReadonlyMap<string, EndpointSliceRow> = new Map();
  /** By "namespace/service", by key. */
  readonly #ofService = new Map<string, Map<string, EndpointSliceRow>>();
  readonly #known = new Map<string, Known>();

  update(slices: ReadonlyMap<string, EndpointSliceRow>): void {
    for (const { key, before, after } of mapChanges(this.#slices, slices)) {
      for (const row of [before, after]) if (row !== undefined) this.#known.delete(serviceOf(row));
      if (before !== undefined) this.#ofService.get(serviceOf(before))?.delete(key);
      if (before !== undefined && this.#ofService.get(serviceOf(before))?.size === 0)
        this.#ofService.delete(serviceOf(before));
      if (after === undefined) continue;
      const others = this.#ofService.get(serviceOf(after));
      if (others === undefined) this.#ofService.set(serviceOf(after), new Map([[key, after]]));
      else others.set(key, after);
    }
    this.#slices = slices;
  }

  /** Sorted, each once; the same array until one of the service's slices changed. */
  addresses(service: string): readonly Address[] {
    return this.#lookUp(service).addresses;
  }

  /** The addresses as peers outside of the cluster. */
  blocks(service: string): readonly Block[] {
    return this.#lookUp(service).blocks;
  }

  #lookUp(service: string): Known {
    const known = this.#known.get(service);
    if (known !== undefined) return known;
    const slices = this.#ofService.get(service);
    if (slices === undefined) return nobody;
    const found = new Map<string, Address>();
    for (const { endpoints } of slices.values()) {
      for (const endpoint of endpoints) for (const address of endpoint.addresses) found.set(address.text, address);
    }
    const addresses = [...found.values()].sort(compareAddresses);
    const fresh = { addresses, blocks: addresses.map((address) => hostBlock(address, true)) };
    this.#known.set(service, fresh);
    return fresh;
  }
}

function serviceOf({ namespace, service }: EndpointSliceRow): string {
  return `${namespace}/${service}`;
}
