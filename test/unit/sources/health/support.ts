/** A network of other nodes as the addon's prober sees it: who answers what is the test's to say. */
import { setTimeout as sleep } from "node:timers/promises";
import { HealthSource } from "../../../../src/sources/health/index.ts";
import { type Address, parseAddress, parsePrefix, type Prefix } from "../../../../src/model/ip.ts";
import { TableStore } from "../../../../src/model/store.ts";
import type { Problem } from "../../../../src/model/status.ts";
import type { NodeRow, RouteFactRow } from "../../../../src/model/tables.ts";
import type { ProbeEvent } from "../../../../src/native/probe-contract.ts";
import { ManualClock } from "../../../support/manual-clock.ts";
import { FakeWatches } from "./watches.ts";

export function address(text: string): Address {
  const found = parseAddress(text);
  if (found === null) throw new Error(`${text} is no address`);
  return found;
}

export function prefix(text: string): Prefix {
  const found = parsePrefix(text);
  if (found === null) throw new Error(`${text} is no prefix`);
  return found;
}

export const node = (name: string, addresses: readonly string[], podCidrs: readonly string[]): NodeRow => ({
  name,
  labels: {},
  addresses: addresses.map(address),
  podCidrs: podCidrs.map(prefix),
});

export const route = (
  to: string,
  hops: readonly (readonly [string | null, number])[],
  mtu: number | null = null,
): RouteFactRow => ({
  destination: prefix(to),
  protocol: 17,
  nextHops: hops.map(([gateway, ifindex]) => ({
    gateway: gateway === null ? null : address(gateway),
    ifindex,
    device: `eth${ifindex}`,
  })),
  metric: 0,
  mtu,
  since: 0,
});

export interface Asked {
  readonly kind: "icmp" | "tcp";
  readonly address: string;
  readonly size: number;
  readonly ifindex: number;
  readonly sequence: number;
  /** The watch that asks; 0: a request. */
  readonly watch: number;
}

/** What comes back; null: nothing. `from`: who says so, if another than was asked. */
export type Reaction = { readonly event: ProbeEvent; readonly value?: number; readonly from?: string } | null;

export interface WorldOptions {
  readonly nodes: readonly NodeRow[];
  readonly routes: readonly RouteFactRow[];
  readonly react: (asked: Asked) => Reaction;
  readonly ipv6?: boolean;
  readonly healthPort?: number;
  readonly openFails?: (port: number) => Error | null;
}

export function worldOf({
  nodes,
  routes,
  react,
  ipv6 = false,
  healthPort = 4240,
  openFails = () => null,
}: WorldOptions) {
  const clock = new ManualClock();
  const store = new TableStore();
  const conditions = new Map<string, readonly Problem[]>();
  for (const row of [node("n1", ["192.0.2.1"], ["10.0.1.0/24"]), ...nodes]) store.upsert("nodes", row.name, row);
  for (const row of routes) store.upsert("routes", row.destination.text, row);
  for (const ifindex of [2, 3])
    store.upsert("uplinks", String(ifindex), { ifindex, name: `eth${ifindex}`, mtu: 1500, l3: false });
  const asked: (Asked & { readonly atMs: number })[] = [];
  let answer: (packed: Buffer) => void = () => undefined;
  const opened: number[] = [];
  const watches = new FakeWatches(clock, {
    ask: (one): Reaction => {
      asked.push({ ...one, atMs: clock.monotonicMs() });
      return world.react(one);
    },
    tell: (one, reaction, large) => setImmediate(() => answer(packAnswer(one, reaction, large))),
  });
  let closed = 0;
  const world = {
    clock,
    store,
    conditions,
    asked,
    opened,
    react,
    get closed() {
      return closed;
    },
    health: (name: string) => store.table("nodeHealth").get(name),
    /** Answers that come later than they should. */
    late: (one: Asked, reaction: NonNullable<Reaction> = { event: "reply" }) => answer(packAnswer(one, reaction)),
    watches,
    source: new HealthSource({
      native: {
        openProber: (_netns, port, onAnswers) => {
          const failure = openFails(port);
          if (failure !== null) throw failure;
          opened.push(port);
          answer = onAnswers;
          return opened.length;
        },
        probe: (_handle, requests) => {
          const answers: Buffer[] = [];
          for (const one of readRequests(requests)) {
            asked.push({ ...one, atMs: clock.monotonicMs() });
            const reaction = world.react(one);
            if (reaction !== null) answers.push(packAnswer(one, reaction));
          }
          if (answers.length > 0) setImmediate(() => answer(Buffer.concat(answers)));
        },
        watchPaths: (_handle, packed) => watches.put(packed),
        unwatchPaths: (_handle, ids) => watches.remove(ids),
        countWatches: () => watches.count(),
        closeProber: async () => {
          watches.clear();
          closed++;
          await sleep(0);
        },
      },
      config: { nodeName: "n1", ipv4: true, ipv6, healthProbe: true, healthInterval: 5, healthPort },
      store,
      conditions: { report: (topic, problems) => void conditions.set(topic, problems) },
      clock,
      random: () => 0.5,
    }),
  };
  return world;
}

function readRequests(packed: Buffer): readonly Asked[] {
  return Array.from({ length: packed.length / 28 }, (_, i) => {
    const one = packed.subarray(28 * i, 28 * i + 28);
    const bytes = one[1] === 1 ? one.subarray(12, 28) : one.subarray(12, 16);
    return {
      kind: one[0] === 1 ? "tcp" : "icmp",
      sequence: one.readUInt16LE(2),
      watch: 0,
      size: one.readUInt16LE(6),
      ifindex: one.readUInt32LE(8),
      address: textOf(bytes),
    };
  });
}

export function textOf(bytes: Buffer): string {
  if (bytes.length === 4) return [...bytes].join(".");
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16));
  return address(groups.join(":")).text;
}

export const numbers: Readonly<Record<ProbeEvent, number>> = {
  reply: 0,
  unreachable: 1,
  too_large: 2,
  accepted: 3,
  refused: 4,
  failed: 5,
  silent: 6,
};

function packAnswer(
  { sequence, watch, address: to }: Asked,
  { event, value = 0, from = to }: NonNullable<Reaction>,
  large = false,
): Buffer {
  const packed = Buffer.alloc(32);
  packed.writeUInt16LE(sequence, 0);
  packed[2] = numbers[event];
  packed[3] = large ? 1 : 0;
  packed.writeUInt32LE(watch, 4);
  packed.writeUInt32LE(value, 8);
  packed.writeUInt32LE(250, 12);
  packed.set(address(from).bytes, 16);
  return packed;
}
