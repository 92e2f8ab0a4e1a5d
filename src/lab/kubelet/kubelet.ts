/**
 * A kubelet as small as a lab needs it: runs the pods that are bound to its node and tells the API server what became of them. It can be
 * stopped and started at any time; pods run on, and what it finds is taken over or cleared.
 */
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { type Batch, type KubeClient, type KubeObject, kinds, Reflector } from "../../kube/index.ts";
import type { Logger } from "../../model/logging.ts";
import { type KubeletPod, kubeletPodSchema, podTitle } from "./pod.ts";
import { ApiPublisher } from "./pod-publisher.ts";
import { PodWorker } from "./pod-worker.ts";
import type { PodRuntime, Sandbox } from "./runtime.ts";

export interface KubeletOptions {
  readonly nodeName: string;
  /** status.hostIP. */
  readonly hostIp: string;
  readonly client: Pick<KubeClient, "get" | "list" | "watch" | "history" | "patch" | "delete">;
  readonly runtime: PodRuntime;
  readonly clock: Clock;
  readonly log: Logger;
}

export class Kubelet {
  readonly #options: KubeletOptions;
  /** By namespace/name: the worker of the pod that has this name now, and those before it that are not gone yet. */
  readonly #workers = new Map<string, PodWorker>();
  readonly #runs = new Map<string, Promise<void>>();
  #found: Map<string, Sandbox> = new Map();
  #synced = false;

  constructor(options: KubeletOptions) {
    this.#options = options;
  }

  /** Until the signal; resolves when no call is under way any more. */
  async run(signal: AbortSignal): Promise<void> {
    const { nodeName, client, clock, log, runtime } = this.#options;
    this.#found = new Map((await runtime.sandboxes()).map((sandbox) => [sandbox.pod.metadata.uid, sandbox]));
    const reflector = new Reflector<KubeletPod>({
      client,
      clock,
      log,
      kind: kinds.pods,
      fieldSelector: `spec.nodeName=${nodeName}`,
      project: readPod,
      sink: (batch) => this.#take(batch, signal),
    });
    await reflector.run(signal);
    await Promise.all(this.#runs.values());
  }

  #take({ added, updated, deleted }: Batch<KubeletPod>, signal: AbortSignal): void {
    if (!this.#synced) this.#clearOrphans(new Set(added.map(([, { metadata }]) => metadata.uid)), signal);
    for (const key of deleted) this.#workers.get(key)?.forget();
    for (const [key, pod] of [...added, ...updated]) {
      const worker = this.#workers.get(key);
      if (worker?.uid === pod.metadata.uid) worker.update(pod);
      else {
        worker?.forget();
        this.#begin(key, pod, this.#found.get(pod.metadata.uid) ?? null, false, signal);
      }
    }
    this.#found.clear();
  }

  /** What nobody wants any more; a pod of the same name waits until it is gone. */
  #clearOrphans(wanted: ReadonlySet<string>, signal: AbortSignal): void {
    this.#synced = true;
    for (const sandbox of this.#found.values()) {
      const { pod } = sandbox;
      if (!wanted.has(pod.metadata.uid)) this.#begin(podTitle(pod), pod, sandbox, true, signal);
    }
  }

  /** @param orphan it is only to be cleared */
  #begin(key: string, pod: KubeletPod, sandbox: Sandbox | null, orphan: boolean, signal: AbortSignal): void {
    const { hostIp, client, runtime, clock, log } = this.#options;
    const publisher = new ApiPublisher({ client, clock, log, signal });
    // Without addresses: ADD had not come to its end.
    const usable = sandbox === null || sandbox.ips.length === 0 ? null : sandbox;
    const worker = new PodWorker({ pod, sandbox: usable, runtime, publisher, hostIp, clock, log });
    if (orphan) worker.forget();
    else this.#workers.set(key, worker);
    log.info({ pod: key, uid: pod.metadata.uid, adopted: sandbox !== null, orphan }, "a pod of this node");
    // Namespace and cgroup carry the pod's name: one after the other.
    const before = this.#runs.get(key) ?? Promise.resolve();
    const run = before
      .then(() => worker.run(signal))
      .catch((error: unknown) => log.error({ pod: key, error: messageOf(error) }, "a pod's worker failed"))
      .finally(() => {
        if (this.#workers.get(key) === worker) this.#workers.delete(key);
        if (this.#runs.get(key) === run) this.#runs.delete(key);
      });
    this.#runs.set(key, run);
  }
}

function readPod(object: KubeObject): KubeletPod {
  return kubeletPodSchema.parse(object);
}
