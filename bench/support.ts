/** What the benchmarks share: running commands in namespaces, medians, and a table that shows each figure beside its baseline. */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

export const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const execute = promisify(execFile);

/** Runs a command to its end and returns stdout; a failure carries stderr. */
export async function sh(command: readonly string[], timeoutMs = 60_000): Promise<string> {
  const [file, ...args] = command;
  if (file === undefined) throw new Error("empty command");
  const { stdout } = await execute(file, args, { timeout: timeoutMs, maxBuffer: 64 << 20 });
  return stdout;
}

export const inNetns = (name: string, command: readonly string[]): readonly string[] => [
  "nsenter",
  `--net=/run/netns/${name}`,
  ...command,
];

/** Starts a command that runs until stop(). */
export function background(command: readonly string[]): { readonly process: ChildProcess; stop(): void } {
  const [file, ...args] = command;
  if (file === undefined) throw new Error("empty command");
  const process = spawn(file, args, { stdio: ["ignore", "ignore", "inherit"] });
  return { process, stop: () => void process.kill("SIGKILL") };
}

export const tandem = (...args: readonly string[]): readonly string[] => [
  globalThis.process.execPath,
  join(root, "bin/tandem.js"),
  ...args,
];

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export interface Row {
  readonly what: string;
  readonly figure: string;
  readonly baseline: string;
  /** Figure against baseline, more is better; null where there is no baseline to divide by. */
  readonly ratio: number | null;
  readonly aim: string;
}

export function printTable(title: string, rows: readonly Row[]): void {
  console.log(`\n${title}`);
  const cells = [
    ["", "tandem", "baseline", "ratio", "aim"],
    ...rows.map((r) => [r.what, r.figure, r.baseline, r.ratio === null ? "-" : r.ratio.toFixed(2), r.aim]),
  ];
  const widths = [0, 1, 2, 3, 4].map((c) => Math.max(...cells.map((line) => line[c]?.length ?? 0)));
  for (const line of cells)
    console.log(
      line
        .map((cell, c) => cell.padEnd(widths[c] ?? 0))
        .join("  ")
        .trimEnd(),
    );
}

/** Builds bench/tools/netload.c; returns the binary's path. */
export async function buildNetload(): Promise<string> {
  const folder = join(root, "build/bench");
  mkdirSync(folder, { recursive: true });
  const binary = join(folder, "netload");
  await sh(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", binary, join(root, "bench/tools/netload.c")]);
  return binary;
}
