/** What the kernel's maps hold, decoded for people: read anew each time, never from what the agent believes. */
import { addressFromBytes, fromMappedBytes, makePrefix, type Prefix } from "../model/ip.ts";
import type { CompiledSet } from "../compute/desired.ts";
import type { MapInfo } from "../native/bpf-contract.ts";
import {
  EndpointFlags,
  endpoint,
  ipcacheValue,
  MAGLEV_CHUNK,
  MAGLEV_NARROW,
  maglevKey,
  type MapName,
  POLICY_SET_GUARDS_SHIFT,
  policyPeerKey,
  policyPortKey,
  policySet,
  policyBits,
  SERVICE_MAGLEV_SHIFT,
  service,
  service4Key,
  service6Key,
  serviceBackend,
  serviceBackendKey,
  ServiceFlags,
  ServiceScope,
} from "../native/layouts.gen.ts";
import { addressOfNumber } from "./addresses.ts";
import { type MapNative, readEntries } from "./map-table.ts";
import { decodeGroups, type PolicyMap, type PolicyRow, policyMaps, rowOf } from "./policy-encode.ts";
import type {
  Direction,
  Endpoint,
  KernelGroup,
  KernelIdentity,
  KernelMaglev,
  KernelPolicySet,
  KernelService,
} from "./report.ts";

type MapOf = (name: MapName) => MapInfo;

export async function readIdentities(native: MapNative, map: MapOf): Promise<readonly KernelIdentity[]> {
  const all: KernelIdentity[] = [];
  for (const name of ["ipcache4", "ipcache6"] as const) {
    for (const { key, value } of await readEntries(native, map(name))) {
      all.push({ address: addressFromBytes(key), identity: ipcacheValue.decode(value).identity });
    }
  }
  return all;
}

export async function readServices(native: MapNative, map: MapOf): Promise<readonly KernelService[]> {
  return (await readFrontends(native, map)).map(({ service: entry }) => entry);
}

/** Of services for which a hash chooses. */
export async function readMaglev(native: MapNative, map: MapOf): Promise<readonly KernelMaglev[]> {
  const chunks = new Map<string, Buffer>();
  for (const { key, value } of await readEntries(native, map("maglev"))) {
    const { service: id, chunk } = maglevKey.decode(key);
    chunks.set(`${id} ${chunk}`, value);
  }
  return (await readFrontends(native, map)).flatMap(({ service: entry, id, flags }): readonly KernelMaglev[] => {
    if ((flags & ServiceFlags.hashed) === 0) return [];
    const wide = entry.backends.length > MAGLEV_NARROW;
    const table = Array.from({ length: flags >>> SERVICE_MAGLEV_SHIFT }, (_, slot) => {
      const at = wide ? slot * 2 : slot;
      const chunk = chunks.get(`${id} ${Math.floor(at / MAGLEV_CHUNK)}`);
      if (chunk === undefined) return null;
      return wide ? chunk.readUInt16LE(at % MAGLEV_CHUNK) : chunk.readUInt8(at % MAGLEV_CHUNK);
    });
    return [{ ...entry, table }];
  });
}

interface FrontendEntry {
  readonly service: KernelService;
  /** Of its table. */
  readonly id: number;
  readonly flags: number;
}

async function readFrontends(native: MapNative, map: MapOf): Promise<readonly FrontendEntry[]> {
  const backends = new Map<string, Endpoint>();
  for (const { key, value } of await readEntries(native, map("service_backend"))) {
    const { service: table, slot } = serviceBackendKey.decode(key);
    const { address, port } = serviceBackend.decode(value);
    backends.set(`${table} ${slot}`, { address: fromMappedBytes(address), port });
  }
  const all: FrontendEntry[] = [];
  for (const [name, codec] of [
    ["service4", service4Key],
    ["service6", service6Key],
  ] as const) {
    for (const { key, value } of await readEntries(native, map(name))) {
      const { address, port, protocol, scope } = codec.decode(key);
      const { id, backends: count, flags } = service.decode(value);
      const frontend = {
        address: typeof address === "number" ? addressOfNumber(address) : addressFromBytes(address),
        port,
      };
      const outside = scope === ServiceScope.outside;
      const own = Array.from({ length: count }, (_, slot) => backends.get(`${id} ${slot}`) ?? []).flat();
      all.push({ service: { frontend, protocol, outside, backends: own }, id, flags });
    }
  }
  return all;
}

/** @param compiledOf names the rules behind a set that this agent knows, null for others */
export async function readPolicySets(
  native: MapNative,
  map: MapOf,
  compiledOf: (set: number) => CompiledSet | null,
): Promise<readonly KernelPolicySet[]> {
  const enforced = new Set<string>();
  for (const { value } of [
    ...(await readEntries(native, map("endpoint"))),
    ...(await readEntries(native, map("host_endpoint"))),
  ]) {
    const { policySet: set, flags } = endpoint.decode(value);
    if (flags & EndpointFlags.enforceEgress) enforced.add(`${set} egress`);
    if (flags & EndpointFlags.enforceIngress) enforced.add(`${set} ingress`);
  }
  const rows = new Map<string, { readonly set: number; readonly direction: Direction; readonly rows: PolicyRow[] }>();
  for (const name of policyMaps) {
    for (const { key, value } of await readEntries(native, map(name satisfies PolicyMap))) {
      const { set, row } = rowOf(name, key, value);
      const direction: Direction = row.direction === 1 ? "ingress" : "egress";
      const place = `${set} ${direction}`;
      const there = rows.get(place) ?? { set, direction, rows: [] };
      there.rows.push(row);
      rows.set(place, there);
    }
  }
  return [...rows]
    .map(([place, { set, direction, rows: own }]) => ({
      set,
      direction,
      enforced: enforced.has(place),
      groups: groupsOf(own, compiledOf(set)?.[direction].origins ?? []),
    }))
    .sort((left, right) => left.set - right.set || (left.direction < right.direction ? -1 : 1));
}

interface Collected {
  readonly identities: number[];
  readonly prefixes: Prefix[];
  readonly ports: { protocol: number; port: number; bits: number }[];
}

function groupsOf(rows: readonly PolicyRow[], origins: readonly (readonly string[])[]): readonly KernelGroup[] {
  const groups = new Map<number, Collected>();
  const collect = (bits: Buffer, add: (group: Collected) => void) => {
    for (const number of decodeGroups(bits)) {
      const group = groups.get(number) ?? { identities: [], prefixes: [], ports: [] };
      add(group);
      groups.set(number, group);
    }
  };
  let guards = 0;
  let denies = 0;
  let allows = 0;
  const actionOf = (group: number): KernelGroup["action"] => {
    if (group < guards) return "allow";
    if (group < guards + denies) return "deny";
    return group < guards + denies + allows ? "allow" : "redirect";
  };
  for (const { map, key, value } of rows) {
    const bits = value.subarray(0, policyBits.size);
    switch (map) {
      case "policy_set":
        ({ denies, allows } = policySet.decode(value));
        guards = policySet.decode(value).flags >> POLICY_SET_GUARDS_SHIFT;
        break;
      case "policy_peer":
        collect(bits, ({ identities }) => identities.push(policyPeerKey.decode(key).identity));
        break;
      case "policy_prefix4":
      case "policy_prefix6":
        collect(bits, ({ prefixes }) => prefixes.push(prefixOf(key)));
        break;
      case "policy_port":
        collect(bits, ({ ports }) => ports.push(portOf(key)));
        break;
    }
  }
  return [...groups]
    .sort(([left], [right]) => left - right)
    .map(([group, { identities, prefixes, ports }]) => ({
      group,
      action: actionOf(group),
      identities: identities.sort((left, right) => left - right),
      prefixes,
      ports,
      origins: origins[group] ?? [],
    }));
}

function prefixOf(key: Buffer): Prefix {
  return makePrefix(addressFromBytes(key.subarray(8)), key.readUInt32LE(0) - 32);
}

function portOf(key: Buffer): { protocol: number; port: number; bits: number } {
  const { prefixlen, protocol, port } = policyPortKey.decode(key);
  return { protocol, port: ((port[0] ?? 0) << 8) | (port[1] ?? 0), bits: prefixlen - 32 };
}
