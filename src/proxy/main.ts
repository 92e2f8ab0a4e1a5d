/** The process `tandem-proxy`: settings, the engine, the proxy, and what ends it. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { endBySignals, runProgram } from "../agent/daemon.ts";
import { createLogger } from "../agent/logging.ts";
import { packageVersion } from "../agent/package.ts";
import { readConfigFolder } from "../config/folder.ts";
import { systemClock } from "../lib/clock.ts";
import { requirePrivileges } from "../lib/privileges.ts";
import { loadNative } from "../native/index.ts";
import { AccessLog } from "./access-log.ts";
import { LastRules } from "./last-rules.ts";
import { nativeEngine } from "./native-engine.ts";
import { openFilesWarning } from "./open-files.ts";
import { TandemProxy } from "./tandem-proxy.ts";
import { loadProxyConfig, proxyHelp } from "./settings.ts";
import { Turn } from "./turn.ts";

/** ms that an orderly stop may take beyond the connections' own time. */
const stopLimitMs = 5_000;

async function main(argv: readonly string[]): Promise<void> {
  if (argv.includes("--help") || argv.includes("-h")) {
    process.stdout.write(`Usage: tandem-proxy [flags]\n\n${proxyHelp()}\n`);
    return;
  }
  const config = loadProxyConfig({
    argv,
    env: process.env,
    readFile: (path) => readFileSync(path, "utf8"),
    readFolder: readConfigFolder,
  });
  requirePrivileges("tandem-proxy", readFileSync("/proc/self/status", "utf8"));
  const log = createLogger(config.logLevel);
  const files = openFilesWarning(readFileSync("/proc/self/limits", "utf8"), config.maxConnections);
  if (files !== null)
    log.warn({ remedy: "raise the limit of open files (LimitNOFILE of the container runtime)" }, files);
  const { accessLog: path, accessLogBytes: limit } = config;
  const accessLog = path === "" ? null : new AccessLog({ path, limit, log });
  const drainMs = config.drainSeconds * 1_000;
  const proxy = new TandemProxy({
    agentSocket: config.agentSocket,
    version: await packageVersion(),
    pid: process.pid,
    drainMs,
    openEngine: nativeEngine(loadNative(), config),
    turn: new Turn(config.bpffs, systemClock),
    lastRules: new LastRules({ stateDir: config.stateDir, log, clock: systemClock }),
    accessLog,
    onState: (state) => markReady(config.readyFile, state === "active"),
    log,
    clock: systemClock,
  });
  process.on("SIGHUP", () => accessLog?.reopen());
  endBySignals({ log, message: "stopping", stop: () => proxy.stop(), limitMs: drainMs + stopLimitMs });
  await proxy.run();
}

function markReady(path: string, isReady: boolean): void {
  if (path === "") return;
  if (isReady) writeFileSync(path, "");
  else rmSync(path, { force: true });
}

await runProgram("tandem-proxy", main);
