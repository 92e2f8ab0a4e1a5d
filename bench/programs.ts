/**
 * What a packet costs in each program: BPF_PROG_TEST_RUN with a driver in front (bpf/bench/rotate.h) that makes the packet of the
 * next flow each time. The driver alone, going on to a program that does nothing, is measured in the same run and taken off,
 * so the figures are net, as those are that they are compared with: Cilium 1.19.4's datapath, unmodified, on this platform and by
 * this method (reference figures of the project, taken in another run: read the ratio as +-20 %).
 */
import { join } from "node:path";
import type { Handle } from "../src/native/handle.ts";
import { EndpointFlags } from "../src/native/layouts.gen.ts";
import { tcp } from "../test/support/packets.ts";
import { objectsFolder } from "../test/support/programs-load.ts";
import { podFrame, stackFrame, who, wireFrame } from "../test/support/programs-frames.ts";
import { ProgramNode } from "../test/support/programs.ts";
import { putPolicy, putService } from "../test/support/programs-maps.ts";
import { median, printTable, root, type Row, sh } from "./support.ts";

const manyFlows = 65_536;
const someFlows = 32_768;

/** Net ns per packet of Cilium 1.19.4; the middle of what was measured. */
interface Published {
  readonly one?: number;
  readonly many?: number;
  readonly fresh?: number;
  /** The same with the event of the verdict, which ours always has. */
  readonly freshWithEvent?: number;
  /** The same tuple each time, of a flow that never comes to be. */
  readonly refused?: number;
}

export interface Path {
  readonly what: string;
  readonly object: "pod" | "network" | "wire";
  /** Index in the driver's table of programs. */
  readonly program: 1 | 2;
  readonly device: "a" | "up";
  readonly flows: number;
  readonly packet: (flags: string) => Buffer;
  /** Where the client's port is. */
  readonly portOffset: number;
  readonly expect: number;
  readonly cilium: Published;
  /** Flags of a flow's first packet; S where it is left out. */
  readonly first?: string;
  /** Of a program that begins no flow: the object whose program does, with the same packets. */
  readonly begunBy?: "network";
}

const tcpSource = 14 + 20;
/** enum xdp_action. */
const [xdpPass, xdpTx] = [2, 3];
/** What tc does with a redirected packet. */
const redirected = 7;
const outside = { snat: "203.0.113.1", dsr: "203.0.113.2" } as const;

const paths: readonly Path[] = [
  {
    what: "pod egress to a remote pod",
    object: "pod",
    program: 1,
    device: "a",
    flows: manyFlows,
    packet: (flags) => podFrame("a", who.a.ipv4, who.r.ipv4, tcp(0, 80, flags)),
    portOffset: tcpSource,
    expect: 7,
    cilium: { one: 593, many: 1025, fresh: 1460, freshWithEvent: 2530 },
  },
  {
    what: "ingress policy program alone",
    object: "pod",
    program: 2,
    device: "a",
    flows: manyFlows,
    packet: (flags) => stackFrame("a", who.r.ipv4, who.a.ipv4, tcp(0, 80, flags)),
    portOffset: tcpSource,
    expect: 0,
    cilium: { one: 340, many: 707, fresh: 1471 },
  },
  {
    what: "from the network, policy, into the pod",
    object: "network",
    program: 1,
    device: "up",
    flows: manyFlows,
    packet: (flags) => wireFrame(who.r.ipv4, who.a.ipv4, tcp(0, 80, flags)),
    portOffset: tcpSource,
    expect: 7,
    cilium: { one: 869, many: 1569, fresh: 2210 },
  },
  {
    what: "pod to pod on one node, both policies",
    object: "pod",
    program: 1,
    device: "a",
    flows: someFlows,
    packet: (flags) => podFrame("a", who.a.ipv4, who.b.ipv4, tcp(0, 80, flags)),
    portOffset: tcpSource,
    expect: 7,
    cilium: { one: 933, many: 2141, fresh: 2951 },
  },
  {
    what: "ClusterIP translated per packet, 1k services",
    object: "pod",
    program: 1,
    device: "a",
    flows: someFlows,
    packet: (flags) => podFrame("a", who.a.ipv4, "10.96.3.231", tcp(0, 80, flags)),
    portOffset: tcpSource,
    expect: 7,
    cilium: { one: 994, many: 1260, fresh: 2282 },
  },
  {
    what: "client outside, backend on another node, SNAT (baseline: its XDP)",
    object: "network",
    program: 1,
    device: "up",
    flows: someFlows,
    packet: (flags) => wireFrame(who.w.ipv4, outside.snat, tcp(0, 80, flags)),
    portOffset: tcpSource,
    expect: 7,
    cilium: { one: 621, many: 1462, fresh: 2807 },
  },
  {
    // What begins a flow grows by an option, and test runs would make the same packet grow again: flows are picked up in the middle.
    what: "client outside, backend on another node, DSR (baseline: its XDP)",
    object: "network",
    program: 1,
    device: "up",
    flows: someFlows,
    packet: (flags) => wireFrame(who.w.ipv4, outside.dsr, tcp(0, 80, flags)),
    portOffset: tcpSource,
    expect: 7,
    first: "A",
    cilium: { one: 383, many: 786 },
  },
  {
    what: "the same by XDP, SNAT",
    object: "wire",
    program: 1,
    device: "up",
    flows: someFlows,
    packet: (flags) => wireFrame(who.w.ipv4, outside.snat, tcp(0, 80, flags)),
    portOffset: tcpSource,
    expect: xdpTx,
    begunBy: "network",
    cilium: { one: 621, many: 1462 },
  },
  {
    what: "the same by XDP, DSR",
    object: "wire",
    program: 1,
    device: "up",
    flows: someFlows,
    packet: (flags) => wireFrame(who.w.ipv4, outside.dsr, tcp(0, 80, flags)),
    portOffset: tcpSource,
    expect: xdpTx,
    first: "A",
    begunBy: "network",
    cilium: { one: 383, many: 786 },
  },
  {
    what: "policy drop of a new flow",
    object: "pod",
    program: 1,
    device: "a",
    flows: manyFlows,
    packet: (flags) => podFrame("a", who.a.ipv4, who.r.ipv4, tcp(0, 81, flags)),
    portOffset: tcpSource,
    expect: 2,
    cilium: { refused: 535, fresh: 535 },
  },
];

/** Sets of a hundred groups, of which the last one matches: what a real policy's depth costs. */
function fill(node: ProgramNode): void {
  const groups = Array.from({ length: 100 }, (_, i) => i);
  for (const [set, direction] of [
    [1, "egress"],
    [1, "ingress"],
    [2, "ingress"],
  ] as const) {
    const peers = { [who.r.identity]: [99], [who.a.identity]: [99], [who.b.identity]: [99], 0: [3] };
    const ports = [
      { protocol: 6, port: 80, groups: [99] },
      { protocol: 6, port: 443, groups },
    ];
    putPolicy(node.maps, {
      set,
      direction,
      denies: 10,
      allows: 90,
      peers,
      ports,
      prefixes: { "198.51.100.0/24": [50] },
    });
  }
  node.maps.put("settings", 0, { trace: 0, dropEventsPerSecond: 100 });
  node.enforce("a", "both");
  node.enforce("b", "both", { flags: EndpointFlags.enforceIngress | EndpointFlags.policyIngress });
  for (let i = 0; i < 1000; i++) {
    const backends = [{ address: who.r.ipv4, port: 80 }];
    putService(node.maps, { id: i + 1, address: `10.96.${i >> 8}.${i & 255}`, port: 80, protocol: 6, backends });
  }
  for (const [i, address] of Object.values(outside).entries()) {
    const backends = [{ address: who.r.ipv4, port: 80 }];
    const dsr = address === outside.dsr;
    putService(node.maps, { id: 2000 + i, address, port: 80, protocol: 6, backends, outside: true, maglev: [], dsr });
  }
}

/** struct rotation of bpf/bench/rotate.h. */
function rotation(program: number, packet: Buffer, portOffset: number, flows: number): Buffer {
  const bytes = Buffer.alloc(16 + 64);
  for (const [i, value] of [program, portOffset, flows - 1, 0].entries()) bytes.writeUInt32LE(value, i * 4);
  bytes.set(packet, 16);
  return bytes;
}

/** struct __sk_buff of a packet that came in by this device. */
function skbContext(index: number): Buffer {
  const context = Buffer.alloc(192);
  context.writeUInt32LE(index, 36);
  context.writeUInt32LE(index, 40);
  return context;
}

/** struct xdp_md. */
function xdpContext(index: number, length: number): Buffer {
  const context = Buffer.alloc(24);
  context.writeUInt32LE(length, 4);
  context.writeUInt32LE(index, 12);
  return context;
}

export class Driver {
  readonly #node: ProgramNode;
  readonly #rotate = new Map<string, { readonly program: Handle; readonly map: Handle }>();

  private constructor(node: ProgramNode) {
    this.#node = node;
  }

  static async load(node: ProgramNode): Promise<Driver> {
    const driver = new Driver(node);
    for (const name of ["pod", "network", "wire"] as const) {
      const loaded = await node.native.loadObject({
        path: join(objectsFolder(), `bench/${name}.bpf.o`),
        pinPath: null,
        rodata: [],
        maxEntries: [],
        skipPrograms: [],
        reuseMaps: node.maps.shared(),
      });
      const program = loaded.programs.find((p) => p.name === "rotate")?.handle;
      const map = loaded.maps.find((m) => m.name === "rotation")?.handle;
      if (program === undefined || map === undefined) throw new Error(`${name}.bpf.o has no driver`);
      driver.#rotate.set(name, { program, map });
    }
    return driver;
  }

  /** Mean ns of one packet, the driver included. */
  async measure(path: Path, program: number, flags: string, flows: number, packets: number): Promise<number> {
    const driver = this.#rotate.get(path.object);
    if (driver === undefined) throw new Error("not loaded");
    const packet = path.packet(flags);
    const settings = rotation(program, packet, path.portOffset, flows);
    this.#node.native.mapUpdate(driver.map, Buffer.alloc(4), settings, 0);
    const padded = Buffer.concat([packet, Buffer.alloc(512 - packet.length)]);
    const index = this.#node.index[path.device];
    const context = path.object === "wire" ? xdpContext(index, padded.length) : skbContext(index);
    const netns = `/run/netns/${this.#node.netns}`;
    const run = await this.#node.native.testRun(driver.program, padded, context, packets, netns);
    const expected = program !== 0 ? path.expect : path.object === "wire" ? xdpPass : 0;
    if (run.retval !== expected) throw new Error(`${path.what} (${flags}) returned ${run.retval}, not ${expected}`);
    return run.durationNs;
  }
}

interface Figures extends Readonly<Record<keyof Published, number[]>> {
  readonly driver: number[];
}

async function measurePath(node: ProgramNode, driver: Driver, path: Path, figures: Figures): Promise<void> {
  await node.maps.clear("ct4", "nat4");
  const settled = path.expect !== 2;
  const nothing = await driver.measure(path, 0, "A", path.flows, 1_000_000);
  figures.driver.push(nothing);
  const begins = path.begunBy === undefined ? path : { ...path, object: path.begunBy, expect: redirected };
  const fresh = (await driver.measure(begins, path.program, path.first ?? "S", path.flows, path.flows)) - nothing;
  figures.fresh.push(fresh);
  figures.freshWithEvent.push(fresh);
  if (!settled) {
    figures.refused.push((await driver.measure(path, path.program, "S", 1, 1_000_000)) - nothing);
    return;
  }
  await driver.measure(path, path.program, "A", path.flows, path.flows);
  figures.many.push((await driver.measure(path, path.program, "A", path.flows, path.flows * 8)) - nothing);
  figures.one.push((await driver.measure(path, path.program, "A", 1, 1_000_000)) - nothing);
}

/** The drivers, built from today's programs. */
export async function buildDrivers(): Promise<void> {
  await sh(["make", "-s", "-C", join(root, "bpf"), `OUT=${objectsFolder()}`, "bench"]);
}

export async function benchPrograms(options: { readonly rounds: number }): Promise<readonly Row[]> {
  await buildDrivers();
  const node = await ProgramNode.create({}, { ct4: 262_144, ct6: 1024 }, { events: false });
  let ring: Handle | null = null;
  try {
    fill(node);
    await node.attachWire();
    const driver = await Driver.load(node);
    ring = node.native.openRing(node.maps.handle("events"), 80, 10, () => undefined);
    const all = paths.map(
      (): Figures => ({ one: [], many: [], fresh: [], freshWithEvent: [], refused: [], driver: [] }),
    );
    for (let round = 0; round < options.rounds; round++) {
      for (const [i, path] of paths.entries()) {
        const figures = all[i];
        if (figures !== undefined) await measurePath(node, driver, path, figures);
      }
    }
    const rows = paths.flatMap((path, i) => rowsOf(path, all[i]));
    const empty = median(all.flatMap((figures) => figures.driver));
    printTable(
      "ns per packet and program, the driver's own taken off (baseline: Cilium 1.19.4, same platform and method)",
      rows,
    );
    console.log(`The driver and a program that does nothing, in this run: ${empty.toFixed(0)} ns a packet.`);
    console.log("New flows of ours always include the event of their verdict, written for a reader that keeps up.");
    console.log(
      "Many flows are bound by cold memory: entry and bucket of each are in no near cache, and share the machine's.",
    );
    console.log("Cilium's figures for clients outside are of its XDP; that of ours begins no flow, which tc does.");
    return rows;
  } finally {
    if (ring !== null) await node.native.closeRing(ring);
    await node.remove();
  }
}

function rowsOf(path: Path, figures: Figures | undefined): readonly Row[] {
  const refuses = path.expect === 2;
  const flows = `${path.flows / 1024}k flows`;
  const kinds: readonly (readonly [keyof Published, string])[] = [
    ["one", "established, 1 flow"],
    ["many", `established, ${flows}`],
    ["refused", "1 flow"],
    ["fresh", refuses ? flows : "new flow"],
    ["freshWithEvent", "new flow, both with its event"],
  ];
  return kinds.flatMap(([kind, name]) => {
    const published = path.cilium[kind];
    const measured = figures?.[kind] ?? [];
    if (published === undefined || measured.length === 0) return [];
    const ns = median(measured);
    return [
      {
        what: `${path.what}, ${name}`,
        figure: `${ns.toFixed(0)} ns`,
        baseline: `${published} ns (published)`,
        ratio: published / ns,
        aim: ">= 2",
      },
    ];
  });
}
