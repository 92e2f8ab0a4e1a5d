/** The source `gobgp` alone in a process: follows gobgpd at the address of the first argument, and prints what that took once it has seen everything. */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { systemClock } from "../../../src/lib/clock.ts";
import type { Logger } from "../../../src/model/logging.ts";
import type { Problem } from "../../../src/model/status.ts";
import { TableStore } from "../../../src/model/store.ts";
import { GobgpSource } from "../../../src/sources/gobgp/index.ts";

export interface Followed {
  readonly paths: number;
  readonly ms: number;
  /** Of all threads. */
  readonly cpuMs: number;
  /** What is kept, after a collection, above what there was before. */
  readonly keptBytes: number;
  /** Most that the process ever had, above what it had before. */
  readonly peakBytes: number;
  readonly delayP99Ms: number;
  readonly delayMaxMs: number;
  readonly problems: readonly string[];
}

const log: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
const collect = () => (globalThis as { gc?: () => void }).gc?.();

const store = new TableStore();
const problems: Problem[] = [];
const ending = new AbortController();
collect();
const before = { heap: process.memoryUsage().heapUsed, rss: process.memoryUsage.rss() };
const delay = monitorEventLoopDelay({ resolution: 5 });
delay.enable();
const begin = performance.now();
const cpuBefore = process.cpuUsage();
await new Promise<void>((resolve) => {
  const source = new GobgpSource({
    addresses: [process.argv[2] ?? ""],
    store,
    conditions: { report: (_topic, found) => void problems.push(...found) },
    log,
    clock: systemClock,
    onSession: resolve,
  });
  void source.start(ending.signal);
});
const ms = performance.now() - begin;
const cpu = process.cpuUsage(cpuBefore);
delay.disable();
const peakBytes = process.resourceUsage().maxRSS * 1024 - before.rss;
ending.abort();
collect();
const followed: Followed = {
  paths: store.table("bgpPaths").size,
  ms: Math.round(ms),
  cpuMs: Math.round((cpu.user + cpu.system) / 1000),
  keptBytes: process.memoryUsage().heapUsed - before.heap,
  peakBytes,
  delayP99Ms: Math.round(delay.percentile(99) / 1e6),
  delayMaxMs: Math.round(delay.max / 1e6),
  problems: problems.map(({ code }) => code),
};
process.stdout.write(JSON.stringify(followed));
process.exit(0);
