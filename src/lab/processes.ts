/**
 * The daemons of a lab: started so that they outlive the command that started them, recorded so that a later command finds
 * them. A record is a process id with its start time: ids are used again, the pair is not.
 */
import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { readFile, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { LabError } from "./errors.ts";
import { writeAtomically } from "./files.ts";
import { exitCodeOf, inside } from "./run.ts";

export interface ProcessRecord {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks after boot. */
  readonly startTime: string;
}

export interface DaemonOptions {
  /** null: that of this process. */
  readonly netns: string | null;
  readonly cgroup: string;
  readonly command: readonly string[];
  readonly log: string;
  readonly pidFile: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Wait until the daemon writes to the file descriptor that TANDEM_READY_FD names, which it does when it serves. */
  readonly awaitReady?: boolean;
  /** Told the exit code, as a shell says it, if this process lives that long. */
  readonly onExit?: (code: number) => void;
}

export async function startTimeOf(pid: number): Promise<string | null> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    // The program's name, in parentheses, may hold spaces; what follows it does not.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}

/** The process group of a process (field 5 of /proc/PID/stat); null when there is none. */
export async function groupOf(pid: number): Promise<number | null> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => null);
  return stat === null ? null : Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[2]);
}

export async function readRecord(pidFile: string): Promise<ProcessRecord | null> {
  try {
    return JSON.parse(await readFile(pidFile, "utf8")) as ProcessRecord;
  } catch {
    return null;
  }
}

/** The recorded process if it still runs. */
export async function runningProcess(pidFile: string): Promise<ProcessRecord | null> {
  const record = await readRecord(pidFile);
  return record !== null && (await startTimeOf(record.pid)) === record.startTime ? record : null;
}

/** @throws LabError LAB_DAEMON when it ends before it is ready (with awaitReady) */
export async function startDaemon(options: DaemonOptions): Promise<ProcessRecord> {
  const [file = "", ...args] = inside(options, options.command);
  const log = openSync(options.log, "a");
  const child = spawn(file, args, {
    detached: true,
    cwd: "/",
    env: { ...process.env, ...options.env, ...(options.awaitReady ? { TANDEM_READY_FD: "3" } : {}) },
    stdio: options.awaitReady ? ["ignore", log, log, "pipe"] : ["ignore", log, log],
  });
  closeSync(log);
  child.once("exit", (code, signal) => options.onExit?.(exitCodeOf(code, signal)));
  const pid = await new Promise<number>((resolve, reject) => {
    child.once("spawn", () => resolve(child.pid as number));
    child.once("error", reject);
  });
  const startTime = await startTimeOf(pid);
  if (startTime === null) throw await failed(options);
  await writeAtomically(options.pidFile, JSON.stringify({ pid, startTime }));
  if (options.awaitReady) {
    const pipe = child.stdio[3] as NodeJS.ReadableStream & { destroy(): void };
    const ready = await new Promise<boolean>((resolve) => {
      pipe.once("data", () => resolve(true));
      pipe.once("close", () => resolve(false));
      pipe.once("error", () => resolve(false));
    });
    pipe.destroy();
    if (!ready) throw await failed(options);
  }
  child.unref();
  return { pid, startTime };
}

async function failed(options: DaemonOptions): Promise<LabError> {
  const log = await readFile(options.log, "utf8").catch(() => "");
  const last = log.trimEnd().split("\n").slice(-5).join("\n");
  return new LabError("LAB_DAEMON", options.command.join(" "), `ended at once: ${last}`, `read ${options.log}`);
}

/** Signals the recorded process and waits until it is gone; SIGKILL after `graceMs`. True if there was one. */
export async function stopDaemon(
  pidFile: string,
  signal: NodeJS.Signals = "SIGTERM",
  graceMs = 5000,
): Promise<boolean> {
  const record = await runningProcess(pidFile);
  if (record !== null) {
    process.kill(record.pid, signal);
    const deadline = Date.now() + graceMs;
    let killed = signal === "SIGKILL";
    while ((await startTimeOf(record.pid)) === record.startTime) {
      if (!killed && Date.now() > deadline) {
        process.kill(record.pid, "SIGKILL");
        killed = true;
      }
      await sleep(10);
    }
  }
  await rm(pidFile, { force: true });
  return record !== null;
}

/** All process ids in a cgroup and below it; none when it does not exist. */
export async function cgroupProcesses(cgroup: string): Promise<readonly number[]> {
  const own = await readFile(join(cgroup, "cgroup.procs"), "utf8").catch(() => "");
  const entries = await readdir(cgroup, { withFileTypes: true }).catch(() => []);
  const below = await Promise.all(
    entries.filter((e) => e.isDirectory()).map((e) => cgroupProcesses(join(cgroup, e.name))),
  );
  return [
    ...own
      .split("\n")
      .filter((line) => line !== "")
      .map(Number),
    ...below.flat(),
  ];
}
