/** Commands that work on the node itself and ask no agent: they take the agent's settings, so that both mean the same folders. */
import { readFileSync } from "node:fs";
import type { Command } from "commander";
import type { AgentConfig } from "../config/index.ts";
import { TandemError } from "../lib/errors.ts";
import type { CliContext } from "./context.ts";
import { CliError } from "./errors.ts";

/** With --json, --config, and any flag of the agent's. */
export function nodeOptions(parent: Command, name: string, description: string): Command {
  return parent
    .command(name)
    .description(description)
    .option("--json", "print JSON")
    .option("--config <file>", "the agent's file of settings")
    .argument("[flags...]", "further flags of the agent, as --cni-bin-dir /opt/cni/bin")
    .allowUnknownOption();
}

/** @throws TandemError CONFIG_INVALID */
export async function nodeConfig(
  context: CliContext,
  flags: readonly string[],
  options: { readonly config?: string },
): Promise<AgentConfig> {
  // Loaded only when asked for: the schema library is half of this program's start.
  const { loadConfig } = await import("../config/index.ts");
  const argv = [...(options.config === undefined ? [] : ["--config", options.config]), ...flags];
  // The node's name plays no part here, so nobody has to give it.
  const env = { TANDEM_NODE_NAME: "unnamed", ...context.env };
  return loadConfig({ argv, env, readFile: (path) => readFileSync(path, "utf8") });
}

/** @throws CliError for what the work throws as TandemError */
export async function attempt<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!(cause instanceof TandemError)) throw cause;
    const { code, object, message, remedy } = cause;
    throw new CliError({ code, message: `${object}: ${message}`, remedy, exitCode: 1, cause });
  }
}
