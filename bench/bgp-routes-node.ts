/**
 * The node of `bench bgp-routes`: a lab's, whose router announces thousands of prefixes to its gobgpd. What writes them to the kernel is one
 * `ip -batch`: the stand-in of kube-router starts a process for each route, as it is there for its order and not for its speed.
 */
import { appendFile, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { StatusDto } from "../src/api/dto.ts";
import { agentLog, agentProcess } from "../src/lab/agents.ts";
import { Lab } from "../src/lab/lab.ts";
import type { NodePlan } from "../src/lab/plan.ts";
import { runningProcess, stopDaemon } from "../src/lab/processes.ts";
import { ipBatch, mustRun } from "../src/lab/run.ts";
import { root } from "./support.ts";

/** Of /proc/PID/stat. */
const ticksPerSecond = 100;
const probe = join(root, "bench/tools/event-loop-probe.js");

/** What the agent did since it was asked before. */
export interface LoopReport {
  /** ms that arrivals each 5 ms waited, and would have waited had there been a processor for the agent at all times. */
  readonly delays: readonly number[];
  readonly own: readonly number[];
  readonly cpuMs: number;
  readonly ms: number;
}

export interface StartTimes {
  /** ms from the start of its process; of sources, until they had seen everything once. */
  readonly ready: number;
  readonly routes: number;
  readonly gobgp: number;
  /** ms of CPU until all of that. */
  readonly cpu: number;
}

export class RoutesNode {
  readonly lab: Lab;
  readonly plan: NodePlan;
  readonly #prefixes: readonly string[];

  private constructor(lab: Lab, prefixes: readonly string[]) {
    this.lab = lab;
    this.plan = lab.node("node-1");
    this.#prefixes = prefixes;
  }

  /** @param count of prefixes that can be announced, at most 16384; none is at first */
  static async with(count: number, work: (node: RoutesNode) => Promise<void>): Promise<void> {
    const name = `benchroutes${process.pid}`;
    // 100.64.0.0/10 (RFC 6598): nothing else of a lab is in it.
    const prefixes = Array.from({ length: count }, (_, at) => `100.${64 + (at >> 8)}.${at & 255}.0/24`);
    try {
      // With masquerading each route of BGP is an entry of a map as well: where nothing is masqueraded there is less to do.
      const lab = await Lab.up({ name, nodes: 1, agent: { masqueradeIpv4: true } });
      const node = new RoutesNode(lab, prefixes);
      await stopDaemon(join(node.plan.folder, "injector.pid"));
      const routes = prefixes.map((prefix) => `route ${prefix} blackhole;`).join("\n");
      const config = `protocol static flapping { disabled; ipv4; ${routes} }\n`;
      await appendFile(join(lab.plan.tor.folder, "bird.conf"), config);
      await node.#bird("configure");
      await work(node);
    } finally {
      await Lab.down(name);
    }
  }

  get count(): number {
    return this.#prefixes.length;
  }

  /** All of them, by the router and in the kernel at the same time. Resolves when the commands have ended: gobgpd and the agent hear of it meanwhile. */
  async announce(): Promise<void> {
    const via = this.lab.plan.tor.ipv4;
    const routes = this.#prefixes.map((prefix) => `route add ${prefix} via ${via} proto 17`);
    await Promise.all([this.#bird("enable", "flapping"), ipBatch(this.plan.netns, routes)]);
  }

  async withdraw(): Promise<void> {
    const routes = this.#prefixes.map((prefix) => `route del ${prefix} proto 17`);
    await Promise.all([this.#bird("disable", "flapping"), ipBatch(this.plan.netns, routes)]);
  }

  /** Waits until the agent knows all of them or none: routes, and paths. */
  async known(all: boolean): Promise<void> {
    const least = all ? this.count : 0;
    // Besides them there are the node's own, and those of hosts outside.
    const isLikely = (count: number) => count >= least && count < least + 10;
    await this.lab.until(`the agent knows ${least} routes`, async () => {
      const { sources } = (await this.lab.agentStatus(this.plan.name)) as StatusDto;
      const detail = (name: string) => sources.find((source) => source.name === name)?.detail ?? "";
      const routes = Number(/(\d+) of BGP/.exec(detail("routes"))?.[1]);
      const paths = Number(/(\d+) best paths/.exec(detail("gobgp"))?.[1]);
      return isLikely(routes) && isLikely(paths);
    });
  }

  /** Ends the agent and starts it on what it left, with the event loop watched or without. */
  async restartAgent(watched: boolean): Promise<StartTimes> {
    await this.lab.stopAgent(this.plan.name);
    await rm(agentLog(this.plan), { force: true });
    if (watched) {
      process.env.NODE_OPTIONS = `--import=${pathToFileURL(probe).href}`;
      process.env.TANDEM_BENCH_LOOP = this.#loopFile;
    }
    const began = Date.now();
    try {
      await this.lab.startAgent(this.plan.name);
    } finally {
      delete process.env.NODE_OPTIONS;
      delete process.env.TANDEM_BENCH_LOOP;
    }
    await this.lab.until("gobgpd's table is known", async () => (await this.#seen("gobgp")) !== null);
    const { readyMs } = (await this.lab.agentStatus(this.plan.name)) as StatusDto;
    const after = async (source: string) => ((await this.#seen(source)) ?? Number.NaN) - began;
    const cpu = await cpuMsOf(await this.#pid());
    return { ready: readyMs ?? Number.NaN, routes: await after("routes"), gobgp: await after("gobgp"), cpu };
  }

  /** Of an agent that is watched: since the last call. */
  async loop(): Promise<LoopReport> {
    await rm(this.#loopFile, { force: true });
    process.kill(await this.#pid(), "SIGUSR2");
    let text = "";
    await this.lab.until("the agent tells of its event loop", async () => {
      text = await readFile(this.#loopFile, "utf8").catch(() => "");
      return text !== "";
    });
    return JSON.parse(text) as LoopReport;
  }

  /** ms of CPU that gobgpd took since its start. */
  async gobgpdCpuMs(): Promise<number> {
    return cpuMsOf((await runningProcess(join(this.plan.folder, "gobgpd.pid")))?.pid ?? 0);
  }

  async #pid(): Promise<number> {
    const pid = await agentProcess(this.plan);
    if (pid === null) throw new Error("the agent does not run");
    return pid;
  }

  get #loopFile(): string {
    return join(this.plan.folder, "event-loop.json");
  }

  async #bird(...words: readonly string[]): Promise<void> {
    await mustRun(["birdc", "-s", join(this.lab.plan.tor.folder, "bird.ctl"), ...words]);
  }

  /** ms since the epoch when the agent's log says so. */
  async #seen(source: string): Promise<number | null> {
    const lines = (await readFile(agentLog(this.plan), "utf8")).split("\n").filter((line) => line.startsWith("{"));
    for (const line of lines) {
      const entry = JSON.parse(line) as { readonly msg?: string; readonly source?: string; readonly time: string };
      if (entry.msg === "seen everything once" && entry.source === source) return Date.parse(entry.time);
    }
    return null;
  }
}

/** ms that a process took since its start, of all its threads. */
export async function cpuMsOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / ticksPerSecond;
}
