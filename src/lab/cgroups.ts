/** Cgroups (version 2) of a lab: one per node and pod, by which the socket programs know a node's processes and the lab ends them. */
import { mkdir, readdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { LabError } from "./errors.ts";
import { cgroupProcesses } from "./processes.ts";

/** Where the cgroup2 hierarchy is mounted. @throws LabError LAB_CGROUP */
export async function findCgroupRoot(): Promise<string> {
  const mounts = await readFile("/proc/mounts", "utf8");
  const line = mounts.split("\n").find((l) => l.split(" ")[2] === "cgroup2");
  const path = line?.split(" ")[1];
  if (path === undefined) {
    throw new LabError("LAB_CGROUP", "/proc/mounts", "no cgroup2 is mounted", "mount -t cgroup2 none /sys/fs/cgroup");
  }
  return path;
}

export async function makeCgroup(path: string): Promise<void> {
  await mkdir(path, { recursive: true });
}

/** Kills every process in it and below (at once, where the kernel has cgroup.kill: 5.14), then removes it. Idempotent. */
export async function destroyCgroup(path: string): Promise<void> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const left = await cgroupProcesses(path);
    if (left.length === 0) break;
    await writeFile(join(path, "cgroup.kill"), "1").catch(() => left.forEach(killQuietly));
    if (Date.now() > deadline) {
      throw new LabError(
        "LAB_PROCESS",
        path,
        `processes ${left.join(", ")} do not end`,
        "look at their state in /proc/PID/stack",
      );
    }
    await sleep(10);
  }
  await removeTree(path);
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended between being listed and now.
  }
}

async function removeTree(path: string): Promise<void> {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => null);
  if (entries === null) return;
  for (const entry of entries) if (entry.isDirectory()) await removeTree(join(path, entry.name));
  // A cgroup whose last process is still being reaped is busy for a moment.
  for (let attempt = 0; ; attempt++) {
    try {
      await rmdir(path);
      return;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOENT") return;
      if (code !== "EBUSY" || attempt > 200) throw error;
      await sleep(10);
    }
  }
}
