/** Running commands, inside a node's or a pod's namespaces too. Commands are argument lists, never shell text with values in it. */
import { type SpawnOptions, spawn } from "node:child_process";
import { LabError } from "./errors.ts";
import { netnsPath } from "./plan.ts";
import { findSandboxBinary } from "./runtime.ts";

export interface RunResult {
  /** Exit code; 128 + signal number when killed, as a shell says it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** Killed after this long; default 60 s. */
  readonly timeoutMs?: number;
}

const signalNumbers: Readonly<Record<string, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGABRT: 6,
  SIGKILL: 9,
  SIGPIPE: 13,
  SIGTERM: 15,
};

export function exitCodeOf(code: number | null, signal: NodeJS.Signals | null): number {
  return code ?? 128 + (signalNumbers[signal ?? ""] ?? 0);
}

/** Runs to the end and collects what it said. Rejects only when it cannot be started. */
export function run(command: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const [file = "", ...args] = command;
  const timeout = AbortSignal.timeout(options.timeoutMs ?? 60_000);
  const spawnOptions: SpawnOptions = {
    stdio: "pipe",
    env: { ...process.env, ...options.env },
    signal: options.signal === undefined ? timeout : AbortSignal.any([timeout, options.signal]),
    killSignal: "SIGKILL",
  };
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, spawnOptions);
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout?.on("data", (chunk: Buffer) => stdout.push(chunk));
    child.stderr?.on("data", (chunk: Buffer) => stderr.push(chunk));
    // A command that ends without reading its input is its own affair; its exit code tells.
    child.stdin?.on("error", () => {});
    child.stdin?.end(options.input ?? "");
    let aborted: Error | null = null;
    child.on("error", (error: NodeJS.ErrnoException) => {
      if (error.name === "AbortError") aborted = error;
      else
        reject(
          new LabError(
            "LAB_COMMAND",
            file,
            `cannot be started: ${error.message}`,
            "is the package that holds it installed?",
          ),
        );
    });
    child.on("close", (code, signal) => {
      const late = aborted === null ? "" : `\n${command.join(" ")}: took too long`;
      resolve({
        code: exitCodeOf(code, signal),
        stdout: Buffer.concat(stdout).toString(),
        stderr: Buffer.concat(stderr).toString() + late,
      });
    });
  });
}

/** Runs and gives stdout. @throws LabError LAB_COMMAND with what the command said when its exit code is not 0 */
export async function mustRun(command: readonly string[], options: RunOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await run(command, options);
  if (code !== 0) {
    throw new LabError("LAB_COMMAND", command.join(" "), `exit code ${code}: ${(stderr || stdout).trim()}`, "");
  }
  return stdout;
}

/** The command inside a network namespace (null: that of this process) and a cgroup. The process id stays that of the first program: each step is an exec. */
export function inside(
  place: { readonly netns: string | null; readonly cgroup: string },
  command: readonly string[],
): readonly string[] {
  const sandbox = findSandboxBinary();
  if (sandbox !== null) {
    const netns = place.netns === null ? "-" : netnsPath(place.netns);
    return [sandbox, "enter", netns, place.cgroup, ...command];
  }
  // nsenter and not "ip netns exec": the latter mounts a new /sys, which hides bpffs and cgroups.
  const enter = place.netns === null ? [] : ["nsenter", `--net=${netnsPath(place.netns)}`];
  return [...enter, "sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', place.cgroup, ...command];
}

/** Runs with this process's own stdin, stdout and stderr. Gives the exit code. */
export function runAttached(command: readonly string[]): Promise<number> {
  const [file = "", ...args] = command;
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: "inherit" });
    // The terminal sends these to the child too; it decides, and its exit code is passed on.
    const ignore = () => {};
    process.on("SIGINT", ignore);
    const forward = (signal: NodeJS.Signals) => child.kill(signal);
    process.on("SIGTERM", forward);
    child.on("error", reject);
    child.on("close", (code, signal) => {
      process.off("SIGINT", ignore);
      process.off("SIGTERM", forward);
      resolve(exitCodeOf(code, signal));
    });
  });
}

/** Runs `ip -batch` inside a namespace. A batch is one process for many changes. */
export async function ipBatch(netns: string | null, lines: readonly string[]): Promise<void> {
  const where = netns === null ? [] : ["-n", netns];
  await mustRun(["ip", ...where, "-batch", "-"], { input: `${lines.join("\n")}\n` });
}
