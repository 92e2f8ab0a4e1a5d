/**
 * `scripts/bench health`: what probing 1000 other nodes costs this node, and what answering as many costs; and how soon a node that falls silent is
 * known, against BGP's hold time. The others are addresses of one namespace behind a veth, their TCP is answered by a process of its own.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { systemClock } from "../src/lib/clock.ts";
import { addressFromBytes, makePrefix } from "../src/model/ip.ts";
import { TableStore } from "../src/model/store.ts";
import { loadNative } from "../src/native/index.ts";
import { HealthSource } from "../src/sources/health/index.ts";
import { inNetns, median, percentile, printTable, root, type Row, sh } from "./support.ts";

export interface HealthOptions {
  readonly rounds: number;
  /** Of each measurement of CPU time. */
  readonly seconds: number;
  /** How often a node falls silent. */
  readonly holes: number;
}

const count = 1000;
const port = 4240;
/** kube-router's default, s. */
const holdSeconds = 90;

export async function benchHealth({ rounds, seconds, holes }: HealthOptions): Promise<readonly Row[]> {
  const [here, there] = [`bench-health-a${process.pid}`, `bench-health-b${process.pid}`];
  try {
    await connect(here, there);
    const responder = await startResponder(there);
    try {
      const costs = { probing: [] as number[], answering: [] as number[], idle: [] as number[], heapMb: 0 };
      for (let round = 0; round < rounds; round++) {
        costs.idle.push((await cost(here, 0, seconds, responder)).probing);
        const one = await cost(here, count, seconds, responder);
        costs.probing.push(one.probing);
        costs.answering.push(one.answering);
        costs.heapMb = Math.max(costs.heapMb, one.heapMb);
      }
      const known = await timesToKnow(here, there, holes);
      const percent = (share: number) => `${(100 * share).toFixed(2)} % of a core`;
      const rows: Row[] = [
        {
          what: `asking ${count} nodes every 5 s, ICMP, TCP and pods' addresses`,
          figure: percent(median(costs.probing)),
          baseline: `${percent(median(costs.idle))} (nobody to ask)`,
          ratio: null,
          aim: "< 1 % of a core",
        },
        {
          what: `answering TCP of ${count} nodes`,
          figure: percent(median(costs.answering)),
          baseline: "-",
          ratio: null,
          aim: "",
        },
        {
          what: `memory of ${count} nodes`,
          figure: `${costs.heapMb.toFixed(1)} MB`,
          baseline: "-",
          ratio: null,
          aim: "",
        },
        {
          what: `a node falls silent until it is known, p50 (p99) of ${holes}`,
          figure: `${median(known).toFixed(1)} s (${percentile(known, 0.99).toFixed(1)} s)`,
          baseline: `${holdSeconds} s (hold time of BGP)`,
          ratio: holdSeconds / median(known),
          aim: "~5 s",
        },
      ];
      printTable("Health of other nodes", rows);
      return rows;
    } finally {
      responder.process.kill("SIGKILL");
    }
  } finally {
    for (const name of [here, there]) await sh(["ip", "netns", "del", name]).catch(() => undefined); // not made
  }
}

async function connect(here: string, there: string): Promise<void> {
  for (const name of [here, there]) await sh(["ip", "netns", "add", name]);
  const ip = (name: string, words: string) => sh(inNetns(name, ["ip", ...words.split(" ")]));
  await ip(here, `link add va type veth peer name vb netns ${there}`);
  for (const [name, device, host] of [
    [here, "va", 1],
    [there, "vb", 2],
  ] as const) {
    await ip(name, "link set lo up");
    await ip(name, `addr add 192.0.2.${host}/24 dev ${device}`);
    await ip(name, `link set ${device} up`);
  }
  // Nodes, and the addresses of their pods.
  for (const prefix of ["10.200.0.0/16", "10.201.0.0/16"]) await ip(there, `route add local ${prefix} dev lo`);
  await ip(here, "route add 10.200.0.0/15 via 192.0.2.2");
}

interface Responder {
  readonly process: ChildProcess;
  readonly lines: Interface;
}

async function startResponder(netns: string): Promise<Responder> {
  const script = join(root, "bench/tools/health-responder.ts");
  const args = ["--import=tsx", script, `/run/netns/${netns}`, String(port)];
  const process = spawn(globalThis.process.execPath, args, { stdio: ["pipe", "pipe", "inherit"], cwd: root });
  if (process.stdout === null) throw new Error("no output");
  const responder = { process, lines: createInterface(process.stdout) };
  await line(responder);
  return responder;
}

const line = ({ lines }: Responder) => new Promise<string>((resolve) => lines.once("line", resolve));

async function cpuOf(responder: Responder): Promise<number> {
  responder.process.stdin?.write("\n");
  return Number(await line(responder));
}

/** Table rows of nodes: 10.200.x.y each, with pods 10.201.x.y/32. */
function nodes(many: number): TableStore {
  const store = new TableStore();
  for (let at = 0; at < many; at++) {
    const address = (second: number) => addressFromBytes(Uint8Array.of(10, second, at >> 8, at & 255));
    const [name, cidr] = [`node-${at}`, makePrefix(address(201), 32)];
    store.upsert("nodes", name, { name, labels: {}, addresses: [address(200)], podCidrs: [cidr] });
    const nextHops = [{ gateway: address(200), ifindex: 2, device: "va" }];
    store.upsert("routes", cidr.text, { destination: cidr, protocol: 17, nextHops, metric: 0, mtu: 1500, since: 0 });
  }
  return store;
}

function sourceOf(netns: string, store: TableStore): HealthSource {
  return new HealthSource({
    native: loadNative(),
    config: { nodeName: "self", ipv4: true, ipv6: false, healthProbe: true, healthInterval: 5, healthPort: port },
    store,
    conditions: { report: () => undefined },
    clock: systemClock,
    netns: `/run/netns/${netns}`,
  });
}

async function cost(netns: string, many: number, seconds: number, responder: Responder) {
  const store = nodes(many);
  const source = sourceOf(netns, store);
  const before = heapMb();
  source.start();
  try {
    // All asked once, and packets of size as well.
    await sleep(9_000);
    const [cpu, answering, from] = [process.cpuUsage(), await cpuOf(responder), performance.now()];
    await sleep(seconds * 1000);
    const { user, system } = process.cpuUsage(cpu);
    const us = (performance.now() - from) * 1000;
    const silent = [...store.table("nodeHealth").values()].filter(({ state }) => state !== "reachable").length;
    if (silent > 0) throw new Error(`${silent} of ${many} nodes are not reachable`);
    return {
      probing: (user + system) / us,
      answering: ((await cpuOf(responder)) - answering) / us,
      heapMb: heapMb() - before,
    };
  } finally {
    await source.stop();
  }
}

/** MB that are in use, without garbage. */
function heapMb(): number {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return (heapUsed + arrayBuffers) / 1e6;
}

/** s */
async function timesToKnow(here: string, there: string, holes: number): Promise<readonly number[]> {
  const store = nodes(20);
  const source = sourceOf(here, store);
  const nft = (...words: readonly string[]) => sh(inNetns(there, ["/usr/sbin/nft", ...words]));
  const times: number[] = [];
  source.start();
  try {
    await sleep(6_000);
    await nft("add table ip hole");
    await nft("add chain ip hole in { type filter hook prerouting priority -300 ; }");
    for (let hole = 0; hole < holes; hole++) {
      const at = hole % 20;
      const waited = until(store, `node-${at}`, "unreachable");
      await nft(`add rule ip hole in ip daddr { 10.200.0.${at}, 10.201.0.${at} } drop`);
      const from = performance.now();
      await waited;
      times.push((performance.now() - from) / 1000);
      const back = until(store, `node-${at}`, "reachable");
      await nft("flush chain ip hole in");
      await back;
      await sleep(Math.random() * 5_000);
    }
    return times;
  } finally {
    await source.stop();
  }
}

function until(store: TableStore, name: string, state: string): Promise<void> {
  return new Promise((resolve) => {
    const end = store.onChange(({ table, key }) => {
      if (table !== "nodeHealth" || key !== name || store.table("nodeHealth").get(name)?.state !== state) return;
      end();
      resolve();
    });
  });
}
