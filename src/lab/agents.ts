/** The agents of a lab's nodes: started as a DaemonSet would, one per node, in the node's network namespace. */
import { mkdir, readFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { LabError } from "./errors.ts";
import { writeAtomically } from "./files.ts";
import type { LabPlan, NodePlan } from "./plan.ts";
import { runningProcess, startDaemon, stopDaemon } from "./processes.ts";
import { agentEnvironment, daemon } from "./runtime.ts";
import { systemCgroup } from "./topology.ts";

const pidFile = (node: NodePlan) => join(node.folder, "agent.pid");
export const agentLog = (node: NodePlan) => join(node.folder, "agent.log");

/** @param overrides further keys of the agent's configuration */
export async function startAgent(
  lab: LabPlan,
  node: NodePlan,
  overrides: Readonly<Record<string, unknown>>,
): Promise<void> {
  const config = {
    nodeName: node.name,
    manifests: lab.manifests,
    bpffs: node.bpffs,
    cgroup: node.cgroup,
    stateDir: node.stateDir,
    socket: node.socket,
    ...overrides,
  };
  const configFile = join(node.folder, "agent.json");
  await mkdir(node.stateDir, { recursive: true });
  await writeAtomically(configFile, JSON.stringify(config, null, 2));
  await startDaemon({
    netns: node.netns,
    cgroup: systemCgroup(node),
    command: [...daemon("agent"), "--config", configFile],
    env: { ...agentEnvironment, NODE_OPTIONS: nodeOptions() },
    log: agentLog(node),
    pidFile: pidFile(node),
  });
}

/** Those of the manifests, and what this process has itself: by it benchmarks look into an agent. */
function nodeOptions(): string {
  return `${process.env.NODE_OPTIONS ?? ""} ${agentEnvironment.NODE_OPTIONS}`.trim();
}

/** True if one ran. The kernel goes on with what the agent had set up. */
export function stopAgent(node: NodePlan, signal: NodeJS.Signals): Promise<boolean> {
  return stopDaemon(pidFile(node), signal);
}

export async function agentProcess(node: NodePlan): Promise<number | null> {
  return (await runningProcess(pidFile(node)))?.pid ?? null;
}

/** GET on an agent's socket: the parsed answer. Rejects when nobody answers. */
export function agentGet(node: NodePlan, path: string): Promise<unknown> {
  return callAgent(node, "GET", path, null);
}

/** As `agentGet`. */
export function agentPost(node: NodePlan, path: string, body: unknown): Promise<unknown> {
  return callAgent(node, "POST", path, JSON.stringify(body));
}

function callAgent(node: NodePlan, method: string, path: string, body: string | null): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath: node.socket, path, method, timeout: 5000 }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        try {
          resolve(JSON.parse(Buffer.concat(chunks).toString()));
        } catch (error) {
          reject(error);
        }
      });
    });
    call.on("timeout", () => call.destroy(new Error(`${node.socket} does not answer`)));
    call.on("error", reject);
    call.end(body ?? undefined);
  });
}

export async function agentReady(node: NodePlan): Promise<boolean> {
  try {
    return ((await agentGet(node, "/v1/status")) as { readonly ready?: boolean }).ready === true;
  } catch {
    return false;
  }
}

/** @throws LabError LAB_AGENT with the end of its log when it stops, or is not ready in time */
export async function waitForAgent(node: NodePlan, timeoutMs = 120_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await agentReady(node))) {
    const ended = (await agentProcess(node)) === null;
    if (ended || Date.now() > deadline) {
      const log = await readFile(agentLog(node), "utf8").catch(() => "");
      const last = log.trimEnd().split("\n").slice(-8).join("\n");
      throw new LabError(
        "LAB_AGENT",
        node.name,
        `${ended ? "the agent ended" : "the agent is not ready"}:\n${last}`,
        `read ${agentLog(node)}`,
      );
    }
    await sleep(50);
  }
}
