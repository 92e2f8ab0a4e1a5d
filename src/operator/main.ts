/** The process `tandem-operator`: settings, the operator, and what ends it. */
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { endBySignals, runProgram } from "../agent/daemon.ts";
import { createLogger } from "../agent/logging.ts";
import { packageVersion } from "../agent/package.ts";
import { readConfigFolder } from "../config/folder.ts";
import { connectKube } from "../kube/index.ts";
import { systemClock } from "../lib/clock.ts";
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
  const config = loadOperatorConfig({ argv, env: process.env, readFile, readFolder: readConfigFolder });
  const version = await packageVersion();
  const log = createLogger(config.logLevel);
  const client = connectKube({
    kubeconfig: config.kubeconfig,
    server: config.apiServer,
    env: process.env,
    clock: systemClock,
    userAgent: `tandem-operator/${version}`,
  });
  const identity = processIdentity(randomUUID());
  const operator = new Operator({ config, version, identity, client, clock: systemClock, log });
  endBySignals({ log, message: "stopping", stop: () => operator.stop(), limitMs: stopLimitMs });
  await operator.start();
}

await runProgram("tandem-operator", main);
