/**
 * The pods of this node in the kernel: `endpoint` by the host side of their veth, and the same value under each of their addresses in
 * `endpoint_addr`. All entries are ours; a restarted agent reads set number, revision and flags from them. While the agent is away
 * every pod goes on with the policy that it has.
 *
 * Order: what goes, goes first (its address may be another pod's already): `endpoint`, then `endpoint_addr`. What opens: `endpoint_addr`, then
 * `endpoint`. Each with one write per key, so a packet sees a set with its revision and flags, never a mixture.
 *
 * A pod that is new stays closed until its set is in the kernel whole. A pod that is open keeps what it has (its last good set)
 * while its policy is refused, cannot be written, or is not known.
 *
 * Each change of the cluster comes by here, with all pods of the node: for those that it does not touch nothing is encoded or decoded again.
 */
import type { CompiledSet, DesiredEndpoint } from "../compute/desired.ts";
import { fromMappedBytes, toMappedBytes } from "../model/ip.ts";
import type { LocalEndpointRow } from "../model/tables.ts";
import type { MapInfo } from "../native/bpf-contract.ts";
import { type Endpoint, EndpointFlags, endpoint, endpointAddressKey, endpointKey } from "../native/layouts.gen.ts";
import { addressNumber, macBytes } from "./addresses.ts";
import { Counters, keyText, type MapNative, MapTable } from "./map-table.ts";
import { endpointFlags } from "./policy-encode.ts";
import type { EntryFailure } from "./problems.ts";
import type { EndpointState } from "./report.ts";

export interface EndpointContext {
  readonly sets: ReadonlyMap<string, CompiledSet>;
  /** Number of a set that is in the kernel, 0: it needs no entries, null: it is not there. */
  readonly numberOf: (set: CompiledSet) => number | null;
  /** Both programs are on the device: without them nothing would hold the pod to its policy. */
  readonly isAttached: (ifindex: number) => boolean;
  /** Verdicts kept under this set may be wrong now: its endpoints get another revision. */
  readonly isStale: (setNumber: number, flags: number) => boolean;
}

/** Why a pod does not have the policy of this update. */
export interface HeldBack {
  readonly pod: string;
  readonly kept: boolean;
  readonly reason: "unknown" | "refused" | "not-written" | "not-attached";
  readonly detail: string;
}

export interface EndpointResult {
  readonly failures: readonly EntryFailure[];
  readonly heldBack: readonly HeldBack[];
}

interface Wanted {
  readonly value: Endpoint;
  /** The value, encoded. */
  readonly bytes: Buffer;
  readonly heldBack: HeldBack | null;
}

/** A decision that holds back nothing, and what it was made from beside what is in the kernel. */
interface Decided {
  readonly row: LocalEndpointRow;
  readonly identity: number;
  readonly policySet: number;
  readonly flags: number;
  readonly wanted: Wanted;
}

/** Of a pod in both maps. */
interface EndpointKeys {
  readonly device: string;
  readonly addresses: readonly string[];
}

const noAddress = new Uint8Array(16);

export class EndpointReconciler {
  readonly counters = new Counters();
  readonly devices: MapTable;
  readonly addresses: MapTable;
  #revision = 0;
  /** Pods whose every endpoint is open with the policy of the last update, with their devices. */
  #ready = new Map<string, readonly number[]>();
  readonly #byId = new Map<number, Endpoint>();
  /** By the endpoint's number. */
  readonly #heldBack = new Map<number, string>();
  /** By device; of the last update. */
  #decided = new Map<number, Decided>();
  /** Rows and entries are never changed in place, so what follows from one holds as long as there is that one. */
  readonly #keys = new WeakMap<LocalEndpointRow, EndpointKeys>();
  readonly #decoded = new WeakMap<Buffer, Endpoint>();

  constructor(native: MapNative, byDevice: MapInfo, byAddress: MapInfo) {
    this.devices = new MapTable(native, byDevice, this.counters, (key) => `pod at ${deviceText(key)}`);
    this.addresses = new MapTable(native, byAddress, this.counters, (key) => `pod address ${addressText(key)}`);
  }

  /** @returns how many entries were not as they were believed to be */
  async read(): Promise<number> {
    const differing = (await this.devices.read()) + (await this.addresses.read());
    for (const { actual } of [this.devices, this.addresses]) {
      for (const value of actual.values()) this.reserveRevision(endpoint.decode(value).policyRevision);
    }
    return differing;
  }

  /** Conntrack may remember revisions that no endpoint has any more; they must not come again with another meaning. */
  reserveRevision(revision: number): void {
    this.#revision = Math.max(this.#revision, revision);
  }

  /** What the kernel has, decoded. */
  known(): readonly Endpoint[] {
    return [...this.devices.actual.values()].map((value) => this.#decode(value));
  }

  /** Policy sets that some entry names. */
  usedSets(): ReadonlySet<number> {
    const values = [...this.devices.actual.values(), ...this.addresses.actual.values()];
    return new Set(values.map((value) => this.#decode(value).policySet));
  }

  stateOf(id: number): EndpointState | null {
    const value = this.#byId.get(id);
    if (value === undefined) return null;
    const heldBack = this.#heldBack.get(id);
    return {
      state: isClosed(value) ? "closed" : "ready",
      policyRevision: value.policyRevision,
      policySet: value.policySet,
      ...(heldBack !== undefined && { heldBack }),
    };
  }

  /** Devices of a pod that is open with the policy of the last update; null if it is not. */
  readyDevices(pod: string): readonly number[] | null {
    return this.#ready.get(pod) ?? null;
  }

  async apply(desired: readonly DesiredEndpoint[], context: EndpointContext): Promise<EndpointResult> {
    const blocked = new Map<number, string>();
    let wanted = this.#want(desired, context, blocked, new Map());
    const failures: EntryFailure[] = [...(await this.devices.remove()), ...(await this.addresses.remove())];

    const opened = await this.addresses.write();
    failures.push(...opened);
    if (opened.length > 0) {
      // Reached under one of its addresses only would be half a pod: it opens with all or stays as it was.
      for (const { row } of desired) {
        if (!this.#hasAddresses(row, wanted)) blocked.set(row.ifindex, "map endpoint_addr did not take it");
      }
      wanted = this.#want(desired, context, blocked, wanted);
      await this.addresses.write();
    }
    const entered = await this.devices.write();
    failures.push(...entered);
    if (entered.length > 0) {
      for (const { row } of desired) {
        if (!this.#hasDevice(row, wanted)) blocked.set(row.ifindex, "map endpoint did not take it");
      }
      wanted = this.#want(desired, context, blocked, wanted);
      await this.addresses.write();
    }
    this.#settle(desired, wanted);
    return { failures, heldBack: [...wanted.values()].flatMap(({ heldBack }) => heldBack ?? []) };
  }

  /** Decides each endpoint's entry from what should hold and what is there. */
  #want(
    desired: readonly DesiredEndpoint[],
    context: EndpointContext,
    blocked: ReadonlyMap<number, string>,
    decidedBefore: ReadonlyMap<number, Wanted>,
  ): ReadonlyMap<number, Wanted> {
    const wanted = new Map<number, Wanted>();
    const decided = new Map<number, Decided>();
    const devices = new Map<string, Buffer>();
    const addresses = new Map<string, Buffer>();
    for (const each of desired) {
      const { row } = each;
      const block = blocked.get(row.ifindex);
      const before = block === undefined ? decidedBefore.get(row.ifindex) : undefined;
      const decision = before ?? this.#decide(each, context, block);
      const { value, bytes, heldBack } = decision;
      wanted.set(row.ifindex, decision);
      if (heldBack === null) {
        const { policySet, flags } = value;
        decided.set(row.ifindex, { row, identity: each.identity, policySet, flags, wanted: decision });
      }
      const keys = this.#keysOf(row);
      devices.set(keys.device, bytes);
      for (const key of keys.addresses) addresses.set(key, bytes);
    }
    this.#decided = decided;
    this.devices.replaceDesired(devices);
    this.addresses.replaceDesired(addresses);
    return wanted;
  }

  #decide(desired: DesiredEndpoint, context: EndpointContext, blocked: string | undefined): Wanted {
    const { row, set: setKey, audit } = desired;
    const hold = (reason: HeldBack["reason"], detail: string): Wanted => {
      const open = this.#open(row);
      const value =
        open === null
          ? this.#make(desired, this.#previous(row), 0, EndpointFlags.closed, context)
          : this.#renewed(open, context);
      return { value, bytes: endpoint.encode(value), heldBack: { pod: row.pod, kept: open !== null, reason, detail } };
    };
    const set = setKey === null ? undefined : context.sets.get(setKey);
    if (blocked !== undefined) return hold("not-written", blocked);
    if (!context.isAttached(row.ifindex)) return hold("not-attached", `its programs are not on ${row.ifname}`);
    if (set === undefined) return hold("unknown", "pod or policy are not known");
    if (set.refused !== null) return hold("refused", set.refused);
    const number = context.numberOf(set);
    if (number === null) return hold("not-written", "the policy maps did not take it");
    const flags = endpointFlags(set) | (audit ? EndpointFlags.audit : 0);
    const known = this.#decided.get(row.ifindex);
    const same =
      known !== undefined &&
      known.row === row &&
      known.identity === desired.identity &&
      known.policySet === number &&
      known.flags === flags &&
      !context.isStale(number, flags) &&
      this.devices.actual.get(this.#keysOf(row).device)?.equals(known.wanted.bytes) === true;
    if (same) return known.wanted;
    const value = this.#make(desired, this.#open(row), number, flags, context);
    return { value, bytes: endpoint.encode(value), heldBack: null };
  }

  /**
   * Content that is the same keeps its revision, so that conntrack's verdicts stay valid. Another identity is other content: the pod's peers
   * on this node are judged by it, together with the pod.
   */
  #make(
    { row, identity }: DesiredEndpoint,
    previous: Endpoint | null,
    policySet: number,
    flags: number,
    context: EndpointContext,
  ): Endpoint {
    const same =
      previous !== null &&
      previous.policySet === policySet &&
      previous.flags === flags &&
      previous.identity === identity;
    const policyRevision = same && !context.isStale(policySet, flags) ? previous.policyRevision : this.nextRevision();
    return {
      ifindex: row.ifindex,
      identity,
      policySet,
      policyRevision,
      flags,
      ipv4: addressNumber(row.ipv4),
      ipv6: row.ipv6?.bytes ?? noAddress,
      podMac: macBytes(row.podMac),
      hostMac: macBytes(row.hostMac),
      id: row.id,
    };
  }

  /** A last good set goes stale too. */
  #renewed(value: Endpoint, context: EndpointContext): Endpoint {
    if (!context.isStale(value.policySet, value.flags)) return value;
    return { ...value, policyRevision: this.nextRevision() };
  }

  /** What it has in the kernel, if that is a policy. */
  #open(row: LocalEndpointRow): Endpoint | null {
    const previous = this.#previous(row);
    return previous !== null && !isClosed(previous) ? previous : null;
  }

  /** What the kernel has for this very endpoint; another pod's entry under the same device is none. */
  #previous(row: LocalEndpointRow): Endpoint | null {
    const bytes = this.devices.actual.get(this.#keysOf(row).device);
    if (bytes === undefined) return null;
    const value = this.#decode(bytes);
    const same =
      value.id === row.id &&
      value.ipv4 === addressNumber(row.ipv4) &&
      Buffer.compare(value.ipv6, row.ipv6?.bytes ?? noAddress) === 0 &&
      Buffer.compare(value.podMac, macBytes(row.podMac)) === 0;
    return same ? value : null;
  }

  /** One that no endpoint and no flow has had. */
  nextRevision(): number {
    // 32 bits: at one change each millisecond it would come round after seven weeks, and 0 means not judged.
    this.#revision = this.#revision >= 0xffff_ffff ? 1 : this.#revision + 1;
    return this.#revision;
  }

  #hasAddresses(row: LocalEndpointRow, wanted: ReadonlyMap<number, Wanted>): boolean {
    const bytes = wanted.get(row.ifindex)?.bytes;
    const { addresses } = this.#keysOf(row);
    return bytes !== undefined && addresses.every((key) => this.addresses.actual.get(key)?.equals(bytes) === true);
  }

  #hasDevice(row: LocalEndpointRow, wanted: ReadonlyMap<number, Wanted>): boolean {
    const bytes = wanted.get(row.ifindex)?.bytes;
    return bytes !== undefined && this.devices.actual.get(this.#keysOf(row).device)?.equals(bytes) === true;
  }

  #keysOf(row: LocalEndpointRow): EndpointKeys {
    const known = this.#keys.get(row);
    if (known !== undefined) return known;
    const keys = { device: keyText(endpointKey.encode(row)), addresses: addressKeys(row) };
    this.#keys.set(row, keys);
    return keys;
  }

  #decode(bytes: Buffer): Endpoint {
    const known = this.#decoded.get(bytes);
    if (known !== undefined) return known;
    const value = endpoint.decode(bytes);
    this.#decoded.set(bytes, value);
    return value;
  }

  #settle(desired: readonly DesiredEndpoint[], wanted: ReadonlyMap<number, Wanted>): void {
    const ready = new Map<string, number[]>();
    const notReady = new Set<string>();
    this.#heldBack.clear();
    for (const { row } of desired) {
      const decided = wanted.get(row.ifindex);
      if (decided !== undefined && decided.heldBack !== null) this.#heldBack.set(row.id, decided.heldBack.detail);
      const isReady =
        decided !== undefined &&
        decided.heldBack === null &&
        this.#hasDevice(row, wanted) &&
        this.#hasAddresses(row, wanted);
      if (!isReady) notReady.add(row.pod);
      const devices = ready.get(row.pod) ?? [];
      devices.push(row.ifindex);
      ready.set(row.pod, devices);
    }
    for (const pod of notReady) ready.delete(pod);
    this.#ready = ready;
    this.#byId.clear();
    for (const value of this.known()) this.#byId.set(value.id, value);
  }
}

export function isClosed(value: Endpoint): boolean {
  return (value.flags & EndpointFlags.closed) !== 0;
}

function addressKeys(row: LocalEndpointRow): readonly string[] {
  return [row.ipv4, row.ipv6].flatMap((address) =>
    address === null ? [] : keyText(endpointAddressKey.encode({ address: toMappedBytes(address) })),
  );
}

function deviceText(key: Buffer): string {
  return `ifindex ${endpointKey.decode(key).ifindex}`;
}

function addressText(key: Buffer): string {
  return fromMappedBytes(key).text;
}
