/**
 * Takes a lab down, whatever is left of it: it goes by the lab's name and not by what a record says, so that it works after
 * a crash at any point of `up`, twice, and when everything was killed.
 */
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { cgroupProcesses, runningProcess, stopDaemon } from "./processes.ts";
import { destroyCgroup, findCgroupRoot } from "./cgroups.ts";
import { isNetnsOf, labsFolder } from "./plan.ts";
import { mustRun, run } from "./run.ts";

/** What is still there of a lab, as text for people and tests. Empty: nothing. */
export async function remains(name: string): Promise<readonly string[]> {
  const cgroup = join(await findCgroupRoot(), `tandem-${name}`);
  const folder = join(labsFolder, name);
  return [
    ...(await netnsOf(name)).map((netns) => `namespace ${netns}`),
    ...(await mountsBelow(folder)).map((mount) => `mount ${mount}`),
    ...(await cgroupProcesses(cgroup)).map((pid) => `process ${pid}`),
    ...((await exists(cgroup)) ? [`cgroup ${cgroup}`] : []),
    ...((await exists(folder)) ? [`folder ${folder}`] : []),
  ];
}

/** Ends processes first, then what they held. Idempotent. */
export async function destroyLab(name: string): Promise<void> {
  const folder = join(labsFolder, name);
  await destroyCgroup(join(await findCgroupRoot(), `tandem-${name}`));
  // A daemon that was killed between its start and its joining the cgroup is known by its record only.
  for (const pidFile of await pidFiles(folder)) {
    if ((await runningProcess(pidFile)) !== null) await stopDaemon(pidFile, "SIGKILL");
  }
  for (const mount of await mountsBelow(folder)) await mustRun(["umount", "-l", mount]);
  // `ip netns del` removes the name; the namespace and its devices go when nothing uses it.
  for (const netns of await netnsOf(name)) await run(["ip", "netns", "del", netns]);
  await rm(folder, { recursive: true, force: true });
}

async function netnsOf(name: string): Promise<readonly string[]> {
  const all = await readdir("/run/netns").catch(() => []);
  return all.filter((netns) => isNetnsOf(name, netns));
}

async function mountsBelow(folder: string): Promise<readonly string[]> {
  const mounts = await readFile("/proc/mounts", "utf8");
  return mounts
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "")
    .filter((path) => path.startsWith(`${folder}/`))
    .reverse();
}

async function pidFiles(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  const nested = await Promise.all(
    entries.map((entry) => {
      const path = join(folder, entry.name);
      // bpffs holds pins only.
      if (entry.isDirectory()) return entry.name === "bpf" ? [] : pidFiles(path);
      return entry.name.endsWith(".pid") ? [path] : [];
    }),
  );
  return nested.flat();
}

async function exists(path: string): Promise<boolean> {
  return (await readdir(path).catch(() => null)) !== null;
}
