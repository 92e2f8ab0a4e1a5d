/** The process `tandem-agent`: settings, privileges, the agent, and what ends it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type AgentConfig, configHelp, loadConfig } from "../config/index.ts";
import { systemClock } from "../lib/clock.ts";
import { TandemError } from "../lib/errors.ts";
import { loadNative, NativeError, packageRoot } from "../native/index.ts";
import { Agent } from "./agent.ts";
import { createLogger } from "./logging.ts";
import { packageVersion, requireObjects } from "./package.ts";
import { requirePrivileges } from "./privileges.ts";

/** ms that an orderly stop may take; a flow never waits for it. */
const stopLimitMs = 3_000;

async function main(argv: readonly string[]): Promise<void> {
  if (argv.includes("--help") || argv.includes("-h")) {
    process.stdout.write(`Usage: tandem-agent [flags]\n\n${configHelp()}\n`);
    return;
  }
  const config = settings(argv);
  requirePrivileges(readFileSync("/proc/self/status", "utf8"));
  await requireObjects(config.objects);
  const version = await packageVersion();
  const log = createLogger(config.logLevel);

  const crash = (error: unknown) => {
    log.error({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }, "uncaught error");
    process.exit(1);
  };
  process.on("uncaughtException", crash);
  process.on("unhandledRejection", crash);

  const agent = new Agent({ config, version, native: loadNative(), log, clock: systemClock });
  const stop = (signal: NodeJS.Signals) => {
    log.info({ signal }, "stopping; the kernel goes on with what it has");
    // The second signal ends it at once.
    for (const name of ["SIGTERM", "SIGINT"] as const) process.removeAllListeners(name).on(name, () => process.exit(1));
    setTimeout(() => process.exit(1), stopLimitMs).unref();
    agent.stop().then(() => process.exit(0), crash);
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  await agent.start();
}

function settings(argv: readonly string[]): AgentConfig {
  const config = loadConfig({ argv, env: process.env, readFile: (path) => readFileSync(path, "utf8") });
  return { ...config, objects: config.objects === "" ? join(packageRoot(), "build/bpf") : config.objects };
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  // Whoever starts it reads this, a person or a supervisor: one line, no stack for what is explained.
  const text =
    error instanceof TandemError
      ? `${error.code}: ${error.object}: ${error.message} (${error.remedy})`
      : error instanceof NativeError
        ? error.message
        : error instanceof Error
          ? (error.stack ?? error.message)
          : String(error);
  process.stderr.write(`tandem-agent: ${text}\n`);
  process.exit(1);
}
