/** The process `tandem-agent`: settings, privileges, the agent, and what ends it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type AgentConfig, configHelp, loadConfig } from "../config/index.ts";
import { systemClock } from "../lib/clock.ts";
import { requirePrivileges } from "../lib/privileges.ts";
import { loadNative, packageRoot } from "../native/index.ts";
import { Agent } from "./agent.ts";
import { endBySignals, runProgram } from "./daemon.ts";
import { createLogger } from "./logging.ts";
import { packageVersion, requireObjects } from "./package.ts";

/** ms that an orderly stop may take; a flow never waits for it. */
const stopLimitMs = 3_000;

async function main(argv: readonly string[]): Promise<void> {
  if (argv.includes("--help") || argv.includes("-h")) {
    process.stdout.write(`Usage: tandem-agent [flags]\n\n${configHelp()}\n`);
    return;
  }
  const config = settings(argv);
  requirePrivileges("tandem-agent", readFileSync("/proc/self/status", "utf8"));
  await requireObjects(config.objects);
  const version = await packageVersion();
  const log = createLogger(config.logLevel);
  const agent = new Agent({ config, version, native: loadNative(), log, clock: systemClock });
  const message = "stopping; the kernel goes on with what it has";
  endBySignals({ log, message, stop: () => agent.stop(), limitMs: stopLimitMs });
  await agent.start();
}

function settings(argv: readonly string[]): AgentConfig {
  const config = loadConfig({ argv, env: process.env, readFile: (path) => readFileSync(path, "utf8") });
  return { ...config, objects: config.objects === "" ? join(packageRoot(), "build/bpf") : config.objects };
}

await runProgram("tandem-agent", main);
