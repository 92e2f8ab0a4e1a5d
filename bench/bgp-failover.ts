/**
 * `scripts/bench bgp-failover`: from a router's withdrawal of a prefix to the first packet by the other router. Two routers on two uplinks (bird, the topology
 * "ecmp") both have an address outside, the first one is the better way to it. A pod of a node and the node itself send there all the time, each to an
 * address of its own: the pod's packets go by Tandem's programs, the node's by the kernel alone, and neither is asked for new connections.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { appendFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { Lab } from "../src/lab/lab.ts";
import type { RouterPlan } from "../src/lab/plan.ts";
import { inside, mustRun } from "../src/lab/run.ts";
import { inNetns, median, percentile, printTable, root, type Row } from "./support.ts";

const port = 7000;
/** Behind both routers. */
const prefix = "203.0.113.0/24";
const addresses = { pod: "203.0.113.10", node: "203.0.113.11" } as const;
type Sender = keyof typeof addresses;
const script = join(root, "bench/tools/path-watch.js");
const limitMs = 60_000;

const pod = {
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "sender", namespace: "default", labels: {} },
  spec: {
    nodeName: "node-1",
    containers: [
      { name: "main", image: "node", command: [process.execPath, script, "send", addresses.pod, String(port)] },
    ],
  },
};

/** ms from the withdrawal. */
interface Times {
  readonly pod: number;
  readonly node: number;
  readonly route: number;
}

export async function benchBgpFailover(rounds: number): Promise<readonly Row[]> {
  const name = `benchfail${process.pid}`;
  const ends: ChildProcess[] = [];
  try {
    const lab = await Lab.up({ name, nodes: 1, topology: "ecmp", objects: [pod] });
    const [first, second] = lab.plan.routers;
    if (first === undefined || second === undefined) throw new Error("the lab has no two routers");
    for (const router of [first, second]) await announce(router, router === first ? 0 : 100);
    const place = await lab.place("node/node-1");
    const [file = "", ...args] = inside(place, [process.execPath, script, "send", addresses.node, String(port)]);
    ends.push(spawn(file, args, { stdio: "ignore" }));
    const watches: Watch[] = [];
    for (const sender of ["pod", "node"] as const) {
      for (const router of [first, second]) {
        const watch = new Watch(router, sender);
        ends.push(watch.process);
        await watch.ready();
        watches.push(watch);
      }
    }
    const at = (router: RouterPlan, sender: Sender) => {
      const watch = watches.find((each) => each.router === router && each.sender === sender);
      if (watch === undefined) throw new Error("nobody watches");
      return watch;
    };
    const monitor = new RouteMonitor(lab.node("node-1").netns);
    ends.push(monitor.process);
    const arrive = (router: RouterPlan) =>
      Promise.all((["pod", "node"] as const).map((each) => at(router, each).next()));
    await arrive(first);

    const times: Times[] = [];
    for (let round = 0; round <= rounds; round++) {
      const came = arrive(second);
      const changed = monitor.next(second.ipv4);
      const from = nowMs();
      await bird(first, "disable", "outside");
      const [ofPod = Number.NaN, ofNode = Number.NaN] = await came;
      const route = await changed;
      // The first one meets cold code, and sessions that have just come up.
      if (round > 0) times.push({ pod: ofPod - from, node: ofNode - from, route: route - from });
      const back = arrive(first);
      await bird(first, "enable", "outside");
      await back;
      await sleep(200);
    }
    const rows = rowsOf(times);
    printTable(`bgp-failover (${rounds} times, a datagram each ms)`, rows);
    return rows;
  } finally {
    for (const end of ends) end.kill("SIGKILL");
    await Lab.down(name);
  }
}

function rowsOf(times: readonly Times[]): readonly Row[] {
  const of = (what: (each: Times) => number) => {
    const values = times.map(what);
    return `p50 ${median(values).toFixed(1)} ms, p99 ${percentile(values, 0.99).toFixed(1)} ms`;
  };
  return [
    {
      what: "withdrawn by a router -> a pod's first packet by the other one",
      figure: of((each) => each.pod),
      baseline: `${of((each) => each.node)} (of the node itself, by the kernel alone)`,
      ratio: median(times.map((each) => each.node / each.pod)),
      aim: ">= 0.90",
    },
    {
      what: "the kernel's route changed -> the same",
      figure: of((each) => each.pod - each.route),
      baseline: `${of((each) => each.node - each.route)} (of the node itself); the change is seen after ${of((each) => each.route)}`,
      ratio: null,
      aim: "",
    },
  ];
}

/** The prefix and its addresses behind a router: the lower `med`, the better. */
async function announce(router: RouterPlan, med: number): Promise<void> {
  for (const address of Object.values(addresses))
    await mustRun(["ip", "-n", router.netns, "addr", "add", `${address}/32`, "dev", "lo"]);
  const config = `protocol static outside { ipv4; route ${prefix} via "ext0" { bgp_med = ${med}; }; }\n`;
  await appendFile(join(router.folder, "bird.conf"), config);
  await bird(router, "configure");
}

async function bird(router: RouterPlan, ...words: readonly string[]): Promise<void> {
  await mustRun(["birdc", "-s", join(router.folder, "bird.ctl"), ...words]);
}

/** Of the clock that all processes share. */
const nowMs = (): number => Number(process.hrtime.bigint() / 1_000n) / 1_000;

/** Who hears what a sender sends by one of the routers. */
class Watch {
  readonly router: RouterPlan;
  readonly sender: Sender;
  readonly process: ChildProcess;
  readonly #lines: Interface;

  constructor(router: RouterPlan, sender: Sender) {
    this.router = router;
    this.sender = sender;
    const command = [process.execPath, script, "receive", addresses[sender], String(port)];
    const [file = "", ...args] = inNetns(router.netns, command);
    const child = spawn(file, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.process = child;
    this.#lines = createInterface(child.stdout);
  }

  async ready(): Promise<void> {
    await this.#line();
  }

  /** @returns ms when the next one arrived */
  async next(): Promise<number> {
    const line = this.#line();
    this.process.stdin?.write("\n");
    return Number(await line);
  }

  #line(): Promise<string> {
    return within(`a packet of the ${this.sender} in ${this.router.netns}`, (done) => this.#lines.once("line", done));
  }
}

/** The node's routes to the prefix, as the kernel tells of them. */
class RouteMonitor {
  readonly process: ChildProcess;
  readonly #lines: Interface;

  constructor(netns: string) {
    const child = spawn("ip", ["-n", netns, "monitor", "route"], { stdio: ["ignore", "pipe", "inherit"] });
    this.process = child;
    this.#lines = createInterface(child.stdout);
  }

  /** @returns ms when a route by that next hop, and by no other, was told */
  next(gateway: string): Promise<number> {
    return within(`a route to ${prefix} by ${gateway}`, (done: (at: number) => void) => {
      const hear = (line: string) => {
        if (line.startsWith("Deleted") || !line.includes(prefix) || !line.includes(`via ${gateway} `)) return;
        this.#lines.off("line", hear);
        done(nowMs());
      };
      this.#lines.on("line", hear);
    });
  }
}

function within<T>(what: string, begin: (done: (value: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`not within ${limitMs} ms: ${what}`)), limitMs);
    begin((value) => {
      clearTimeout(timer);
      resolve(value);
    });
  });
}
