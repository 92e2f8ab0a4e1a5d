/** `tandem agent`: runs the agent in the foreground, as `tandem-agent` does; its signals and exit code are passed on. */
import { spawn } from "node:child_process";
import type { Command } from "commander";
import { program as programOf } from "../lab/runtime.ts";
import type { CliContext } from "./context.ts";
import { CliError } from "./errors.ts";

export function registerAgent(context: CliContext, program: Command): void {
  program
    .command("agent")
    .description("run the agent in the foreground (all arguments are the agent's: tandem agent --help)")
    .allowUnknownOption()
    .passThroughOptions()
    .helpOption(false)
    .argument("[args...]")
    .action(async (args: readonly string[]) => {
      context.setExitCode(await runAgent(args));
    });
}

function runAgent(args: readonly string[]): Promise<number> {
  const [command = process.execPath, ...rest] = programOf("agent");
  return new Promise((resolve, reject) => {
    const child = spawn(command, [...rest, ...args], { stdio: "inherit" });
    // The terminal sends SIGINT to both; a supervisor's SIGTERM comes to this process only.
    const forward = (signal: NodeJS.Signals) => child.kill(signal);
    process.on("SIGTERM", forward);
    child.on("error", (cause) =>
      reject(
        new CliError({
          code: "AGENT_START",
          message: `cannot start ${command}: ${cause.message}`,
          remedy: "npm run build",
          exitCode: 1,
          cause,
        }),
      ),
    );
    child.on("exit", (code, signal) => {
      process.off("SIGTERM", forward);
      resolve(code ?? (signal === null ? 1 : 128));
    });
  });
}
