/** Makes what rules are resolved against from what is known, and keeps what did not change. */
import type { TableSnapshot } from "../../model/store.ts";
import type { AddressHolders } from "../identity/addresses.ts";
import type { PodIdentities } from "../identity/pods.ts";
import { PeerIndex } from "./peer-index.ts";
import type { Block } from "./rules.ts";
import { SelectorIndex } from "./selector-index.ts";
import { ServiceEndpoints } from "./service-endpoints.ts";
import { hostBlock } from "./host-block.ts";
import { nextMoment, type Surroundings } from "./surroundings.ts";

export interface KnownFacts extends Pick<TableSnapshot, "services" | "endpointSlices" | "cidrGroups"> {
  readonly identities: PodIdentities;
  readonly holders: AddressHolders;
  /** All but the one that is computed for, in order of their names. */
  readonly nodes: Surroundings["nodes"];
}

export class SurroundingsIndex {
  readonly #selectors = new SelectorIndex();
  readonly #peers = new PeerIndex();
  readonly #endpoints = new ServiceEndpoints();
  #apiServer: readonly Block[] = [];
  #last: { readonly parts: readonly unknown[]; readonly surroundings: Surroundings } | null = null;

  /** @returns the same object as before, if all of it says the same; otherwise the one of before is not asked any more */
  update({ identities, holders, services, endpointSlices, cidrGroups, nodes }: KnownFacts): Surroundings {
    this.#selectors.update(identities.identities);
    this.#peers.update(identities, holders.addressesOf);
    this.#endpoints.update(endpointSlices);
    this.#apiServer = this.#findApiServer(holders);
    const parts = [
      this.#selectors.version,
      this.#peers.version,
      this.#apiServer,
      services,
      endpointSlices,
      cidrGroups,
      nodes,
    ];
    const last = this.#last;
    if (last !== null && parts.every((part, at) => part === last.parts[at])) return last.surroundings;
    const surroundings = {
      moment: nextMoment(),
      selectors: this.#selectors,
      peers: this.#peers,
      apiServer: this.#apiServer,
      services,
      endpoints: this.#endpoints,
      groups: cidrGroups,
      nodes,
    };
    this.#last = { parts, surroundings };
    return surroundings;
  }

  /** A pod that the slice names stays a pod. */
  #findApiServer({ identities }: AddressHolders): readonly Block[] {
    const isPod = (text: string): boolean => identities.get(text)?.node === false;
    const blocks = this.#endpoints
      .addresses("default/kubernetes")
      .filter(({ text }) => !isPod(text))
      .map((address) => hostBlock(address, false));
    const before = this.#apiServer;
    return blocks.length === before.length && blocks.every((block, at) => block === before[at]) ? before : blocks;
  }
}
