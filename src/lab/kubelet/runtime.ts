/**
 * What a kubelet needs of a container runtime and its CNI plugin. `lab-runtime.ts` is the real one; tests bring their own.
 * Everything may be repeated: a kubelet that was restarted does not know how far it had come.
 */
import type { KubeletContainer, KubeletPod } from "./pod.ts";

/** A pod's place in the kernel: namespace, device, addresses. */
export interface Sandbox {
  readonly pod: KubeletPod;
  /** Without length; the first one is the pod's. */
  readonly ips: readonly string[];
}

export interface PodRuntime {
  /** What is there from before this kubelet started. */
  sandboxes(): Promise<readonly Sandbox[]>;
  /** Namespace, cgroup and CNI ADD. @throws when the plugin fails; what it left is cleared by `destroySandbox` */
  createSandbox(pod: KubeletPod): Promise<Sandbox>;
  /** Ends all processes; CNI DEL; removes namespace and cgroup. */
  destroySandbox(pod: KubeletPod): Promise<void>;
  /** Whether the container's process of an earlier start still runs. */
  isRunning(pod: KubeletPod, container: KubeletContainer): Promise<boolean>;
  /** Resolves when it runs; a server that the lab provides listens then. */
  start(pod: KubeletPod, container: KubeletContainer): Promise<void>;
  /** The exit code, once the process is gone; `unknownExit` when nobody saw it end. Rejects with the signal. */
  exited(pod: KubeletPod, container: KubeletContainer, signal: AbortSignal): Promise<number>;
  /** SIGTERM, SIGKILL after `graceMs`. Resolves when the process is gone. */
  stop(pod: KubeletPod, container: KubeletContainer, graceMs: number): Promise<void>;
  /** Runs a command in the pod. @returns its exit code */
  exec(pod: KubeletPod, command: readonly string[], timeoutMs: number, signal: AbortSignal): Promise<number>;
}

/** A failure: what ended while no kubelet ran may have done so for any reason. */
export const unknownExit = 255;
