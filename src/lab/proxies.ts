/** The proxies of a lab's nodes: started as their DaemonSet would, one per node, in the node's network namespace. */
import { mkdir, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { agentGet } from "./agents.ts";
import { LabError } from "./errors.ts";
import { writeAtomically } from "./files.ts";
import type { NodePlan } from "./plan.ts";
import { runningProcess, startDaemon, stopDaemon } from "./processes.ts";
import { daemon } from "./runtime.ts";
import { systemCgroup } from "./topology.ts";

const pidFile = (node: NodePlan) => join(node.folder, "proxy.pid");
/** Of one that has a successor. */
const formerPidFile = (node: NodePlan) => join(node.folder, "proxy-former.pid");
export const proxyLog = (node: NodePlan) => join(node.folder, "proxy.log");
export const accessLog = (node: NodePlan) => join(node.folder, "access.log");

/** Seconds that connections of a proxy that ends may take. */
export const drainSeconds = 10;

export async function startProxy(node: NodePlan): Promise<void> {
  const config = {
    agentSocket: node.socket,
    bpffs: node.bpffs,
    stateDir: join(node.folder, "proxy"),
    accessLog: accessLog(node),
    // Nodes of a lab share the machine's cores.
    threads: 1,
    drainSeconds,
  };
  const configFile = join(node.folder, "proxy.json");
  await mkdir(node.folder, { recursive: true });
  await writeAtomically(configFile, JSON.stringify(config, null, 2));
  await startDaemon({
    netns: node.netns,
    cgroup: systemCgroup(node),
    command: [...daemon("proxy"), "--config", configFile],
    log: proxyLog(node),
    pidFile: pidFile(node),
  });
}

/** True if one ran. With SIGTERM it drains first. */
export function stopProxy(node: NodePlan, signal: NodeJS.Signals): Promise<boolean> {
  return stopDaemon(pidFile(node), signal, (drainSeconds + 5) * 1_000);
}

/** Starts a successor, waits until it has the flows, and ends the one before. */
export async function replaceProxy(node: NodePlan): Promise<void> {
  await rename(pidFile(node), formerPidFile(node));
  await startProxy(node);
  await waitForProxy(node);
  await stopDaemon(formerPidFile(node), "SIGTERM", (drainSeconds + 5) * 1_000);
}

export async function proxyProcess(node: NodePlan): Promise<number | null> {
  return (await runningProcess(pidFile(node)))?.pid ?? null;
}

/** Whether the node's present proxy has the flows, as its agent knows it. */
export async function proxyActive(node: NodePlan): Promise<boolean> {
  const pid = await proxyProcess(node);
  if (pid === null) return false;
  try {
    const { instances } = (await agentGet(node, "/v1/proxy")) as {
      readonly instances: readonly { readonly pid: number; readonly state: string }[];
    };
    return instances.some((each) => each.pid === pid && each.state === "active");
  } catch {
    return false;
  }
}

/** @throws LabError LAB_PROXY with the end of its log when it stops, or is not there in time */
export async function waitForProxy(node: NodePlan, timeoutMs = 120_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await proxyActive(node))) {
    const ended = (await proxyProcess(node)) === null;
    if (ended || Date.now() > deadline) {
      const log = await readFile(proxyLog(node), "utf8").catch(() => "");
      const last = log.trimEnd().split("\n").slice(-8).join("\n");
      throw new LabError(
        "LAB_PROXY",
        node.name,
        `${ended ? "the proxy ended" : "the proxy has no flows"}:\n${last}`,
        `read ${proxyLog(node)}`,
      );
    }
    await sleep(50);
  }
}
