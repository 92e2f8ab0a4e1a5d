/**
 * What a new flow costs by the number of rules behind its verdict: policies of that many rules, each with a peer of its own and one of a
 * hundred ports, compiled as an agent compiles them, written to the maps as it writes them, and asked by test runs (see programs.ts).
 */
import type { Handle } from "../src/native/handle.ts";
import { encodeSet, numberedKey } from "../src/datapath/policy-encode.ts";
import type { CompiledSet } from "../src/compute/desired.ts";
import type { PodRow } from "../src/model/tables.ts";
import { TableStore } from "../src/model/store.ts";
import { EndpointFlags } from "../src/native/layouts.gen.ts";
import { tcp } from "../test/support/packets.ts";
import { podFrame, who } from "../test/support/programs-frames.ts";
import { ProgramNode } from "../test/support/programs.ts";
import { putIdentity } from "../test/support/programs-maps.ts";
import { freshComputation, nodeName, podRow, putPod, putPolicy } from "./policy-cluster.ts";
import { buildDrivers, Driver, type Path } from "./programs.ts";
import { median, type Row } from "./support.ts";

const flows = 32_768;
const counts = [10, 1_000, 10_000] as const;
const portsInUse = 100;
const rulesPerPolicy = 100;
/** New flow, pod egress to a remote pod, Cilium 1.19.4. */
const publishedNs = 1460;

interface Kind {
  readonly what: string;
  readonly destination: { readonly ipv4: string; readonly identity: number };
  /** tc's answer: 7 redirects, 0 goes on to the stack. */
  readonly expect: number;
  readonly peer: (i: number) => object;
}

const kinds: readonly Kind[] = [
  {
    what: "rules that name pods by labels",
    destination: who.r,
    expect: 7,
    peer: (i) => ({ toEndpoints: [{ matchLabels: { app: `peer-${i}` } }] }),
  },
  {
    what: "rules that name CIDRs",
    destination: who.w,
    expect: 7,
    // The destination's own is the last one.
    peer: (i) => ({ toCIDR: [i === 0 ? `${who.w.ipv4}/32` : `203.${i >> 8}.${i & 255}.0/24`] }),
  },
];

/** Egress of pod a: rule i is for peer i. The destination of the flow is peer 0, on port 80. */
function compiled(kind: Kind, rules: number): { readonly set: CompiledSet; readonly peer: number } {
  const store = new TableStore();
  const pod = (i: number, app: string): PodRow => ({ ...podRow(i, 20_000, app), namespace: "team-0", name: app });
  store.upsert("namespaces", "team-0", { name: "team-0", labels: { "kubernetes.io/metadata.name": "team-0" } });
  store.upsert("nodes", nodeName(0), { name: nodeName(0), labels: {}, addresses: [], podCidrs: [] });
  putPod(store, pod(0, "subject"), 1);
  for (let i = 0; i < rules; i++) putPod(store, pod(i + 1, `peer-${i}`), null);
  for (let first = 0; first < rules; first += rulesPerPolicy) {
    const egress = Array.from({ length: Math.min(rulesPerPolicy, rules - first) }, (_, i) => ({
      ...kind.peer(first + i),
      toPorts: [{ ports: [{ port: String(80 + ((first + i) % portsInUse)), protocol: "TCP" }] }],
    }));
    const spec = { endpointSelector: { matchLabels: { app: "subject" } }, egress };
    const name = `policy-${first}`;
    const row = { kind: "CiliumNetworkPolicy" as const, namespace: "team-0", name, uid: name, generation: 1, spec };
    putPolicy(store, { ...row, specs: null });
  }
  const result = freshComputation().compute(store.snapshot());
  const set = result.desired.sets[0];
  const peer = result.identityOfPod.get("team-0/peer-0");
  const groups = set?.egress.allows;
  if (set === undefined || peer === undefined || set.refused !== null || groups !== Math.min(rules, portsInUse)) {
    throw new Error(`${rules} rules made ${groups} groups (${set?.refused ?? result.problems[0]?.message})`);
  }
  return { set, peer };
}

function write(node: ProgramNode, set: CompiledSet, number: number): number {
  const rows = encodeSet(set);
  for (const row of rows) node.native.mapUpdate(node.maps.handle(row.map), numberedKey(row, number), row.value, 0);
  return rows.length;
}

export async function verdictsByRules(rounds: number): Promise<readonly Row[]> {
  await buildDrivers();
  const node = await ProgramNode.create({}, { ct4: 131_072, ct6: 1024 }, { events: false });
  let ring: Handle | null = null;
  try {
    node.maps.put("settings", 0, { trace: 0, dropEventsPerSecond: 0 });
    const driver = await Driver.load(node);
    ring = node.native.openRing(node.maps.handle("events"), 80, 10, () => undefined);
    const cases = kinds.flatMap((kind, k) =>
      counts.map((rules, c) => {
        const { set, peer } = compiled(kind, rules);
        const number = 1 + k * counts.length + c;
        const identity = kind.destination === who.r ? peer : kind.destination.identity;
        return { kind, rules, number, identity, entries: write(node, set, number), times: [] as number[] };
      }),
    );
    // In turn, so that a noisy moment meets all of them.
    for (let round = 0; round < Math.max(3, rounds * 3); round++) {
      for (const { kind, number, identity, times } of cases) {
        const flags = EndpointFlags.enforceEgress | EndpointFlags.policyEgress;
        node.enforce("a", "egress", { policySet: number, flags });
        putIdentity(node.maps, kind.destination.ipv4, identity);
        await node.maps.clear("ct4");
        const path = pathOf(kind);
        const nothing = await driver.measure(path, 0, "S", flows, flows * 8);
        times.push((await driver.measure(path, 1, "S", flows, flows)) - nothing);
      }
    }
    return cases.map(({ kind, rules, entries, times }): Row => {
      const least = cases.find((each) => each.kind === kind);
      const ns = median(times);
      const first = least?.rules === rules;
      const baseline = first ? publishedNs : median(least?.times ?? []);
      return {
        what: `${rules} ${kind.what} (${entries} map entries)`,
        figure: `${ns.toFixed(0)} ns`,
        baseline: first ? `${publishedNs} ns (published: Cilium)` : `${baseline.toFixed(0)} ns with ${counts[0]} rules`,
        ratio: baseline / ns,
        aim: first ? ">= 1" : "1 (flat)",
      };
    });
  } finally {
    if (ring !== null) await node.native.closeRing(ring);
    await node.remove();
  }
}

function pathOf({ what, destination, expect }: Kind): Path {
  const packet = (flags: string): Buffer => podFrame("a", who.a.ipv4, destination.ipv4, tcp(0, 80, flags));
  return {
    what,
    object: "pod",
    program: 1,
    device: "a",
    flows,
    packet,
    portOffset: 14 + 20,
    expect,
    cilium: { fresh: publishedNs },
  };
}
