/**
 * The life of one container in a pod that lasts: started, probed, started again when it ends, as the pod's restartPolicy says, with
 * kubelet's pauses (10 s, doubled each time up to 5 min; none before the first; forgotten when it ran for 10 min).
 */
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import type { Logger } from "../../model/logging.ts";
import type { KubeletContainer, KubeletPod } from "./pod.ts";
import { runProbe } from "./probe-run.ts";
import { runProbes } from "./prober.ts";
import type { PodRuntime } from "./runtime.ts";

const pauses = { firstMs: 10_000, maxMs: 300_000, forgottenAfterMs: 600_000 } as const;

export interface Ended {
  readonly kind: "terminated";
  readonly exitCode: number;
  readonly reason: string;
  readonly message: string;
  /** ms since the epoch. */
  readonly startedAt: number;
  readonly finishedAt: number;
}

export interface ContainerView {
  readonly name: string;
  readonly image: string;
  readonly state:
    | { readonly kind: "waiting"; readonly reason: string; readonly message: string }
    | { readonly kind: "running"; readonly startedAt: number }
    | Ended;
  readonly last: Ended | null;
  readonly restarts: number;
  /** Its start-up probe has succeeded. */
  readonly started: boolean;
  readonly ready: boolean;
}

export interface ContainerOptions {
  readonly pod: KubeletPod;
  readonly container: KubeletContainer;
  readonly ip: string;
  readonly runtime: PodRuntime;
  readonly clock: Clock;
  readonly log: Logger;
  /** Its view says something new. */
  readonly onChange: () => void;
  /** Counted before this kubelet took the pod over. */
  readonly restarts: number;
}

export function waitingView({ name, image }: KubeletContainer, reason: string, message = ""): ContainerView {
  return {
    name,
    image,
    state: { kind: "waiting", reason, message },
    last: null,
    restarts: 0,
    started: false,
    ready: false,
  };
}

export class Container {
  readonly #options: ContainerOptions;
  #view: ContainerView;
  /** Starts in a row that did not last. */
  #failures = 0;

  constructor(options: ContainerOptions) {
    this.#options = options;
    this.#view = { ...waitingView(options.container, "ContainerCreating"), restarts: options.restarts };
  }

  get view(): ContainerView {
    return this.#view;
  }

  /** Until it has ended for good, or until the signal: then the process still runs, and is ended by `stop`. */
  async run(signal: AbortSignal): Promise<void> {
    try {
      for (;;) {
        const ended = await this.#once(signal);
        if (!this.#isToRestart(ended.exitCode)) return;
        await this.#pause(ended, signal);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  async stop(graceMs: number): Promise<void> {
    const { runtime, pod, container, clock } = this.#options;
    await runtime.stop(pod, container, graceMs);
    if (this.#view.state.kind !== "running") return;
    const exitCode = await runtime.exited(pod, container, new AbortController().signal);
    this.#change({ state: endedState(this.#view.state.startedAt, clock.now(), exitCode, ""), ready: false });
  }

  /** From start to exit. */
  async #once(signal: AbortSignal): Promise<Ended> {
    const { runtime, pod, container, clock, log } = this.#options;
    let died = "";
    try {
      if (!(await runtime.isRunning(pod, container))) {
        signal.throwIfAborted();
        await runtime.start(pod, container);
      }
    } catch (error) {
      signal.throwIfAborted();
      log.warn({ container: container.name, error: messageOf(error) }, "a container cannot be started");
      const ended: Ended = { ...endedState(clock.now(), clock.now(), 128, messageOf(error)), reason: "StartError" };
      this.#change({ state: ended, ready: false, started: false });
      return ended;
    }
    const startedAt = clock.now();
    this.#change({ state: { kind: "running", startedAt }, ready: false, started: false });
    const over = new AbortController();
    const whileItRuns = AbortSignal.any([signal, over.signal]);
    const probing = this.#probe(whileItRuns, (message) => {
      died = message;
      log.info({ container: container.name, message }, "a container is ended: its probe failed");
      return runtime.stop(pod, container, pod.spec.terminationGracePeriodSeconds * 1000);
    });
    try {
      const exitCode = await runtime.exited(pod, container, signal);
      const ended = endedState(startedAt, clock.now(), exitCode, died);
      log.info({ container: container.name, exitCode }, "a container ended");
      this.#change({ state: ended, ready: false, started: false });
      return ended;
    } finally {
      over.abort();
      await probing;
    }
  }

  async #probe(signal: AbortSignal, kill: (message: string) => Promise<void>): Promise<void> {
    const { pod, container, ip, runtime, clock, log } = this.#options;
    const exec = (command: readonly string[], timeoutMs: number, stop: AbortSignal) =>
      runtime.exec(pod, command, timeoutMs, stop);
    let killed: Promise<void> = Promise.resolve();
    await runProbes(
      {
        container,
        clock,
        probe: (probe, stop) => runProbe(probe, { ip, container, exec }, stop),
        onStarted: () => this.#change({ started: true }),
        onReady: (ready, message) => {
          if (!ready) log.info({ container: container.name, message }, "a container is not ready any more");
          this.#change({ ready });
        },
        onDead: (message) => {
          killed = kill(message);
        },
      },
      signal,
    );
    await killed;
  }

  #isToRestart(exitCode: number): boolean {
    const { restartPolicy } = this.#options.pod.spec;
    return restartPolicy === "Always" || (restartPolicy === "OnFailure" && exitCode !== 0);
  }

  async #pause(ended: Ended, signal: AbortSignal): Promise<void> {
    if (ended.finishedAt - ended.startedAt >= pauses.forgottenAfterMs) this.#failures = 0;
    const pauseMs = this.#failures === 0 ? 0 : Math.min(pauses.maxMs, pauses.firstMs * 2 ** (this.#failures - 1));
    this.#failures++;
    if (pauseMs > 0) {
      const message = `starts again after ${pauseMs / 1000} s`;
      this.#change({ state: { kind: "waiting", reason: "CrashLoopBackOff", message }, last: ended });
      await this.#options.clock.sleep(pauseMs, signal);
    }
    this.#change({ last: ended, restarts: this.#view.restarts + 1 });
  }

  #change(change: Partial<ContainerView>): void {
    this.#view = { ...this.#view, ...change };
    this.#options.onChange();
  }
}

function endedState(startedAt: number, finishedAt: number, exitCode: number, message: string): Ended {
  return {
    kind: "terminated",
    exitCode,
    reason: exitCode === 0 ? "Completed" : "Error",
    message,
    startedAt,
    finishedAt,
  };
}
