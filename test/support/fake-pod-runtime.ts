/** A pod runtime without a kernel: tests see each call, decide which fail, and end processes when they like. */
import type { KubeletContainer, KubeletPod } from "../../src/lab/kubelet/pod.ts";
import { type PodRuntime, type Sandbox, unknownExit } from "../../src/lab/kubelet/runtime.ts";

interface Process {
  readonly exit: Promise<number>;
  readonly end: (code: number) => void;
}

export class FakePodRuntime implements PodRuntime {
  /** "add shop/web", "start shop/web/main", "stop shop/web/main 2000", "del shop/web". */
  readonly calls: string[] = [];
  readonly found: Sandbox[] = [];
  /** Errors of the next calls of `createSandbox`. */
  readonly addFailures: Error[] = [];
  readonly startFailures: Error[] = [];
  /** What `exec` gives. */
  execCode = 0;
  #addresses = 0;
  readonly #processes = new Map<string, Process>();

  async sandboxes(): Promise<readonly Sandbox[]> {
    return [...this.found];
  }

  async createSandbox(pod: KubeletPod): Promise<Sandbox> {
    this.calls.push(`add ${title(pod)}`);
    const failure = this.addFailures.shift();
    if (failure !== undefined) throw failure;
    const number = ++this.#addresses;
    return { pod, ips: [`10.64.1.${number}`, `fd00:10:40:1::${number}`] };
  }

  async destroySandbox(pod: KubeletPod): Promise<void> {
    this.calls.push(`del ${title(pod)}`);
    for (const container of pod.spec.containers) this.exit(pod, container.name, 137);
  }

  async isRunning(pod: KubeletPod, { name }: KubeletContainer): Promise<boolean> {
    return this.#processes.has(`${pod.metadata.uid}/${name}`);
  }

  async start(pod: KubeletPod, { name }: KubeletContainer): Promise<void> {
    this.calls.push(`start ${title(pod)}/${name}`);
    const failure = this.startFailures.shift();
    if (failure !== undefined) throw failure;
    this.run(pod, name);
  }

  async exited(pod: KubeletPod, { name }: KubeletContainer, signal: AbortSignal): Promise<number> {
    const process = this.#processes.get(`${pod.metadata.uid}/${name}`);
    if (process === undefined) return unknownExit;
    return new Promise((resolve, reject) => {
      if (signal.aborted) reject(signal.reason);
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      process.exit.then(resolve, reject);
    });
  }

  async stop(pod: KubeletPod, { name }: KubeletContainer, graceMs: number): Promise<void> {
    this.calls.push(`stop ${title(pod)}/${name} ${graceMs}`);
    this.exit(pod, name, 143);
  }

  async exec(): Promise<number> {
    return this.execCode;
  }

  /** As if an earlier kubelet had started it. */
  run(pod: KubeletPod, container: string): void {
    let end: (code: number) => void = () => {};
    const exit = new Promise<number>((resolve) => {
      end = resolve;
    });
    this.#processes.set(`${pod.metadata.uid}/${container}`, { exit, end });
  }

  /** The process ends by itself. */
  exit({ metadata: { uid } }: { readonly metadata: { readonly uid: string } }, container: string, code: number): void {
    const key = `${uid}/${container}`;
    this.#processes.get(key)?.end(code);
    // Who waits for it now still hears of it.
    this.#processes.delete(key);
  }
}

function title({ metadata: { namespace, name } }: KubeletPod): string {
  return `${namespace}/${name}`;
}
