/**
 * What the engine reads of policies out of the kernel's maps, against the compiled sets that were written there: who is allowed, denied or asked, and
 * by which rules. A difference would let a request pass that the programs sent to be judged, or refuse one that they would not.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import fc from "fast-check";
import type { CompiledDirection, CompiledSet, DesiredState } from "../../../src/compute/desired.ts";
import { createComputation } from "../../../src/compute/index.ts";
import { addressNumber } from "../../../src/datapath/addresses.ts";
import { encodeSet, endpointFlags, numberedKey } from "../../../src/datapath/policy-encode.ts";
import { type Address, toMappedBytes } from "../../../src/model/ip.ts";
import { packageRoot } from "../../../src/native/index.ts";
import type { L7DemandReader, L7EndDemand, L7Flow, L7Tables } from "../../../src/native/l7-contract.ts";
import {
  endpoint,
  endpointAddressKey,
  ipcache4Key,
  ipcache6Key,
  ipcacheValue,
  type MapName,
  prefix4Key,
  prefix6Key,
} from "../../../src/native/layouts.gen.ts";
import { address as anAddress, strangers } from "../../support/arbitrary-rows.ts";
import { build, clusterSteps, flows } from "../../support/arbitrary-cluster.ts";
import { isLive, localEndpoint, testAllocator } from "../../support/compute-cluster.ts";
import { groupsOf, identityOf, judge } from "../../support/kernel-verdict.ts";
import { bpffs, native } from "../../support/native.ts";

const reader = native as unknown as L7DemandReader;
const protocols = { TCP: 6, UDP: 17 } as const;
const sides = ["egress", "ingress"] as const;
type Side = (typeof sides)[number];

const firstRedirect = ({ guards = 0, denies, allows }: CompiledDirection) => guards + denies + allows;
/** Another one for each group of each set. */
const ruleSetOf = (number: number, side: Side, group: number) => number * 2048 + sides.indexOf(side) * 1024 + group;

const rule = (path: string) => ({ http: [{ path }] });
/** Policies of all pods whose L7 rules meet on ports: of everybody, of the outside, of ranges. */
const meeting: readonly (readonly [name: string, spec: object])[] = [
  ["everybody", { ingress: [{ toPorts: [{ ports: [{ port: "80", protocol: "TCP" }], rules: rule("/a") }] }] }],
  [
    "pods",
    { ingress: [{ fromEndpoints: [{}], toPorts: [{ ports: [{ port: "80", protocol: "TCP" }], rules: rule("/b") }] }] },
  ],
  [
    "outside",
    {
      egress: [
        { toCIDR: ["0.0.0.0/0", "::/0"], toPorts: [{ ports: [{ port: "80", protocol: "TCP" }], rules: rule("/c") }] },
      ],
    },
  ],
  [
    "range",
    { egress: [{ toPorts: [{ ports: [{ port: "70", endPort: 9000, protocol: "TCP" }], rules: rule("/d") }] }] },
  ],
];

interface Asked {
  readonly flow: L7Flow;
  readonly side: Side;
  readonly expected: Pick<L7EndDemand, "stance" | "ruleSets">;
  readonly text: string;
}

function expect(
  compiled: CompiledSet,
  number: number,
  side: Side,
  identity: number,
  peer: Address,
  flow: L7Flow,
): Asked["expected"] {
  const direction = compiled[side];
  const packet = { peer, protocol: flow.protocol, port: flow.server.port };
  const groups = groupsOf(direction, identity, packet);
  const first = firstRedirect(direction);
  switch (judge(compiled, side, identity, packet)) {
    case "deny":
      return { stance: "refused", ruleSets: [] };
    case "redirect":
      return {
        stance: "asks",
        ruleSets: groups.filter((group) => group >= first).map((group) => ruleSetOf(number, side, group)),
      };
    case "allow":
      // Nothing is enforced, and no group is there that could deny.
      return { stance: direction.enforced || direction.origins.length > 0 ? "open" : "absent", ruleSets: [] };
  }
}

test("for every set, peer and port both ends demand what the compiled sets say, of all groups that hold", async (t) => {
  t.timeout(600_000);
  const seen = { absent: 0, open: 0, refused: 0, asks: 0, unknown: 0, several: 0 };
  const asIsCompiled = fc.asyncProperty(clusterSteps, fc.subarray([...meeting]), async (steps, chosen) => {
    const store = build(steps);
    for (const namespace of new Set([...store.table("pods").values()].map((each) => each.namespace))) {
      for (const [name, spec] of chosen) {
        store.upsert("policies", `CiliumNetworkPolicy/${namespace}/${name}`, {
          kind: "CiliumNetworkPolicy",
          namespace,
          name,
          uid: name,
          generation: 1,
          spec: { endpointSelector: {}, ...spec },
          specs: null,
        });
      }
    }
    const pods = [...store.table("pods").values()].filter(isLive);
    for (const [at, pod] of pods.entries()) store.upsert("localEndpoints", `c${at}`, localEndpoint(pod, at + 1));
    const computation = createComputation({
      nodeName: "",
      identities: testAllocator(),
      policyEnforcement: "default",
    });
    const { desired } = computation.compute(store.snapshot());
    const folder = await bpffs(t);
    await mkdir(join(folder, "maps"));
    const loaded = await native.loadObject({
      path: join(packageRoot(), "build/bpf/pod.bpf.o"),
      pinPath: join(folder, "maps"),
      rodata: [],
      maxEntries: [],
      skipPrograms: ["from_pod", "to_pod"],
      reuseMaps: [],
    });
    try {
      const put = (name: MapName, key: Buffer, value: Buffer) => {
        const map = loaded.maps.find((each) => each.name === name);
        if (map === undefined) throw new Error(`the object has no map ${name}`);
        native.mapUpdate(map.handle, key, value, 0);
      };
      const asked = fill(desired, put, [
        ...pods.flatMap(({ addresses }) => addresses),
        ...[...store.table("nodes").values()].flatMap(({ addresses }) => addresses),
        ...strangers.map(anAddress),
      ]);
      const answers = reader.readL7Demands(
        folder,
        asked.tables,
        asked.list.map(({ flow }) => flow),
      );
      for (const [at, { side, expected, text }] of asked.list.entries()) {
        const answer = answers[at]?.[side];
        const { stance, ruleSets } = answer ?? { stance: "absent" as const, ruleSets: [] };
        if (stance !== expected.stance || ruleSets.join() !== expected.ruleSets.join()) {
          throw new Error(`${text}: ${stance} ${ruleSets.join()}, not ${expected.stance} ${expected.ruleSets.join()}`);
        }
        seen[stance]++;
        if (ruleSets.length > 1) seen.several++;
      }
    } finally {
      native.closeObject(loaded.object);
    }
  });
  // How many of each there are is chance: a dozen clusters have had from none to 40 questions that several groups answer.
  const isEnough = () => seen.open > 30 && seen.refused > 30 && seen.asks > 30 && seen.several > 0;
  for (let round = 0; round < 5 && !isEnough(); round++) await fc.assert(asIsCompiled, { numRuns: 12 });
  t.log(JSON.stringify(seen));
  t.true(isEnough());
  t.is(seen.unknown, 0);
});

/** Writes the state as the reconcilers do, and lists every question about it. */
function fill(
  desired: DesiredState,
  put: (name: MapName, key: Buffer, value: Buffer) => void,
  peers: readonly Address[],
): { readonly tables: L7Tables; readonly list: readonly Asked[] } {
  for (const { address: own, identity } of desired.identities.values()) {
    const value = ipcacheValue.encode({ identity, flags: 0 });
    if (own.family === 4) put("ipcache4", ipcache4Key.encode({ address: addressNumber(own) }), value);
    else put("ipcache6", ipcache6Key.encode({ address: own.bytes }), value);
  }
  for (const { address: own, length: prefixlen, family } of desired.clusterPrefixes) {
    const value = ipcacheValue.encode({ identity: 3, flags: 0 });
    if (family === 4) put("cluster_prefix4", prefix4Key.encode({ prefixlen, address: addressNumber(own) }), value);
    else put("cluster_prefix6", prefix6Key.encode({ prefixlen, address: own.bytes }), value);
  }
  const sets = new Map(desired.sets.map((each) => [each.key, each]));
  const groups: L7Tables["groups"][number][] = [];
  const list: Asked[] = [];
  for (const [at, { row, identity, set: key }] of desired.endpoints.entries()) {
    const compiled = key === null ? undefined : sets.get(key);
    if (compiled === undefined || compiled.refused !== null) continue;
    const number = at + 1;
    for (const entry of encodeSet(compiled)) put(entry.map, numberedKey(entry, number), entry.value);
    const own = [row.ipv4, row.ipv6].filter((each) => each !== null);
    for (const address of own) {
      const none = { ifindex: row.ifindex, policyRevision: 1, ipv4: 0, ipv6: new Uint8Array(16), id: number };
      const macs = { podMac: new Uint8Array(6), hostMac: new Uint8Array(6) };
      const value = { ...none, ...macs, identity: identity ?? 0, policySet: number, flags: endpointFlags(compiled) };
      put("endpoint_addr", endpointAddressKey.encode({ address: toMappedBytes(address) }), endpoint.encode(value));
    }
    for (const side of sides) {
      const first = firstRedirect(compiled[side]);
      for (let group = first; group < first + compiled[side].redirects; group++) {
        groups.push({ policySet: number, direction: side, group, ruleSet: ruleSetOf(number, side, group) });
      }
    }
    for (const address of own) {
      for (const peer of peers) {
        if (peer.family !== address.family || peer.text === address.text) continue;
        for (const { protocol, number: port } of flows) {
          if (protocol !== "TCP" && protocol !== "UDP") continue;
          for (const side of sides) {
            const [client, server] = side === "egress" ? [address, peer] : [peer, address];
            const flow: L7Flow = {
              client: { address: Buffer.from(client.bytes), port: 40_000 },
              server: { address: Buffer.from(server.bytes), port },
              protocol: protocols[protocol],
            };
            const expected = expect(compiled, number, side, identityOf(desired, peer), peer, flow);
            list.push({ flow, side, expected, text: `${side} of ${row.pod}, peer ${peer.text} ${protocol} ${port}` });
          }
        }
      }
    }
  }
  const ruleSets = groups.map(({ ruleSet: id }) => ({ id, protocol: "http" as const, rules: [] }));
  return { tables: { ruleSets, groups }, list };
}
