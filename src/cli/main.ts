/** The process `tandem`. */
import { CommanderError } from "commander";
import type { CliContext } from "./context.ts";
import { CliError } from "./errors.ts";
import { TandemError } from "../lib/errors.ts";
import { createProgram } from "./program.ts";

const interrupted = new AbortController();
process.once("SIGINT", () => interrupted.abort());

// `tandem … | head` closes our output: that is an end like any other.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
});

const context: CliContext = {
  write: (text) => void process.stdout.write(text),
  note: (text) => void process.stderr.write(text),
  setExitCode: (code) => {
    process.exitCode = code;
  },
  env: process.env,
  colour: process.stdout.isTTY === true && process.env.NO_COLOR === undefined,
  signal: interrupted.signal,
};

try {
  const argv = process.argv.slice(2);
  const program = await createProgram(context, argv);
  await program.parseAsync(argv, { from: "user" });
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode;
  } else if (error instanceof CliError || error instanceof TandemError) {
    process.stderr.write(`tandem: ${error.code}: ${error.message}\n  ${error.remedy}\n`);
    process.exitCode = error instanceof CliError ? error.exitCode : 1;
  } else {
    process.stderr.write(`tandem: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exitCode = 1;
  }
}
