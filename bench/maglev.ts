/**
 * `scripts/bench maglev`: tables by which a hash of the client chooses a backend. How long they take to build, how evenly they share, how much
 * moves that need not when a backend leaves; each against the paper's own filling (Eisenbud et al., NSDI 2016, figure 2 of section 3.4) at the
 * same size in the same run. Then many services through the reconciler into maps of the kernel.
 */
import { join } from "node:path";
import type { DesiredFrontend } from "../src/compute/desired.ts";
import { maglevSlots } from "../src/compute/services/maglev.ts";
import { ServiceReconciler } from "../src/datapath/services.ts";
import { addressFromBytes } from "../src/model/ip.ts";
import { loadNative } from "../src/native/index.ts";
import { MAGLEV_CHUNK, MAGLEV_NARROW } from "../src/native/layouts.gen.ts";
import { addonTable, type MaglevBackend, type MaglevTable } from "../test/support/maglev-reference.ts";
import { median, percentile, printTable, root, type Row } from "./support.ts";

export interface MaglevOptions {
  readonly rounds: number;
  /** Of one endpoint each. */
  readonly changes: number;
}

/** Bytes that the kernel takes for an entry of `maglev`: 48 of its own, 8 and 128 of ours, in the slab's next size. */
const entryBytes = 192;
const services = 10_000;
const backendsEach = 10;

export async function benchMaglev({ rounds, changes }: MaglevOptions): Promise<readonly Row[]> {
  const tables = [2, 10, 100, 1000].flatMap((count) => tableRows(count, rounds * 4));
  printTable("Tables, against Maglev's own filling", tables);
  const maps = [...(await intoMaps("random", rounds, changes)), ...(await intoMaps("maglev", rounds, changes))];
  printTable(`${services} services with ${services * backendsEach} backends, from desired state into the kernel`, maps);
  return [...tables, ...maps];
}

/** Other sets in each round, the same ones in each run. */
const backends = (count: number, round: number): readonly MaglevBackend[] =>
  Array.from({ length: count }, (_, at) => ({ address: pod(round, at), port: 8080 }));

const pod = (round: number, at: number) => addressFromBytes(Uint8Array.of(10, round & 255, at >> 8, at & 255));

interface Measured {
  readonly ms: number;
  readonly imbalance: number;
  readonly needless: number;
}

type Fill = (list: readonly MaglevBackend[], slots: number) => MaglevTable;

const native = loadNative();
const ours: Fill = (list) => addonTable(native, list);

/** The paper's: each backend in turn takes the next free slot of its sequence. */
const paper: Fill = (list, slots) => {
  const hash = (text: string, seed: number) => {
    let value = seed;
    for (const letter of text) value = Math.imul(value ^ letter.charCodeAt(0), 0x01000193);
    value = Math.imul(value ^ (value >>> 15), 0x2c1b3c6d);
    return (value ^ (value >>> 12)) >>> 0;
  };
  const names = list.map(({ address, port }) => `${address.text} ${port}`);
  const next = Uint32Array.from(names, (name) => hash(name, 0x811c9dc5) % slots);
  const skip = Uint32Array.from(names, (name) => (hash(name, 0x1b873593) % (slots - 1)) + 1);
  const table = new Uint16Array(slots);
  const taken = new Uint8Array(slots);
  for (let filled = 0; ; ) {
    for (let who = 0; who < list.length; who++) {
      let slot = next[who] ?? 0;
      while (taken[slot] === 1) slot = (slot + (skip[who] ?? 0)) % slots;
      table[slot] = who;
      taken[slot] = 1;
      next[who] = (slot + (skip[who] ?? 0)) % slots;
      if (++filled === slots) return table;
    }
  }
};

function measure(fill: Fill, count: number, rounds: number): Measured {
  const slots = maglevSlots(count);
  const runs = Array.from({ length: rounds }, (_, round) => {
    const list = backends(count, round);
    const before = performance.now();
    const table = fill(list, slots);
    const ms = performance.now() - before;
    const loads = list.map(() => 0);
    for (const who of table) loads[who] = (loads[who] ?? 0) + 1;
    const gone = (round * 37) % count;
    const rest = list.filter((_, at) => at !== gone);
    // One backend alone has no table; of the paper's filling it has all slots.
    const after = rest.length === 1 ? new Uint16Array(slots) : fill(rest, slots);
    const moved = table.reduce((sum, who, slot) => sum + (list[who] === rest[after[slot] ?? 0] ? 0 : 1), 0);
    return {
      ms,
      imbalance: Math.max(...loads) / (slots / count),
      needless: (moved - (loads[gone] ?? 0)) / slots,
    };
  });
  const mean = (of: (run: Measured) => number) => runs.reduce((sum, run) => sum + of(run), 0) / rounds;
  return {
    ms: median(runs.map(({ ms }) => ms)),
    imbalance: Math.max(...runs.map(({ imbalance }) => imbalance)),
    needless: mean(({ needless }) => needless),
  };
}

function tableRows(count: number, rounds: number): readonly Row[] {
  const slots = maglevSlots(count);
  measure(ours, count, 2);
  measure(paper, count, 2);
  const [a, b] = [measure(ours, count, rounds), measure(paper, count, rounds)];
  const chunks = Math.ceil((slots * (count > MAGLEV_NARROW ? 2 : 1)) / MAGLEV_CHUNK);
  const what = `${count} backends, ${slots} slots`;
  const percent = (share: number) => `${(share * 100).toFixed(3)} %`;
  return [
    {
      what: `${what}: build`,
      figure: `${a.ms.toFixed(2)} ms`,
      baseline: `${b.ms.toFixed(2)} ms`,
      ratio: b.ms / a.ms,
      aim: "-",
    },
    {
      what: `${what}: max/mean`,
      figure: a.imbalance.toFixed(4),
      baseline: b.imbalance.toFixed(4),
      ratio: b.imbalance / a.imbalance,
      aim: "<= 1.01",
    },
    {
      what: `${what}: moves needlessly when one leaves`,
      figure: percent(a.needless),
      baseline: percent(b.needless),
      ratio: a.needless === 0 ? null : b.needless / a.needless,
      aim: count === 100 ? "<= 0.5 %" : "-",
    },
    {
      what: `${what}: memory in the kernel`,
      figure: `${((chunks * entryBytes) / 1024).toFixed(1)} KiB`,
      baseline: `${((16_381 * 4) / 1024).toFixed(1)} KiB (16,381 numbers)`,
      ratio: (16_381 * 4) / (chunks * entryBytes),
      aim: "-",
    },
  ];
}

function frontends(selection: "random" | "maglev"): readonly DesiredFrontend[] {
  return Array.from({ length: services }, (_, n) => ({
    address: addressFromBytes(Uint8Array.of(10, 224, n >> 8, n & 255)),
    port: 80,
    protocol: 6,
    external: false,
    affinitySeconds: null,
    backends: Array.from({ length: backendsEach }, (_unused, at) => ({
      address: addressFromBytes(Uint8Array.of(10, 16 + at, n >> 8, n & 255)),
      port: 8080,
    })),
    ...(selection === "maglev" && { selection }),
    service: `bench/s${n}:http`,
  }));
}

async function intoMaps(selection: "random" | "maglev", rounds: number, changes: number): Promise<readonly Row[]> {
  const native = loadNative();
  const loads: number[] = [];
  const cpu: number[] = [];
  const updates: number[] = [];
  let entries = 0;
  for (let round = 0; round < rounds; round++) {
    const loaded = await native.loadObject({
      path: join(root, "build/bpf/sock.bpf.o"),
      pinPath: null,
      rodata: [],
      maxEntries: [],
      skipPrograms: ["sock_getpeername4", "sock_getpeername6"],
      reuseMaps: [],
    });
    try {
      const reconciler = new ServiceReconciler(native, (name) => {
        const map = loaded.maps.find((each) => each.name === name);
        if (map === undefined) throw new Error(`the object has no map ${name}`);
        return map;
      });
      await reconciler.read();
      let desired = frontends(selection);
      const timed = async () => {
        const before = performance.now();
        const failures = await reconciler.apply(desired);
        if (failures.length > 0) throw new Error(`not written: ${failures[0]?.entry}`);
        return performance.now() - before;
      };
      const before = process.cpuUsage();
      loads.push(await timed());
      const { user, system } = process.cpuUsage(before);
      cpu.push((user + system) / 1e3);
      entries = reconciler.maglevEntries;
      for (let change = 0; change < changes; change++) {
        // One endpoint of one service is replaced by another.
        desired = desired.map((each, at) =>
          at === (change * 97) % services
            ? { ...each, backends: [...each.backends.slice(1), { address: pod(200, change), port: 8080 }] }
            : each,
        );
        updates.push(await timed());
      }
    } finally {
      native.closeObject(loaded.object);
    }
  }
  const what = selection === "random" ? "chance chooses" : `a table chooses (${entries} entries)`;
  return [
    {
      what: `${what}: all of them`,
      // On a machine that others use, too, the wall's clock says little.
      figure: `${median(loads).toFixed(0)} ms (${median(cpu).toFixed(0)} ms of CPU)`,
      baseline: "-",
      ratio: null,
      aim: "< 1000 ms",
    },
    {
      what: `${what}: one endpoint changes, to the switch in the kernel`,
      figure: `${percentile(updates, 0.5).toFixed(1)} ms p50, ${percentile(updates, 0.99).toFixed(1)} ms p99`,
      baseline: "-",
      ratio: null,
      aim: "< 5 ms",
    },
  ];
}
