/** The API server of a lab and what belongs to it on this machine: started, made reachable from the nodes, waited for. */
import { mkdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { connectKube, type KubeClient, kinds, parseKubeconfig } from "../../kube/index.ts";
import { makeCgroup } from "../cgroups.ts";
import { LabError } from "../errors.ts";
import { writeAtomically } from "../files.ts";
import { labLabel } from "../kubelet/node-status.ts";
import type { LabPlan, NodePlan } from "../plan.ts";
import { runningProcess, startDaemon, stopDaemon } from "../processes.ts";
import { program } from "../runtime.ts";
import { systemCgroup } from "../topology.ts";
import { kubeconfigFor } from "./kubeconfig.ts";
import type { ApiServerSource } from "./source.ts";

/** ms; etcd and an API server on a machine that does ten other things. */
const startLimitMs = 180_000;
/** ms for an orderly end of all that the script runs. */
const scriptStopMs = 60_000;

const serviceAccounts = {
  group: "",
  version: "v1",
  plural: "serviceaccounts",
  kind: "ServiceAccount",
  namespaced: true,
} as const;

/** Resolves when pods can be made. @throws LabError LAB_API */
export async function startApiServer(lab: LabPlan, source: ApiServerSource): Promise<void> {
  const { api } = lab;
  await mkdir(api.folder, { recursive: true });
  await makeCgroup(api.cgroup);
  const original = source.kind === "script" ? await runScript(lab, source.path) : source.kubeconfig;
  const server = source.kind === "script" ? null : source.server;
  const text = await readFile(original, "utf8");
  const own = kubeconfigFor(text, original, server);
  await writeAtomically(api.kubeconfig, own);
  await writeAtomically(
    api.nodeKubeconfig,
    kubeconfigFor(own, api.kubeconfig, `${protocolOf(own, api.kubeconfig)}//${api.ipv4}:${api.port}`),
  );
  await startLabDaemon(lab, "control", null, api.cgroup);
  await startLabDaemon(lab, "gate", api.netns, api.cgroup);
  await waitForAccounts(lab);
}

export async function startKubelet(lab: LabPlan, node: NodePlan): Promise<void> {
  await mkdir(node.folder, { recursive: true });
  await startDaemon({
    netns: node.netns,
    cgroup: systemCgroup(node),
    command: [...program("kube"), "kubelet", lab.name, node.name],
    log: join(node.folder, "kubelet.log"),
    pidFile: kubeletPidFile(node),
  });
}

export function kubeletPidFile(node: NodePlan): string {
  return join(node.folder, "kubelet.pid");
}

/** Ends the API server that the lab started, with etcd and controllers; what it holds stays. */
export async function stopScript(lab: LabPlan): Promise<void> {
  await stopDaemon(scriptPidFile(lab), "SIGTERM", scriptStopMs);
}

/** For commands on this machine. To be closed. */
export function connectLab(lab: LabPlan): KubeClient {
  const { kubeconfig } = lab.api;
  return connectKube({ kubeconfig, env: process.env, clock: systemClock, userAgent: "tandem-lab" });
}

/** Takes the lab's nodes out of an API server that outlives the lab. */
export async function leaveApiServer(lab: LabPlan): Promise<void> {
  const client = connectLab(lab);
  try {
    const nodes = await client.listAll(kinds.nodes, { labelSelector: `${labLabel}=${lab.name}` });
    for (const { metadata } of nodes) {
      for (const pod of await client.listAll(kinds.pods, { fieldSelector: `spec.nodeName=${metadata.name}` }))
        await client.delete(kinds.pods, pod.metadata, { gracePeriodSeconds: 0 });
      await client.delete(kinds.leases, { namespace: "kube-node-lease", name: metadata.name });
      await client.delete(kinds.nodes, { name: metadata.name });
    }
  } finally {
    await client.close();
  }
}

/** Starts it, anew or on what it had. @returns the kubeconfig that it wrote */
export async function runScript(lab: LabPlan, script: string): Promise<string> {
  const { api } = lab;
  const data = join(api.folder, "data");
  const log = join(api.folder, "apiserver.log");
  const pidFile = scriptPidFile(lab);
  await rm(join(data, "ready"), { force: true });
  await startDaemon({
    netns: null,
    cgroup: api.cgroup,
    command: [script, data, String(api.port)],
    env: {
      ADVERTISE: api.ipv4,
      SERVICE_CIDR: `${lab.servicePrefix4},${lab.servicePrefix6}`,
      CLUSTER_CIDR: `${lab.podPrefix4},${lab.podPrefix6}`,
      FEATURE_GATES: "IPv6DualStack=true,EndpointSliceTerminatingCondition=true,EndpointSliceNodeName=true",
      // The lab has kubelets: nodes are watched, and pods of nodes that are gone are deleted, as anywhere.
      KCM_CONTROLLERS: "*",
    },
    log,
    pidFile,
  });
  const deadline = Date.now() + startLimitMs;
  while (!(await exists(join(data, "ready")))) {
    const ended = (await runningProcess(pidFile)) === null;
    if (ended || Date.now() > deadline) {
      const last = (await readFile(log, "utf8")).trimEnd().split("\n").slice(-8).join("\n");
      const what = ended ? "ended" : "is not ready in time";
      throw new LabError("LAB_API", script, `the API server ${what}:\n${last}`, `read ${log} and ${data}/*.log`);
    }
    await sleep(100);
  }
  return join(data, "kubeconfig");
}

async function startLabDaemon(
  lab: LabPlan,
  role: "control" | "gate",
  netns: string | null,
  cgroup: string,
): Promise<void> {
  await startDaemon({
    netns,
    cgroup,
    command: [...program("kube"), role, lab.name],
    log: join(lab.api.folder, `${role}.log`),
    pidFile: join(lab.api.folder, `${role}.pid`),
    awaitReady: true,
  });
}

/** Controllers need a moment more than the API server, and pods are refused without the account that they make. */
async function waitForAccounts(lab: LabPlan): Promise<void> {
  const client = connectLab(lab);
  const deadline = Date.now() + startLimitMs;
  try {
    for (;;) {
      try {
        await client.get(serviceAccounts, { namespace: "default", name: "default" });
        return;
      } catch (error) {
        if (Date.now() > deadline)
          throw new LabError(
            "LAB_API",
            "ServiceAccount default/default",
            messageOf(error),
            "is there a controller manager?",
          );
        await sleep(200);
      }
    }
  } finally {
    await client.close();
  }
}

function protocolOf(kubeconfig: string, path: string): string {
  return new URL(parseKubeconfig(kubeconfig, path).server).protocol;
}

function scriptPidFile(lab: LabPlan): string {
  return join(lab.api.folder, "apiserver.pid");
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null)) !== null;
}
