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
 */
import type { CompiledSet, DesiredEndpoint } from "../compute/desired.ts";
import { fromMappedBytes, toMappedBytes } from "../model/ip.ts";
import type { LocalEndpointRow } from "../model/tables.ts";
import type { MapInfo } from "../native/contract.ts";
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

type Wanted = { readonly value: Endpoint; readonly heldBack: HeldBack | null };

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
    return [...this.devices.actual.values()].map((value) => endpoint.decode(value));
  }

  /** Policy sets that some entry names. */
  usedSets(): ReadonlySet<number> {
    const values = [...this.devices.actual.values(), ...this.addresses.actual.values()];
    return new Set(values.map((value) => endpoint.decode(value).policySet));
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
      for (const { value } of wanted.values()) {
        if (!this.#hasAddresses(value)) blocked.set(value.ifindex, "map endpoint_addr did not take it");
      }
      wanted = this.#want(desired, context, blocked, wanted);
      await this.addresses.write();
    }
    const entered = await this.devices.write();
    failures.push(...entered);
    if (entered.length > 0) {
      for (const { value } of wanted.values()) {
        if (!this.#hasDevice(value)) blocked.set(value.ifindex, "map endpoint did not take it");
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
    const devices = new Map<string, Buffer>();
    const addresses = new Map<string, Buffer>();
    for (const each of desired) {
      const block = blocked.get(each.row.ifindex);
      const before = block === undefined ? decidedBefore.get(each.row.ifindex) : undefined;
      const decided = before ?? this.#decide(each, context, block);
      const bytes = endpoint.encode(decided.value);
      wanted.set(each.row.ifindex, decided);
      devices.set(keyText(endpointKey.encode(each.row)), bytes);
      for (const key of addressKeys(each.row)) addresses.set(key, bytes);
    }
    this.devices.replaceDesired(devices);
    this.addresses.replaceDesired(addresses);
    return wanted;
  }

  #decide(desired: DesiredEndpoint, context: EndpointContext, blocked: string | undefined): Wanted {
    const { row, set: setKey, audit } = desired;
    const previous = this.#previous(row);
    const open = previous !== null && !isClosed(previous) ? previous : null;
    const hold = (reason: HeldBack["reason"], detail: string): Wanted => ({
      value:
        open === null ? this.#make(desired, previous, 0, EndpointFlags.closed, context) : this.#renewed(open, context),
      heldBack: { pod: row.pod, kept: open !== null, reason, detail },
    });
    const set = setKey === null ? undefined : context.sets.get(setKey);
    if (blocked !== undefined) return hold("not-written", blocked);
    if (!context.isAttached(row.ifindex)) return hold("not-attached", `its programs are not on ${row.ifname}`);
    if (set === undefined) return hold("unknown", "pod or policy are not known");
    if (set.refused !== null) return hold("refused", set.refused);
    const number = context.numberOf(set);
    if (number === null) return hold("not-written", "the policy maps did not take it");
    const flags = endpointFlags(set) | (audit ? EndpointFlags.audit : 0);
    return { value: this.#make(desired, open, number, flags, context), heldBack: null };
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

  /** What the kernel has for this very endpoint; another pod's entry under the same device is none. */
  #previous(row: LocalEndpointRow): Endpoint | null {
    const bytes = this.devices.actual.get(keyText(endpointKey.encode(row)));
    if (bytes === undefined) return null;
    const value = endpoint.decode(bytes);
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

  #hasAddresses(value: Endpoint): boolean {
    const bytes = endpoint.encode(value);
    return valueKeys(value).every((key) => this.addresses.actual.get(key)?.equals(bytes) === true);
  }

  #hasDevice(value: Endpoint): boolean {
    const there = this.devices.actual.get(keyText(endpointKey.encode(value)));
    return there?.equals(endpoint.encode(value)) === true;
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
        this.#hasDevice(decided.value) &&
        this.#hasAddresses(decided.value);
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

function valueKeys({ ipv4, ipv6 }: Endpoint): readonly string[] {
  const keys: string[] = [];
  if (ipv4 !== 0) {
    const mapped = Buffer.alloc(16);
    mapped.writeUInt16BE(0xffff, 10);
    mapped.writeUInt32BE(ipv4, 12);
    keys.push(keyText(mapped));
  }
  if (ipv6.some((byte) => byte !== 0)) keys.push(keyText(Buffer.from(ipv6)));
  return keys;
}

function deviceText(key: Buffer): string {
  return `ifindex ${endpointKey.decode(key).ifindex}`;
}

function addressText(key: Buffer): string {
  return fromMappedBytes(key).text;
}
