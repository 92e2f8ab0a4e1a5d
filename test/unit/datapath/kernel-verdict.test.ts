/** The verdict that is read back from the maps, against the compiled sets that were written there. */
import test from "ava";
import fc from "fast-check";
import { createComputation } from "../../../src/compute/index.ts";
import { readVerdict } from "../../../src/datapath/kernel-verdict.ts";
import { endpointFlags, encodeSet, numberedKey } from "../../../src/datapath/policy-encode.ts";
import type { MapInfo } from "../../../src/native/bpf-contract.ts";
import { u32 } from "../../../src/native/layout.ts";
import {
  EndpointFlags,
  endpoint,
  endpointKey,
  ipcache4Key,
  ipcache6Key,
  ipcacheValue,
  type MapName,
  prefix4Key,
  prefix6Key,
} from "../../../src/native/layouts.gen.ts";
import { addressNumber } from "../../../src/datapath/addresses.ts";
import type { CompiledSet, DesiredState } from "../../../src/compute/desired.ts";
import type { Address } from "../../../src/model/ip.ts";
import { address as anAddress, strangers } from "../../support/arbitrary-rows.ts";
import { build, clusterSteps, flows } from "../../support/arbitrary-cluster.ts";
import { isLive, localEndpoint, testAllocator } from "../../support/compute-cluster.ts";
import { identityOf, judge } from "../../support/kernel-verdict.ts";
import { address, direction, openDirection, set } from "./world.ts";

const tries: ReadonlySet<MapName> = new Set([
  "cluster_prefix4",
  "cluster_prefix6",
  "policy_prefix4",
  "policy_prefix6",
  "policy_port",
]);

/** Maps with the kernel's two kinds of look-up: exact, and the longest prefix. */
class Maps {
  readonly #entries = new Map<string, { readonly key: Buffer; readonly value: Buffer }[]>();

  put(map: MapName, key: Buffer, value: Buffer): void {
    this.#entries.set(map, [...(this.#entries.get(map) ?? []), { key, value }]);
  }

  readonly map = (name: MapName): MapInfo => ({ name, handle: name }) as unknown as MapInfo;

  readonly native = {
    mapLookup: (handle: unknown, key: Buffer): Buffer | null => {
      const entries = this.#entries.get(String(handle)) ?? [];
      if (!tries.has(handle as MapName)) return entries.find((entry) => entry.key.equals(key))?.value ?? null;
      const holding = entries.filter((entry) => startsAlike(entry.key, key, entry.key.readUInt32LE(0)));
      return holding.sort((a, b) => b.key.readUInt32LE(0) - a.key.readUInt32LE(0))[0]?.value ?? null;
    },
  };
}

/** The first bits behind the length are the same (and the key that is asked is as long). */
function startsAlike(entry: Buffer, asked: Buffer, bits: number): boolean {
  if (bits > asked.readUInt32LE(0)) return false;
  for (let bit = 0; bit < bits; bit++) {
    const byte = 4 + (bit >> 3);
    if ((((entry[byte] ?? 0) ^ (asked[byte] ?? 0)) >> (7 - (bit & 7))) & 1) return false;
  }
  return true;
}

function write(maps: Maps, ifindex: number | null, number: number, compiled: CompiledSet, extra = 0): void {
  for (const row of encodeSet(compiled)) maps.put(row.map, numberedKey(row, number), row.value);
  const none = { ifindex: 0, identity: 0, policyRevision: 1, ipv4: 0, id: 1 };
  const bytes = { ipv6: new Uint8Array(16), podMac: new Uint8Array(6), hostMac: new Uint8Array(6) };
  const value = endpoint.encode({ ...none, ...bytes, policySet: number, flags: endpointFlags(compiled) | extra });
  if (ifindex === null) maps.put("host_endpoint", u32.encode(0), value);
  else maps.put("endpoint", endpointKey.encode({ ifindex }), value);
}

function writeIdentities(maps: Maps, { identities, clusterPrefixes }: DesiredState): void {
  for (const { address: own, identity } of identities.values()) {
    const value = ipcacheValue.encode({ identity, flags: 0 });
    if (own.family === 4) maps.put("ipcache4", ipcache4Key.encode({ address: addressNumber(own) }), value);
    else maps.put("ipcache6", ipcache6Key.encode({ address: own.bytes }), value);
  }
  for (const { address: own, length: prefixlen, family } of clusterPrefixes) {
    const value = ipcacheValue.encode({ identity: 3, flags: 0 });
    if (family === 4) maps.put("cluster_prefix4", prefix4Key.encode({ prefixlen, address: addressNumber(own) }), value);
    else maps.put("cluster_prefix6", prefix6Key.encode({ prefixlen, address: own.bytes }), value);
  }
}

const protocols = { TCP: 6, UDP: 17, SCTP: 132, ICMP: 1, ICMPv6: 58 } as const;

test("for every set, peer and port it is the verdict of the compiled set", (t) => {
  const seen = { allow: 0, deny: 0, redirect: 0 };
  fc.assert(
    fc.property(clusterSteps, (steps) => {
      const store = build(steps);
      const pods = [...store.table("pods").values()].filter(isLive);
      for (const [at, pod] of pods.entries()) store.upsert("localEndpoints", `c${at}`, localEndpoint(pod, at + 1));
      const computation = createComputation({
        nodeName: "",
        identities: testAllocator(),
        policyEnforcement: "default",
      });
      const { desired } = computation.compute(store.snapshot());
      const maps = new Maps();
      writeIdentities(maps, desired);
      const sets = new Map(desired.sets.map((each) => [each.key, each]));
      for (const [at, { row, set: key }] of desired.endpoints.entries()) {
        const compiled = key === null ? undefined : sets.get(key);
        if (compiled !== undefined && compiled.refused === null) write(maps, row.ifindex, at + 1, compiled);
      }
      const peers: readonly Address[] = [
        ...pods.flatMap(({ addresses }) => addresses),
        ...[...store.table("nodes").values()].flatMap(({ addresses }) => addresses),
        ...strangers.map(anAddress),
      ];
      for (const { row, set: key } of desired.endpoints) {
        const compiled = key === null ? undefined : sets.get(key);
        if (compiled === undefined || compiled.refused !== null) continue;
        for (const peer of peers) {
          for (const { protocol, number } of flows) {
            const port = protocol === "ICMP" || protocol === "ICMPv6" ? number << 8 : number;
            const packet = { peer, protocol: protocols[protocol], port };
            for (const side of ["ingress", "egress"] as const) {
              const expected = judge(compiled, side, identityOf(desired, peer), packet);
              const answer = readVerdict(maps.native, maps.map, { ifindex: row.ifindex, direction: side, ...packet });
              if (answer?.verdict !== expected) {
                throw new Error(`${side} of ${row.pod}, peer ${peer.text}: ${answer?.verdict}, not ${expected}`);
              }
              seen[expected]++;
            }
          }
        }
      }
    }),
    { numRuns: 25 },
  );
  t.log(JSON.stringify(seen));
  t.true(seen.allow > 100 && seen.deny > 100);
});

const packet = { direction: "ingress", peer: address("192.0.2.1"), protocol: 6, port: 80 } as const;

test("an end that is closed, or that nobody made, has no verdict; a node without an entry is open", (t) => {
  const maps = new Maps();
  write(maps, 5, 1, set("a", direction([9])), EndpointFlags.closed);
  t.is(readVerdict(maps.native, maps.map, { ...packet, ifindex: 5 }), null);
  t.is(readVerdict(maps.native, maps.map, { ...packet, ifindex: 6 }), null);
  t.deepEqual(readVerdict(maps.native, maps.map, { ...packet, ifindex: null }), { verdict: "allow", group: null });
});

test("what a node's guard keeps open comes before its denials", (t) => {
  const maps = new Maps();
  const guarded = { ...direction([9], [9]), guards: 1, denies: 1, allows: 0 };
  write(maps, null, 3, set("node", guarded, openDirection));
  t.deepEqual(readVerdict(maps.native, maps.map, { ...packet, ifindex: null }), { verdict: "allow", group: 0 });
  t.deepEqual(readVerdict(maps.native, maps.map, { ...packet, ifindex: null, direction: "egress" }), {
    verdict: "allow",
    group: null,
  });
});
