/** The maps of loaded programs as typed tables, and what tests put into them in the terms of the field. */
import type { NativeBinding } from "../../src/native/contract.ts";
import type { Handle } from "../../src/native/handle.ts";
import type { Codec } from "../../src/native/layout.ts";
import {
  MAGLEV_CHUNK,
  MAGLEV_NARROW,
  type MapName,
  mapLayouts,
  type PolicyBits,
  POLICY_SET_GUARDS_SHIFT,
  POLICY_WORDS,
  SERVICE_MAGLEV_SHIFT,
  ServiceFlags,
  ServiceScope,
  SourceRuleFlags,
} from "../../src/native/layouts.gen.ts";
import { bytesOf, isIpv6 } from "./packets.ts";

type Decoded<C> = C extends Codec<infer T> ? T : never;
export type MapKey<N extends MapName> = Decoded<(typeof mapLayouts)[N]["key"]>;
export type MapValue<N extends MapName> = Decoded<(typeof mapLayouts)[N]["value"]>;

/** 16 bytes; IPv4 as ::ffff:a.b.c.d. */
export function mapped(text: string): Uint8Array {
  const bytes = bytesOf(text);
  return bytes.length === 16 ? bytes : Buffer.concat([Buffer.alloc(10), Buffer.from([0xff, 0xff]), bytes]);
}

/** An IPv4 address as the number that codecs of network-order fields take. */
export const ipv4Number = (text: string): number => Buffer.from(bytesOf(text)).readUInt32BE(0);

export function bits(groups: readonly number[]): PolicyBits {
  const words = Array.from({ length: POLICY_WORDS }, () => 0n);
  for (const group of groups) words[group >> 6] = (words[group >> 6] ?? 0n) | (1n << BigInt(group & 63));
  return { words };
}

export class Maps {
  readonly #native: NativeBinding;
  readonly #handles: ReadonlyMap<string, Handle>;

  constructor(native: NativeBinding, handles: ReadonlyMap<string, Handle>) {
    this.#native = native;
    this.#handles = handles;
  }

  handle(name: MapName): Handle {
    const handle = this.#handles.get(name);
    if (handle === undefined) throw new Error(`no loaded object has a map ${name}`);
    return handle;
  }

  /** All of them, for another object that is to use the same. */
  shared(): readonly { readonly map: string; readonly handle: Handle }[] {
    return [...this.#handles].map(([map, handle]) => ({ map, handle }));
  }

  put<N extends MapName>(name: N, key: MapKey<N>, value: MapValue<N>): void {
    this.#native.mapUpdate(this.handle(name), this.#key(name, key), this.#valueCodec(name).encode(value), 0);
  }

  get<N extends MapName>(name: N, key: MapKey<N>): MapValue<N> | null {
    const bytes = this.#native.mapLookup(this.handle(name), this.#key(name, key));
    return bytes === null ? null : this.#valueCodec(name).decode(bytes);
  }

  delete<N extends MapName>(name: N, key: MapKey<N>): boolean {
    return this.#native.mapDelete(this.handle(name), this.#key(name, key));
  }

  /** All values of a per-CPU map under one key. */
  perCpu<N extends MapName>(name: N, key: MapKey<N>): readonly MapValue<N>[] {
    const bytes = this.#native.mapLookup(this.handle(name), this.#key(name, key));
    const codec = this.#valueCodec(name);
    const stride = Math.ceil(codec.size / 8) * 8;
    return bytes === null
      ? []
      : Array.from({ length: bytes.length / stride }, (_, cpu) => codec.decode(bytes, cpu * stride));
  }

  /** All CPUs' values become zero. */
  zero<N extends MapName>(name: N, key: MapKey<N>): void {
    const bytes = this.#native.mapLookup(this.handle(name), this.#key(name, key));
    if (bytes !== null) this.#native.mapUpdate(this.handle(name), this.#key(name, key), bytes.fill(0), 0);
  }

  async entries<N extends MapName>(
    name: N,
  ): Promise<readonly { readonly key: MapKey<N>; readonly value: MapValue<N> }[]> {
    const { keys, values, count } = await this.#native.mapDump(this.handle(name));
    const keyCodec = mapLayouts[name].key as Codec<MapKey<N>>;
    const valueCodec = this.#valueCodec(name);
    return Array.from({ length: count }, (_, i) => ({
      key: keyCodec.decode(keys, i * keyCodec.size),
      value: valueCodec.decode(values, i * valueCodec.size),
    }));
  }

  async clear(...names: readonly MapName[]): Promise<void> {
    for (const name of names) {
      const { keys, count } = await this.#native.mapDump(this.handle(name));
      if (count > 0) await this.#native.mapDeleteBatch(this.handle(name), keys, count);
    }
  }

  #key<N extends MapName>(name: N, key: MapKey<N>): Buffer {
    return (mapLayouts[name].key as Codec<MapKey<N>>).encode(key);
  }

  #valueCodec<N extends MapName>(name: N): Codec<MapValue<N>> {
    return mapLayouts[name].value as Codec<MapValue<N>>;
  }
}

/** Who has an address. */
export function putIdentity(maps: Maps, address: string, identity: number, flags = 0): void {
  if (isIpv6(address)) maps.put("ipcache6", { address: bytesOf(address) }, { identity, flags });
  else maps.put("ipcache4", { address: ipv4Number(address) }, { identity, flags });
}

/** One direction of a policy set. Ports are `protocol/first bits of port`: longer prefixes carry the groups of shorter ones. */
export interface TestPolicy {
  readonly set: number;
  readonly direction: "egress" | "ingress";
  /** Groups that allow, before those that deny. */
  readonly guards?: number;
  readonly denies?: number;
  readonly allows?: number;
  readonly redirects?: number;
  readonly outsideOnly?: readonly number[];
  /** identity (0: any) -> groups */
  readonly peers?: Readonly<Record<number, readonly number[]>>;
  /** "10.0.0.0/8" -> groups */
  readonly prefixes?: Readonly<Record<string, readonly number[]>>;
  readonly ports: readonly {
    readonly protocol?: number;
    readonly port?: number;
    /** Bits of the port that count; 16 with a port, else 0. */
    readonly length?: number;
    readonly groups: readonly number[];
  }[];
}

export function putPolicy(maps: Maps, policy: TestPolicy): void {
  const { guards = 0, denies = 0, allows = 0, redirects = 0, prefixes = {} } = policy;
  const setDirection = policy.set * 2 + (policy.direction === "ingress" ? 1 : 0);
  const families = new Set(Object.keys(prefixes).map((text) => (isIpv6(text) ? 2 : 1)));
  maps.put(
    "policy_set",
    { setDirection },
    {
      words: Math.ceil((guards + denies + allows + redirects) / 64),
      flags: [...families].reduce((flags, flag) => flags | flag, guards << POLICY_SET_GUARDS_SHIFT),
      denies,
      allows,
      outsideOnly: bits(policy.outsideOnly ?? []),
    },
  );
  for (const [identity, groups] of Object.entries(policy.peers ?? {}))
    maps.put("policy_peer", { setDirection, identity: Number(identity) }, bits(groups));
  for (const [text, groups] of Object.entries(prefixes)) {
    const [address = "", length = "0"] = text.split("/");
    const prefixlen = 32 + Number(length);
    if (isIpv6(address))
      maps.put("policy_prefix6", { prefixlen, setDirection, address: bytesOf(address) }, bits(groups));
    else maps.put("policy_prefix4", { prefixlen, setDirection, address: ipv4Number(address) }, bits(groups));
  }
  for (const { protocol, port, length = port === undefined ? 0 : 16, groups } of policy.ports) {
    const bytes = Buffer.alloc(2);
    bytes.writeUInt16BE(port ?? 0);
    const prefixlen = protocol === undefined ? 32 : 40 + length;
    maps.put("policy_port", { prefixlen, setDirection, protocol: protocol ?? 0, port: bytes }, bits(groups));
  }
}

export interface TestService {
  readonly id: number;
  readonly address: string;
  readonly port: number;
  readonly protocol: number;
  readonly backends: readonly { readonly address: string; readonly port: number }[];
  readonly affinitySeconds?: number;
  /** Of clients outside of the node. */
  readonly outside?: boolean;
  /** A hash of the client chooses: the backends by slot; empty: evenly, without a table. */
  readonly maglev?: readonly number[];
  /** Backends on other nodes answer clients themselves. */
  readonly dsr?: boolean;
  /** It is for some clients outside alone: see `putSources`. */
  readonly restricted?: boolean;
}

/** Who outside may use a service: by a list, which is there under its number once it has a prefix. */
export interface TestSources {
  readonly list: number;
  readonly deny?: boolean;
  readonly prefixes: readonly string[];
}

export function putSources(
  maps: Maps,
  at: Pick<TestService, "address" | "port" | "protocol">,
  sources: TestSources,
): void {
  const { list, deny = false, prefixes } = sources;
  const place = { port: at.port, protocol: at.protocol, scope: ServiceScope.outside };
  const rule = { list, flags: deny ? SourceRuleFlags.deny : 0 };
  if (isIpv6(at.address)) maps.put("source_rule6", { address: bytesOf(at.address), ...place }, rule);
  else maps.put("source_rule4", { address: ipv4Number(at.address), ...place }, rule);
  for (const text of prefixes) {
    const [address = "", length = "0"] = text.split("/");
    const prefixlen = 32 + Number(length);
    if (isIpv6(address)) maps.put("source_range6", { prefixlen, list, address: bytesOf(address) }, { listed: 1 });
    else maps.put("source_range4", { prefixlen, list, address: ipv4Number(address) }, { listed: 1 });
  }
}

export function putService(maps: Maps, service: TestService): void {
  service.backends.forEach(({ address, port }, slot) => {
    maps.put("service_backend", { service: service.id, slot }, { address: mapped(address), port });
  });
  const { port, protocol, maglev } = service;
  if (maglev !== undefined) putMaglev(maps, service, maglev);
  const hashed = maglev === undefined ? 0 : ServiceFlags.hashed | (maglev.length << SERVICE_MAGLEV_SHIFT);
  const affine = service.affinitySeconds === undefined ? 0 : ServiceFlags.affinity;
  const place = { port, protocol, scope: service.outside === true ? ServiceScope.outside : ServiceScope.inside };
  const value = {
    id: service.id,
    backends: service.backends.length,
    flags:
      hashed |
      affine |
      (service.dsr === true ? ServiceFlags.dsr : 0) |
      (service.restricted === true ? ServiceFlags.ranges : 0),
    affinitySeconds: service.affinitySeconds ?? 0,
  };
  if (isIpv6(service.address)) maps.put("service6", { address: bytesOf(service.address), ...place }, value);
  else maps.put("service4", { address: ipv4Number(service.address), ...place }, value);
}

function putMaglev(maps: Maps, { id, backends }: TestService, table: readonly number[]): void {
  const wide = backends.length > MAGLEV_NARROW;
  const bytes = Buffer.from(wide ? Uint16Array.from(table).buffer : Uint8Array.from(table).buffer);
  for (let chunk = 0; chunk * MAGLEV_CHUNK < bytes.length; chunk++) {
    const slots = Buffer.alloc(MAGLEV_CHUNK);
    bytes.copy(slots, 0, chunk * MAGLEV_CHUNK, (chunk + 1) * MAGLEV_CHUNK);
    maps.put("maglev", { service: id, chunk }, { slots });
  }
}
