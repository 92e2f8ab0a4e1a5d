/**
 * The runtime of a lab's node: network namespaces, cgroups, processes and the CNI binary. A record per sandbox, written before ADD and
 * again with its addresses, tells the next kubelet what there is.
 */
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../lib/clock.ts";
import { writeAtomically } from "../files.ts";
import { ipNamespaces, type Namespaces } from "../namespaces.ts";
import type { LabPlan, NodePlan } from "../plan.ts";
import { createSandbox, destroySandbox, podPidFile, podPlace, podsFolder, startContainer } from "../pods.ts";
import { cgroupProcesses, groupOf, readRecord, runningProcess, stopDaemon } from "../processes.ts";
import { inside, run } from "../run.ts";
import type { KubeletContainer, KubeletPod } from "./pod.ts";
import { type PodRuntime, type Sandbox, unknownExit } from "./runtime.ts";

/** ms between looks at a process that is not our child. */
const pollMs = 500;
const recordSuffix = ".sandbox.json";

export class LabRuntime implements PodRuntime {
  readonly #lab: LabPlan;
  readonly #node: NodePlan;
  readonly #clock: Clock;
  readonly #namespaces: Namespaces;
  /** Of processes that this kubelet started, by uid and container. */
  readonly #exits = new Map<string, Promise<number>>();

  constructor(lab: LabPlan, node: NodePlan, clock: Clock, namespaces: Namespaces = ipNamespaces) {
    this.#lab = lab;
    this.#node = node;
    this.#clock = clock;
    this.#namespaces = namespaces;
  }

  async sandboxes(): Promise<readonly Sandbox[]> {
    const folder = podsFolder(this.#node);
    const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith(recordSuffix));
    return Promise.all(names.map(async (name) => JSON.parse(await readFile(join(folder, name), "utf8")) as Sandbox));
  }

  async createSandbox(pod: KubeletPod): Promise<Sandbox> {
    await mkdir(podsFolder(this.#node), { recursive: true });
    await this.#record({ pod, ips: [] });
    const sandbox = { pod, ips: await createSandbox(this.#lab, pod, this.#namespaces) };
    await this.#record(sandbox);
    return sandbox;
  }

  async destroySandbox(pod: KubeletPod): Promise<void> {
    await destroySandbox(this.#lab, pod, this.#namespaces);
    for (const { name } of pod.spec.containers) {
      this.#exits.delete(exitKey(pod, name));
      await rm(podPidFile(this.#lab, pod, name), { force: true });
    }
    await rm(this.#recordFile(pod), { force: true });
  }

  async isRunning(pod: KubeletPod, { name }: KubeletContainer): Promise<boolean> {
    return (await runningProcess(podPidFile(this.#lab, pod, name))) !== null;
  }

  async start(pod: KubeletPod, container: KubeletContainer): Promise<void> {
    let exited: (code: number) => void = () => {};
    const exit = new Promise<number>((resolve) => {
      exited = resolve;
    });
    await startContainer(this.#lab, pod, container, exited);
    this.#exits.set(exitKey(pod, container.name), exit);
  }

  async exited(pod: KubeletPod, { name }: KubeletContainer, signal: AbortSignal): Promise<number> {
    const exit = this.#exits.get(exitKey(pod, name));
    if (exit !== undefined) return orAborted(exit, signal);
    while ((await runningProcess(podPidFile(this.#lab, pod, name))) !== null) await this.#clock.sleep(pollMs, signal);
    return unknownExit;
  }

  async stop(pod: KubeletPod, { name }: KubeletContainer, graceMs: number): Promise<void> {
    const pidFile = podPidFile(this.#lab, pod, name);
    const record = await readRecord(pidFile);
    await stopDaemon(pidFile, "SIGTERM", graceMs);
    if (record === null) return;
    // Its children lead no life of their own, as in a container.
    for (const pid of await cgroupProcesses(podPlace(this.#lab, pod).cgroup)) {
      if ((await groupOf(pid)) === record.pid) killQuietly(pid);
    }
  }

  async exec(pod: KubeletPod, command: readonly string[], timeoutMs: number, signal: AbortSignal): Promise<number> {
    return (await run(inside(podPlace(this.#lab, pod), command), { timeoutMs, signal })).code;
  }

  #record(sandbox: Sandbox): Promise<void> {
    return writeAtomically(this.#recordFile(sandbox.pod), JSON.stringify(sandbox));
  }

  #recordFile({ metadata: { namespace, name } }: KubeletPod): string {
    return join(podsFolder(this.#node), `${namespace}_${name}${recordSuffix}`);
  }
}

function exitKey(pod: KubeletPod, container: string): string {
  return `${pod.metadata.uid}/${container}`;
}

function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) return Promise.reject(signal.reason);
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended between being listed and now.
  }
}
