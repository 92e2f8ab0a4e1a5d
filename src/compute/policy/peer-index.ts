/** Pods as the destinations of rules, by identity, kept over time: only what rules asked for is ever made. */
import { mapChanges } from "../../lib/map-diff.ts";
import type { Address } from "../../model/ip.ts";
import { equalRows } from "../../model/store.ts";
import type { ContainerPort } from "../../model/tables.ts";
import type { AddressHolders } from "../identity/addresses.ts";
import type { PodIdentities } from "../identity/pods.ts";

/** A pod of the cluster as a destination. */
export interface PodPeer {
  readonly ports: readonly ContainerPort[];
  /** Those that are its own, sorted. */
  readonly addresses: readonly Address[];
}

export class PeerIndex {
  #identities: PodIdentities["identities"] = new Map();
  #addressesOf: AddressHolders["addressesOf"] = new Map();
  readonly #known = new Map<number, readonly PodPeer[]>();
  #version = 0;

  /** Another number whenever an answer became another one. */
  get version(): number {
    return this.#version;
  }

  update(
    { identities, identityOfPod }: Pick<PodIdentities, "identities" | "identityOfPod">,
    addressesOf: AddressHolders["addressesOf"],
  ): void {
    const before = { identities: this.#identities, addressesOf: this.#addressesOf };
    this.#identities = identities;
    this.#addressesOf = addressesOf;
    if (this.#known.size === 0) return;
    const concerned = new Set(mapChanges(before.identities, identities).map(({ key }) => key));
    for (const { key } of mapChanges(before.addressesOf, addressesOf)) {
      const id = identityOfPod.get(key);
      if (id !== undefined) concerned.add(id);
    }
    for (const id of concerned) {
      const known = this.#known.get(id);
      if (known === undefined || equalPeers(known, this.#make(id))) continue;
      this.#known.delete(id);
      this.#version++;
    }
  }

  /** In order of the pods' names; each time the same array, until one of them changed. */
  podsOf(id: number): readonly PodPeer[] {
    const known = this.#known.get(id);
    if (known !== undefined) return known;
    const pods = this.#make(id);
    this.#known.set(id, pods);
    return pods;
  }

  #make(id: number): readonly PodPeer[] {
    return (this.#identities.get(id)?.pods ?? []).map(({ key, row }) => {
      return { ports: row.ports, addresses: this.#addressesOf.get(key) ?? noAddresses };
    });
  }
}

const noAddresses: PodPeer["addresses"] = [];

function equalPeers(left: readonly PodPeer[], right: readonly PodPeer[]): boolean {
  return (
    left.length === right.length &&
    left.every(({ ports, addresses }, at) => {
      const other = right[at];
      return other !== undefined && addresses === other.addresses && equalRows(ports, other.ports);
    })
  );
}
