/**
 * `scripts/bench health`: what probing 1000 other nodes costs this node, and what answering as many costs; and how soon a node that falls silent is
 * known, against BGP's hold time. The others are addresses of one namespace behind a veth, their TCP is answered by a process of its own.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import type { TableStore } from "../src/model/store.ts";
import { nodes, port, sourceOf } from "./health-world.ts";
import { inNetns, median, percentile, printTable, root, type Row, sh } from "./support.ts";

export interface HealthOptions {
  readonly rounds: number;
  /** Of each measurement of CPU time. */
  readonly seconds: number;
  /** How often a node falls silent. */
  readonly holes: number;
}

const count = 1000;
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
        const one = await cost(here, count, seconds, responder);
        costs.probing.push(one.probing);
        costs.answering.push(one.answering);
        costs.idle.push((await cost(here, 0, seconds, responder)).probing);
        costs.heapMb = Math.max(costs.heapMb, one.heapMb);
      }
      const known = await timesToKnow(here, there, holes);
      const percent = (share: number) => `${(100 * share).toFixed(2)} % of a core`;
      const rows: Row[] = [
        {
          what: `asking ${count} nodes every 8 s, ICMP, TCP and pods' addresses`,
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

async function cost(netns: string, many: number, seconds: number, responder: Responder) {
  const script = join(root, "bench/tools/health-asker.ts");
  const [before, from] = [await cpuOf(responder), performance.now()];
  const words = ["--import=tsx", script, netns, String(many), String(seconds)];
  const { share, heapMb } = JSON.parse(await sh([process.execPath, ...words], 300_000)) as {
    readonly share: number;
    readonly heapMb: number;
  };
  const answering = ((await cpuOf(responder)) - before) / 1000 / (performance.now() - from);
  return { probing: share, answering, heapMb };
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
