/** What kubelet and a container runtime do for a pod: its network namespace, the call of the CNI plugin, its processes. */
import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { destroyCgroup, makeCgroup } from "./cgroups.ts";
import { LabError } from "./errors.ts";
import { ipNamespaces, type Namespaces } from "./namespaces.ts";
import type { Container, Pod } from "./objects.ts";
import { type LabPlan, type NodePlan, netnsPath, podCgroup, podNetns } from "./plan.ts";
import { startDaemon } from "./processes.ts";
import { inside, run } from "./run.ts";
import { cniBinary, program } from "./runtime.ts";
import { systemCgroup } from "./topology.ts";

/** Addresses that the pod's manifest asks for, separated by commas: those of its `status.podIPs`. */
export const addressesAnnotation = "tandem-lab/addresses";

export interface PodPlace {
  readonly netns: string;
  readonly cgroup: string;
}

const cniResult = z.looseObject({ ips: z.array(z.looseObject({ address: z.string() })) });

/** @throws LabError LAB_NODE when its manifest names a node that the lab does not have */
export function nodeOf(lab: LabPlan, pod: Pod): NodePlan {
  const node = lab.nodes.find(({ name }) => name === pod.spec.nodeName);
  if (node !== undefined) return node;
  const names = lab.nodes.map(({ name }) => name).join(", ");
  throw new LabError(
    "LAB_NODE",
    `Pod ${podKey(pod)}`,
    `spec.nodeName: no node ${pod.spec.nodeName}`,
    `the lab has ${names}`,
  );
}

export function podKey(pod: Pod): string {
  return `${pod.metadata.namespace}/${pod.metadata.name}`;
}

export function podPlace(lab: LabPlan, pod: Pod): PodPlace {
  const node = nodeOf(lab, pod);
  const { namespace = "default", name } = pod.metadata;
  return {
    netns: pod.spec.hostNetwork === true ? node.netns : podNetns(lab.name, namespace, name),
    cgroup: podCgroup(node, namespace, name),
  };
}

/** Makes namespace and cgroup and has the CNI plugin wire them. Gives the addresses, without length. */
export async function createSandbox(
  lab: LabPlan,
  pod: Pod,
  namespaces: Namespaces = ipNamespaces,
): Promise<readonly string[]> {
  await makeSandbox(lab, pod, namespaces);
  return wireSandbox(lab, pod);
}

/** Makes namespace and cgroup. */
export async function makeSandbox(lab: LabPlan, pod: Pod, namespaces: Namespaces = ipNamespaces): Promise<void> {
  const { netns, cgroup } = podPlace(lab, pod);
  await makeCgroup(cgroup);
  if (pod.spec.hostNetwork === true) return;
  await namespaces.add(netns);
}

/** Has the CNI plugin wire what was made. Gives the addresses, without length. */
export async function wireSandbox(lab: LabPlan, pod: Pod): Promise<readonly string[]> {
  const node = nodeOf(lab, pod);
  if (pod.spec.hostNetwork === true) return [node.ipv4, node.ipv6];
  const parsed = cniResult.safeParse(await callCni(lab, pod, "ADD"));
  if (!parsed.success) throw new LabError("LAB_CNI", `Pod ${podKey(pod)}`, "ADD gave no addresses", "");
  return parsed.data.ips.map(({ address }) => address.replace(/\/.*/, ""));
}

/** Ends the pod's processes, has the plugin undo its work, removes namespace and cgroup. Idempotent. */
export async function destroySandbox(lab: LabPlan, pod: Pod, namespaces: Namespaces = ipNamespaces): Promise<void> {
  const { netns, cgroup } = podPlace(lab, pod);
  await destroyCgroup(cgroup);
  if (pod.spec.hostNetwork === true) return;
  await callCni(lab, pod, "DEL");
  await namespaces.delete(netns);
}

/** Starts each container's command, and one server for the ports of those without. Returns when that server listens. */
export async function startProcesses(lab: LabPlan, pod: Pod): Promise<void> {
  for (const container of pod.spec.containers)
    if (container.command !== undefined) await startCommand(lab, pod, container);
  const served = pod.spec.containers.filter(({ command }) => command === undefined);
  if (served.length > 0) await startServer(lab, pod, "server", served);
}

/** Starts one container: its command, or a server for its ports. @param onExit told the exit code */
export async function startContainer(
  lab: LabPlan,
  pod: Pod,
  container: Container,
  onExit: (code: number) => void,
): Promise<void> {
  if (container.command === undefined) await startServer(lab, pod, container.name, [container], onExit);
  else await startCommand(lab, pod, container, onExit);
}

async function startCommand(
  lab: LabPlan,
  pod: Pod,
  { name, command = [], args = [], env = [] }: Container,
  onExit?: (code: number) => void,
): Promise<void> {
  await mkdir(podsFolder(nodeOf(lab, pod)), { recursive: true });
  await startDaemon({
    ...podPlace(lab, pod),
    command: [...command, ...args],
    env: Object.fromEntries(env.map((variable) => [variable.name, variable.value ?? ""])),
    log: podLog(lab, pod),
    pidFile: podPidFile(lab, pod, name),
    ...(onExit && { onExit }),
  });
}

async function startServer(
  lab: LabPlan,
  pod: Pod,
  name: string,
  containers: readonly Container[],
  onExit?: (code: number) => void,
): Promise<void> {
  const ports = containers.flatMap((container) => container.ports ?? []).filter(({ protocol }) => protocol !== "SCTP");
  await mkdir(podsFolder(nodeOf(lab, pod)), { recursive: true });
  await startDaemon({
    ...podPlace(lab, pod),
    command: [
      ...program("podServer"),
      podKey(pod),
      ...ports.map((p) => `${p.protocol.toLowerCase()}:${p.containerPort}`),
    ],
    log: podLog(lab, pod),
    pidFile: podPidFile(lab, pod, name),
    awaitReady: true,
    ...(onExit && { onExit }),
  });
}

/** Records and logs of a node's pods. */
export function podsFolder(node: NodePlan): string {
  return join(node.folder, "pods");
}

export function podPidFile(lab: LabPlan, pod: Pod, process: string): string {
  return join(podsFolder(nodeOf(lab, pod)), `${pod.metadata.namespace}_${pod.metadata.name}.${process}.pid`);
}

export function podLog(lab: LabPlan, pod: Pod): string {
  return join(podsFolder(nodeOf(lab, pod)), `${pod.metadata.namespace}_${pod.metadata.name}.log`);
}

/** A new pod of an old name has another one: the uid is part of it. */
function containerId(lab: LabPlan, pod: Pod): string {
  return createHash("sha256")
    .update(`${lab.name}/${podKey(pod)}/${pod.metadata.uid}`)
    .digest("hex");
}

async function callCni(lab: LabPlan, pod: Pod, command: "ADD" | "DEL"): Promise<unknown> {
  const node = nodeOf(lab, pod);
  const { namespace, name, uid, annotations } = pod.metadata;
  const requested = command === "ADD" ? annotations?.[addressesAnnotation] : undefined;
  const binary = cniBinary();
  const id = containerId(lab, pod);
  const config = {
    cniVersion: "1.1.0",
    name: "tandem",
    type: "tandem-cni",
    socket: node.socket,
    stateDir: node.stateDir,
  };
  const { code, stdout, stderr } = await run(inside({ netns: node.netns, cgroup: systemCgroup(node) }, [binary]), {
    input: JSON.stringify(config),
    env: {
      CNI_COMMAND: command,
      CNI_CONTAINERID: id,
      CNI_NETNS: netnsPath(podPlace(lab, pod).netns),
      CNI_IFNAME: "eth0",
      CNI_PATH: dirname(binary),
      CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=${name};K8S_POD_INFRA_CONTAINER_ID=${id};K8S_POD_UID=${uid}${requested === undefined ? "" : `;IP=${requested}`}`,
    },
  });
  if (code !== 0) {
    throw new LabError(
      "LAB_CNI",
      `Pod ${podKey(pod)}`,
      `${command} on ${node.name}: ${(stdout || stderr).trim()}`,
      `read ${node.folder}/agent.log`,
    );
  }
  return stdout.trim() === "" ? null : JSON.parse(stdout);
}
