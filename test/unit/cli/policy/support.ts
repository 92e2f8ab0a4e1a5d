/** Runs a command of `tandem policy` as a user does, in this process. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import { CommanderError } from "commander";
import { CliError } from "../../../../src/cli/errors.ts";
import { createProgram } from "../../../../src/cli/program.ts";

export interface Outcome {
  readonly output: string;
  readonly notes: string;
  readonly exitCode: number;
}

export async function tandem(...argv: readonly string[]): Promise<Outcome> {
  let output = "";
  let notes = "";
  let exitCode = 0;
  const program = await createProgram(
    {
      write: (text) => {
        output += text;
      },
      note: (text) => {
        notes += text;
      },
      setExitCode: (code) => {
        exitCode = code;
      },
      env: {},
      colour: false,
      signal: new AbortController().signal,
    },
    argv,
  );
  try {
    await program.parseAsync([...argv], { from: "user" });
  } catch (error) {
    // As main.ts does.
    if (error instanceof CommanderError) exitCode = error.exitCode;
    else if (error instanceof CliError) {
      exitCode = error.exitCode;
      notes += `${error.code}: ${error.message}\n${error.remedy}\n`;
    } else throw error;
  }
  return { output, notes, exitCode };
}

/** A folder with these files, gone after the test. */
export function folderOf(t: ExecutionContext, files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), "tandem-policy-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return folder;
}

export const repository = join(import.meta.dirname, "../../../..");
export const shop = join(repository, "examples/shop");
export const casesFolder = join(repository, "test/conformance/cases");
