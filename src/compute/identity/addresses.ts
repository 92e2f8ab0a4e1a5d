/**
 * Who has which address. Nodes come first, so that no pod can pass for one; then what the CNI gave to a pod of this node; then a pod
 * whose node has the address in its pod CIDRs; then any other pod. Of equals the first by name. Addresses that this node has beside those
 * of its Node object (of bridges, secondary ones, those that several hosts announce) are the node too, unless somebody of the cluster has them.
 *
 * Kept over time: a change costs the addresses that it is about. Only where nodes get other addresses or pod CIDRs all is looked at anew.
 */
import { mapChanges } from "../../lib/map-diff.ts";
import { VersionedMap } from "../../lib/versioned-map.ts";
import { type Address, compareAddresses } from "../../model/ip.ts";
import type { Problem } from "../../model/status.ts";
import { equalRows } from "../../model/store.ts";
import type { LocalAddressRow, LocalEndpointRow, NodeRow } from "../../model/tables.ts";
import type { DesiredIdentity } from "../desired.ts";
import { localAddressInUse, podAddressInUse, podAddressOutside } from "./address-problems.ts";
import { NodeAddresses } from "./node-addresses.ts";
import { ClaimTable, claimsOf } from "./pod-claims.ts";
import type { PodFact } from "./pods.ts";
import { identityNumbers } from "./reserved.ts";

export interface AddressFacts {
  readonly pods: ReadonlyMap<string, PodFact>;
  readonly nodes: ReadonlyMap<string, NodeRow>;
  readonly localEndpoints: ReadonlyMap<string, LocalEndpointRow>;
  readonly localAddresses: ReadonlyMap<string, LocalAddressRow>;
}

export interface AddressHolders {
  /** By the address's text. */
  readonly identities: ReadonlyMap<string, DesiredIdentity>;
  /** Pod -> the addresses that are its own, sorted. Pods without any are not in it. */
  readonly addressesOf: ReadonlyMap<string, readonly Address[]>;
  readonly problems: readonly Problem[];
}

/** The pod that a local endpoint belongs to, if the Pod object is known and is that very pod. */
export function podOfEndpoint(row: LocalEndpointRow, pods: ReadonlyMap<string, PodFact>): PodFact | null {
  const fact = pods.get(row.pod);
  if (fact === undefined) return null;
  const other = row.uid !== null && row.uid !== "" && fact.row.uid !== "" && row.uid !== fact.row.uid;
  return other ? null : fact;
}

const nothing: AddressFacts = {
  pods: new Map(),
  nodes: new Map(),
  localEndpoints: new Map(),
  localAddresses: new Map(),
};

export class AddressBook {
  readonly #nodeName: string;
  #facts = nothing;
  #nodes: NodeAddresses;
  readonly #claims = new ClaimTable();
  /** Endpoints by the pod that they name. */
  readonly #endpoints = new Map<string, readonly LocalEndpointRow[]>();
  /** This node's own, by text. */
  readonly #local = new Map<string, readonly LocalAddressRow[]>();
  #identities = VersionedMap.from<string, DesiredIdentity>();
  #addressesOf = VersionedMap.from<string, readonly Address[]>();
  /** By "pod" or "address", and which. */
  readonly #problems = new Map<string, readonly Problem[]>();
  /** All of them; null: to be put together. */
  #told: readonly Problem[] | null = null;
  #holders: AddressHolders = { identities: this.#identities, addressesOf: this.#addressesOf, problems: [] };

  /** @param nodeName the node that is computed for; "": none */
  constructor(nodeName: string) {
    this.#nodeName = nodeName;
    this.#nodes = new NodeAddresses(nothing.nodes, nodeName);
  }

  /** @returns the same object as before, if nothing changed */
  update(facts: AddressFacts): AddressHolders {
    const before = this.#facts;
    this.#facts = facts;
    const pods = new Set(mapChanges(before.pods, facts.pods).map(({ key }) => key));
    this.#takeEndpoints(before.localEndpoints, pods);
    const addresses = new Set(this.#takeLocalAddresses(before.localAddresses));
    if (this.#takeNodes(before.nodes)) {
      for (const key of facts.pods.keys()) pods.add(key);
      for (const text of [...this.#identities.keys(), ...this.#nodes.texts, ...this.#local.keys()]) addresses.add(text);
    }
    if (pods.size === 0 && addresses.size === 0) return this.#holders;
    for (const key of pods) for (const text of this.#takePod(key)) addresses.add(text);
    const concerned = new Set(pods);
    const identities = new Map<string, DesiredIdentity | undefined>();
    for (const text of addresses) {
      const holder = this.#identities.get(text);
      identities.set(text, kept(this.#holderOf(text), holder));
      for (const { fact } of this.#claims.ofAddress(text)) concerned.add(fact.key);
    }
    this.#identities = this.#identities.with(identities);
    this.#addressesOf = this.#addressesOf.with([...concerned].map((key) => [key, this.#addressesOfPod(key)] as const));
    this.#holders = {
      identities: this.#identities,
      addressesOf: this.#addressesOf,
      problems: this.#allProblems(),
    };
    return this.#holders;
  }

  #takeEndpoints(before: AddressFacts["localEndpoints"], pods: Set<string>): void {
    for (const change of mapChanges(before, this.#facts.localEndpoints)) {
      for (const row of [change.before, change.after]) {
        if (row === undefined) continue;
        pods.add(row.pod);
        const others = (this.#endpoints.get(row.pod) ?? []).filter((each) => each !== change.before);
        const rows = row === change.after ? [...others, row] : others;
        if (rows.length === 0) this.#endpoints.delete(row.pod);
        else this.#endpoints.set(row.pod, rows);
      }
    }
  }

  /** @returns texts of those that changed */
  *#takeLocalAddresses(before: AddressFacts["localAddresses"]): Iterable<string> {
    for (const change of mapChanges(before, this.#facts.localAddresses)) {
      for (const row of [change.before, change.after]) {
        if (row === undefined) continue;
        const { text } = row.address;
        const others = (this.#local.get(text) ?? []).filter((each) => each !== change.before);
        const rows = row === change.after ? [...others, row] : others;
        if (rows.length === 0) this.#local.delete(text);
        else this.#local.set(text, rows);
        yield text;
      }
    }
  }

  /** @returns whether an address or a pod CIDR is another one's than before: their other fields change all the time */
  #takeNodes(before: AddressFacts["nodes"]): boolean {
    const moved = mapChanges(before, this.#facts.nodes).some(
      (change) =>
        !equalRows(change.before?.addresses, change.after?.addresses) ||
        !equalRows(change.before?.podCidrs, change.after?.podCidrs),
    );
    if (!moved) return false;
    this.#nodes = new NodeAddresses(this.#facts.nodes, this.#nodeName);
    this.#told = null;
    return true;
  }

  /** @returns texts of the addresses that it claims or claimed */
  #takePod(key: string): Iterable<string> {
    const fact = this.#facts.pods.get(key);
    const endpoints = (this.#endpoints.get(key) ?? []).filter((row) => podOfEndpoint(row, this.#facts.pods) !== null);
    const claims = fact === undefined ? null : claimsOf(fact, endpoints, this.#nodes);
    this.#setProblems(`pod ${key}`, claims?.problems ?? []);
    return this.#claims.replace(key, claims);
  }

  /** Undefined: nobody. */
  #holderOf(text: string): DesiredIdentity | undefined {
    const problems: Problem[] = [];
    const holder = this.#nodeOrPod(text, problems) ?? this.#ownDevice(text);
    this.#setProblems(`address ${text}`, problems);
    return holder;
  }

  #nodeOrPod(text: string, problems: Problem[]): DesiredIdentity | undefined {
    const claims = this.#claims.ofAddress(text);
    const node = this.#nodes.holderOf(text);
    if (node !== undefined) {
      const name = `Node ${node.node}`;
      problems.push(...claims.map(({ fact, address }) => podAddressInUse(fact.key, address, name)));
      const own = node.node === this.#nodeName;
      if (!own) problems.push(...this.#localInUse(text, name));
      const { address } = node;
      return {
        address,
        identity: own ? identityNumbers.host : identityNumbers.remoteNode,
        localNode: own,
        node: true,
      };
    }
    const [winner, ...losers] = claims;
    if (winner === undefined) return undefined;
    const { address, fact, rank } = winner;
    const name = `Pod ${fact.key}`;
    problems.push(...losers.map((each) => podAddressInUse(each.fact.key, each.address, name)));
    problems.push(...this.#localInUse(text, name));
    if (rank !== 1 && this.#nodes.isOutside(address)) problems.push(podAddressOutside(fact.key, address));
    return { address, identity: fact.identity, localNode: false, node: false };
  }

  #ownDevice(text: string): DesiredIdentity | undefined {
    const [row] = this.#local.get(text) ?? [];
    return row === undefined
      ? undefined
      : { address: row.address, identity: identityNumbers.host, localNode: true, node: true };
  }

  #localInUse(text: string, holder: string): readonly Problem[] {
    return (this.#local.get(text) ?? []).map(({ address, device }) => localAddressInUse(device, address, holder));
  }

  /** The same array as before, if it holds the same addresses. */
  #addressesOfPod(key: string): readonly Address[] | undefined {
    const own = this.#claims
      .ofPod(key)
      .claims.filter(({ address: { text }, fact }) => {
        return this.#nodes.holderOf(text) === undefined && this.#claims.ofAddress(text)[0]?.fact === fact;
      })
      .map(({ address }) => address)
      .sort(compareAddresses);
    if (own.length === 0) return undefined;
    const before = this.#addressesOf.get(key);
    const same = before?.length === own.length && own.every(({ text }, at) => text === before[at]?.text);
    return same ? before : own;
  }

  #setProblems(key: string, problems: readonly Problem[]): void {
    if (problems.length === 0 && !this.#problems.has(key)) return;
    this.#told = null;
    if (problems.length === 0) this.#problems.delete(key);
    else this.#problems.set(key, problems);
  }

  #allProblems(): readonly Problem[] {
    this.#told ??= [...this.#nodes.problems, ...[...this.#problems.values()].flat()];
    return this.#told;
  }
}

/** The object of before, if it says the same. */
function kept(after: DesiredIdentity | undefined, before: DesiredIdentity | undefined): DesiredIdentity | undefined {
  const same =
    after?.identity === before?.identity && after?.localNode === before?.localNode && after?.node === before?.node;
  return same ? before : after;
}
