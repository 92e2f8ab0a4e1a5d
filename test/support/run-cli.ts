/** Runs `tandem` in this process, as its main does, and keeps what it prints. */
import type { CliContext } from "../../src/cli/context.ts";
import { createProgram } from "../../src/cli/program.ts";

export interface CliOutcome {
  readonly output: string;
  readonly exitCode: number;
}

/** @throws CliError as the command does */
export async function runCli(argv: readonly string[], overrides: Partial<CliContext> = {}): Promise<CliOutcome> {
  let output = "";
  let exitCode = 0;
  const context: CliContext = {
    write: (text) => {
      output += text;
    },
    note: () => undefined,
    setExitCode: (code) => {
      exitCode = code;
    },
    env: {},
    colour: false,
    signal: new AbortController().signal,
    ...overrides,
  };
  const program = await createProgram(context, argv);
  await program.parseAsync([...argv], { from: "user" });
  return { output, exitCode };
}
