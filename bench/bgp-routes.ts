/**
 * `scripts/bench bgp-routes`: the agent on a node with 10,000 routes of BGP. All of them come and go each few seconds, by the router and in the kernel: what
 * hearing of it costs, against reading the same from the kernel and from gobgpd with their own tools, and how long the agent lets others wait
 * meanwhile. And its start with as many routes, against one with none.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { cpuMsOf, type LoopReport, RoutesNode, type StartTimes } from "./bgp-routes-node.ts";
import { inNetns, median, percentile, printTable, type Row, sh } from "./support.ts";

export interface BgpRoutesOptions {
  /** Times that all routes go and come. */
  readonly flaps: number;
  readonly starts: number;
}

const count = 10_000;
/** ms from one change of all routes to the next: gobgpd takes more than a second to tell of 10,000. */
const halfFlapMs = 2_000;

interface Starts {
  readonly none: readonly StartTimes[];
  readonly all: readonly StartTimes[];
  /** ms of `ip route` and of `gobgp global rib`, all read. */
  readonly kernelMs: readonly number[];
  readonly ribMs: readonly number[];
}

interface Flaps {
  readonly idle: LoopReport;
  readonly flapping: LoopReport;
  readonly gobgpdCpuMs: number;
  /** ms of CPU of `ip monitor` and of `gobgp monitor`, for as many flaps. */
  readonly monitors: { readonly kernel: number; readonly rib: number };
}

export async function benchBgpRoutes(options: BgpRoutesOptions): Promise<readonly Row[]> {
  const rows: Row[] = [];
  await RoutesNode.with(count, async (node) => {
    rows.push(...startRows(await starts(node, options.starts)), ...flapRows(await flaps(node, options.flaps), options));
  });
  printTable(`bgp-routes (${count} routes, masqueraded; ${options.starts} starts, ${options.flaps} flaps)`, rows);
  return rows;
}

async function starts(node: RoutesNode, times: number): Promise<Starts> {
  const found = {
    none: [] as StartTimes[],
    all: [] as StartTimes[],
    kernelMs: [] as number[],
    ribMs: [] as number[],
  };
  for (let at = 0; at < times; at++) {
    found.none.push(await node.restartAgent(false));
    await node.announce();
    await node.known(true);
    found.all.push(await node.restartAgent(false));
    found.kernelMs.push(await timeOf(inNetns(node.plan.netns, ["ip", "route"])));
    found.ribMs.push(await timeOf(inNetns(node.plan.netns, ["gobgp", "global", "rib"])));
    await node.withdraw();
    await node.known(false);
  }
  return found;
}

async function timeOf(command: readonly string[]): Promise<number> {
  const from = performance.now();
  await sh(command);
  return performance.now() - from;
}

async function flaps(node: RoutesNode, times: number): Promise<Flaps> {
  await node.restartAgent(true);
  // Code that is cold is measured by the starts.
  await flap(node, 2);
  await node.announce();
  await node.known(true);
  await sleep(halfFlapMs);
  await node.loop();
  await sleep(2 * halfFlapMs);
  const idle = await node.loop();
  await node.withdraw();
  await node.known(false);

  const before = await node.gobgpdCpuMs();
  await node.loop();
  await flap(node, times);
  const flapping = await node.loop();
  const gobgpdCpuMs = (await node.gobgpdCpuMs()) - before;
  await node.known(false);

  const commands = { kernel: ["ip", "monitor", "route"], rib: ["gobgp", "monitor", "global", "rib"] };
  const monitors = { kernel: monitor(node, commands.kernel), rib: monitor(node, commands.rib) };
  try {
    await Promise.all(Object.values(monitors).map((process) => once(process, "spawn")));
    await sleep(500);
    await flap(node, times);
    const [kernel, rib] = [await cpuMsOf(monitors.kernel.pid ?? 0), await cpuMsOf(monitors.rib.pid ?? 0)];
    return { idle, flapping, gobgpdCpuMs, monitors: { kernel, rib } };
  } finally {
    for (const process of Object.values(monitors)) process.kill("SIGKILL");
  }
}

/** Its process is the command's own: nsenter becomes it. */
function monitor(node: RoutesNode, command: readonly string[]): ChildProcess {
  const [file = "", ...args] = inNetns(node.plan.netns, command);
  return spawn(file, args, { stdio: ["ignore", "ignore", "inherit"] });
}

async function flap(node: RoutesNode, times: number): Promise<void> {
  for (let at = 0; at < times; at++) {
    for (const change of [() => node.announce(), () => node.withdraw()]) {
      const next = sleep(halfFlapMs);
      await change();
      await next;
    }
  }
}

const ms = (value: number) => `${value.toFixed(value < 10 ? 1 : 0)} ms`;

function startRows({ none, all, kernelMs, ribMs }: Starts): readonly Row[] {
  const of = (times: readonly StartTimes[], what: keyof StartTimes) => median(times.map((one) => one[what]));
  return [
    {
      what: "start to ready, all routes in the kernel",
      figure: ms(of(all, "ready")),
      baseline: `${ms(of(none, "ready"))} (no routes)`,
      ratio: of(none, "ready") / of(all, "ready"),
      aim: "< 1 s",
    },
    {
      what: "start to all routes known",
      figure: ms(of(all, "routes")),
      baseline: `${ms(of(none, "routes"))} (no routes), ${ms(median(kernelMs))} (ip route)`,
      ratio: of(none, "routes") / of(all, "routes"),
      aim: "< 1 s",
    },
    {
      what: "start to all of gobgpd's paths known",
      figure: ms(of(all, "gobgp")),
      baseline: `${ms(of(none, "gobgp"))} (no paths), ${ms(median(ribMs))} (gobgp global rib)`,
      ratio: of(none, "gobgp") / of(all, "gobgp"),
      aim: "",
    },
    {
      what: "CPU until all of that",
      figure: ms(of(all, "cpu")),
      baseline: `${ms(of(none, "cpu"))} (no routes, no paths)`,
      ratio: of(none, "cpu") / of(all, "cpu"),
      aim: "",
    },
  ];
}

function flapRows({ idle, flapping, gobgpdCpuMs, monitors }: Flaps, { flaps: times }: BgpRoutesOptions): Row[] {
  const perFlap = (cpuMs: number) => cpuMs / times;
  const wait = (delays: readonly number[]) =>
    `p50 ${ms(percentile(delays, 0.5))}, p99 ${ms(percentile(delays, 0.99))}, most ${ms(percentile(delays, 1))}`;
  const plain = perFlap(monitors.kernel + monitors.rib);
  return [
    {
      what: `all routes go and come, each ${(2 * halfFlapMs) / 1000} s: delay of the event loop`,
      figure: wait(flapping.own),
      baseline: `${wait(idle.own)} (nothing changes)`,
      ratio: percentile(idle.own, 0.99) / percentile(flapping.own, 0.99),
      aim: "p99 < 20 ms",
    },
    {
      what: "the same, with its waiting for a processor that others have",
      figure: wait(flapping.delays),
      baseline: `${wait(idle.delays)} (nothing changes)`,
      ratio: percentile(idle.delays, 0.99) / percentile(flapping.delays, 0.99),
      aim: "",
    },
    {
      what: "the same: CPU of the agent for each time",
      figure: `${ms(perFlap(flapping.cpuMs))} (${((100 * flapping.cpuMs) / flapping.ms).toFixed(0)} % of a core)`,
      baseline: `${ms(plain)} (ip monitor ${ms(perFlap(monitors.kernel))}, gobgp monitor ${ms(perFlap(monitors.rib))}); gobgpd itself ${ms(perFlap(gobgpdCpuMs))}`,
      ratio: plain / perFlap(flapping.cpuMs),
      aim: "",
    },
  ];
}
