/** The process `tandem-operator`: settings, the operator, and what ends it. */
import { randomUUID } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { createLogger } from "../agent/logging.ts";
import { packageVersion } from "../agent/package.ts";
import { connectKube } from "../kube/index.ts";
import { systemClock } from "../lib/clock.ts";
import { TandemError } from "../lib/errors.ts";
import { Operator } from "./operator.ts";
import { loadOperatorConfig, operatorHelp, processIdentity } from "./settings.ts";

/** ms that an orderly stop may take: what is under way ends, and the lease is given back. */
const stopLimitMs = 8_000;

async function main(argv: readonly string[]): Promise<void> {
  if (argv.includes("--help") || argv.includes("-h")) {
    process.stdout.write(
      `Usage: tandem-operator [flags]\n\n${operatorHelp()}\n\n--config also takes a folder with a file for each setting, as a mounted ConfigMap is one.\n`,
    );
    return;
  }
  const readFile = (path: string) => readFileSync(path, "utf8");
  const config = loadOperatorConfig({ argv, env: process.env, readFile, readFolder });
  const version = await packageVersion();
  const log = createLogger(config.logLevel);
  const crash = (error: unknown) => {
    log.error({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }, "uncaught error");
    process.exit(1);
  };
  process.on("uncaughtException", crash);
  process.on("unhandledRejection", crash);

  const client = connectKube({
    kubeconfig: config.kubeconfig,
    server: config.apiServer,
    env: process.env,
    clock: systemClock,
    userAgent: `tandem-operator/${version}`,
  });
  const identity = processIdentity(randomUUID());
  const operator = new Operator({ config, version, identity, client, clock: systemClock, log });
  const stop = (signal: NodeJS.Signals) => {
    log.info({ signal }, "stopping");
    // The second signal ends it at once.
    for (const name of ["SIGTERM", "SIGINT"] as const) process.removeAllListeners(name).on(name, () => process.exit(1));
    setTimeout(() => process.exit(1), stopLimitMs).unref();
    operator.stop().then(() => process.exit(0), crash);
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  await operator.start();
}

/** A mounted ConfigMap: its files are links into a folder with a hidden name. */
function readFolder(path: string): ReadonlyMap<string, string> | null {
  if (!statSync(path).isDirectory()) return null;
  const files = readdirSync(path).filter((name) => !name.startsWith(".") && statSync(join(path, name)).isFile());
  return new Map(files.map((name) => [name, readFileSync(join(path, name), "utf8")]));
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  // Whoever starts it reads this, a person or a supervisor: one line, no stack for what is explained.
  const text =
    error instanceof TandemError
      ? `${error.code}: ${error.object}: ${error.message} (${error.remedy})`
      : error instanceof Error
        ? (error.stack ?? error.message)
        : String(error);
  process.stderr.write(`tandem-operator: ${text}\n`);
  process.exit(1);
}
