/**
 * The life of one pod on its node, from being bound to it until it is gone:
 *
 *   CNI ADD (again and again until it works) -> containers -> all ended for good, or to be deleted -> SIGTERM, grace, SIGKILL -> CNI DEL
 *   -> deleted from the API server
 *
 * What is seen on the way is written to the pod's status by the pod's publisher, so a slow API server delays no process.
 */
import { Backoff } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import type { Logger } from "../../model/logging.ts";
import { Container, type ContainerView, waitingView } from "./container.ts";
import { type KubeletPod, podTitle } from "./pod.ts";
import type { PodPublisher } from "./pod-publisher.ts";
import { isOver, podPhase, type PodView } from "./pod-status.ts";
import type { PodRuntime, Sandbox } from "./runtime.ts";

const retry = { firstMs: 500, maxMs: 20_000 } as const;

export interface PodWorkerOptions {
  readonly pod: KubeletPod;
  /** It has one already, from before this kubelet started. */
  readonly sandbox: Sandbox | null;
  readonly runtime: PodRuntime;
  readonly publisher: PodPublisher;
  readonly hostIp: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly random?: () => number;
}

export class PodWorker {
  readonly #options: PodWorkerOptions;
  readonly #log: Logger;
  /** It is to be ended. */
  readonly #ending = new AbortController();
  readonly #startTime: number;
  #pod: KubeletPod;
  #sandbox: Sandbox | null;
  #containers: readonly Container[] = [];
  #waiting: readonly ContainerView[];
  #refused: PodView["refused"] = null;
  /** The API server knows it no longer: there is no status to write, and no grace to give. */
  #forgotten = false;
  /** Its status says more than this worker knows: it is over, or it runs and its processes have not been looked at yet. */
  #silent: boolean;

  constructor(options: PodWorkerOptions) {
    this.#options = options;
    this.#pod = options.pod;
    this.#sandbox = options.sandbox;
    this.#silent = options.sandbox !== null || isOver(String(options.pod.status?.phase ?? ""));
    this.#log = options.log.child({ pod: podTitle(options.pod) });
    this.#startTime = options.clock.now();
    this.#waiting = options.pod.spec.containers.map((container) => waitingView(container, "ContainerCreating"));
  }

  get uid(): string {
    return this.#pod.metadata.uid;
  }

  /** What the API server says of it now. */
  update(pod: KubeletPod): void {
    this.#pod = pod;
    if (pod.metadata.deletionTimestamp !== undefined) this.#ending.abort();
    // Others write conditions that ours depend on.
    this.#publish();
  }

  /** It is gone from the API server, without this kubelet's consent: by force, or while it was not looking. */
  forget(): void {
    this.#forgotten = true;
    this.#ending.abort();
  }

  /** Resolves when nothing of the pod is left. With the signal it lets go of it and everything runs on. @param signal the kubelet's stop */
  async run(signal: AbortSignal): Promise<void> {
    const ending = AbortSignal.any([signal, this.#ending.signal]);
    try {
      if (this.#pod.metadata.deletionTimestamp !== undefined) this.#ending.abort();
      if (!isOver(String(this.#pod.status?.phase ?? "")) && this.#admit()) {
        await this.#setUp(ending);
        if (this.#sandbox !== null) await this.#runContainers(this.#sandbox, ending);
      }
      if (signal.aborted) return;
      await this.#tearDown(signal);
      await untilAborted(ending);
      if (signal.aborted || this.#forgotten) return;
      await this.#repeat("the pod cannot be deleted", signal, () => this.#options.publisher.remove(this.#pod, signal));
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  /** Kubelets refuse what they cannot run, and say so in the pod's status. */
  #admit(): boolean {
    if ((this.#pod.spec.initContainers ?? []).length > 0)
      this.#refused = { reason: "UnsupportedByLab", message: "the lab runs no init containers" };
    if (this.#refused !== null) this.#publish();
    return this.#refused === null;
  }

  async #setUp(ending: AbortSignal): Promise<void> {
    if (this.#sandbox !== null || ending.aborted) return;
    this.#publish();
    const { runtime } = this.#options;
    await this.#repeat("the pod's network cannot be set up", ending, async () => {
      try {
        this.#sandbox = await runtime.createSandbox(this.#pod);
      } catch (error) {
        this.#waiting = this.#pod.spec.containers.map((container) =>
          waitingView(container, "ContainerCreating", `failed to create pod sandbox: ${messageOf(error)}`),
        );
        this.#publish();
        // DEL follows each ADD that failed.
        await runtime.destroySandbox(this.#pod);
        throw error;
      }
    }).catch((error: unknown) => {
      if (!ending.aborted) throw error;
    });
  }

  async #runContainers({ ips }: Sandbox, ending: AbortSignal): Promise<void> {
    const { runtime, clock } = this.#options;
    this.#containers = this.#pod.spec.containers.map(
      (container) =>
        new Container({
          pod: this.#pod,
          container,
          ip: ips[0] ?? "",
          runtime,
          clock,
          log: this.#log,
          restarts: restartsOf(this.#pod, container.name),
          onChange: () => {
            this.#silent &&= this.#containers.some(({ view }) => view.state.kind === "waiting");
            this.#publish();
          },
        }),
    );
    this.#publish();
    await Promise.all(this.#containers.map((container) => container.run(ending)));
    this.#publish();
  }

  async #tearDown(signal: AbortSignal): Promise<void> {
    const { runtime } = this.#options;
    const { deletionGracePeriodSeconds = this.#pod.spec.terminationGracePeriodSeconds } = this.#pod.metadata;
    const graceMs = this.#forgotten ? 0 : deletionGracePeriodSeconds * 1000;
    await this.#repeat("a container cannot be ended", signal, async () => {
      await Promise.all(this.#containers.map((container) => container.stop(graceMs)));
    });
    this.#publish();
    await this.#repeat("the pod's network cannot be removed", signal, () => runtime.destroySandbox(this.#pod));
    this.#log.info({ phase: podPhase(this.#pod, this.#view()) }, "nothing of the pod runs any more");
  }

  /** Until it succeeds. Rejects with the signal only. */
  async #repeat(failure: string, signal: AbortSignal, work: () => Promise<void>): Promise<void> {
    const { clock, random } = this.#options;
    const backoff = new Backoff({ ...retry, ...(random === undefined ? {} : { random }) });
    for (;;) {
      signal.throwIfAborted();
      try {
        await work();
        return;
      } catch (error) {
        const pauseMs = backoff.next();
        this.#log.warn({ error: messageOf(error), pauseMs: Math.round(pauseMs) }, failure);
        await clock.sleep(pauseMs, signal);
      }
    }
  }

  #publish(): void {
    if (!this.#forgotten && !this.#silent) this.#options.publisher.publish(this.#pod, this.#view());
  }

  #view(): PodView {
    return {
      containers: this.#containers.length === 0 ? this.#waiting : this.#containers.map(({ view }) => view),
      ips: this.#sandbox?.ips ?? [],
      hostIp: this.#options.hostIp,
      startTime: this.#startTime,
      refused: this.#refused,
    };
  }
}

function restartsOf(pod: KubeletPod, container: string): number {
  const statuses = pod.status?.containerStatuses ?? [];
  return statuses.find(({ name }) => name === container)?.restartCount ?? 0;
}

async function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
