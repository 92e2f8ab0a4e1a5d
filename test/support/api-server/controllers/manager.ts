/**
 * Runs controllers: each is called with the whole cluster some time after something that it watches has changed, and makes of what is what
 * should be. It may be called at any time and as often as one likes; what is right already it leaves alone.
 */
import type { Clock, Timer } from "../../../../src/lib/clock.ts";
import type { Change, Store } from "../store.ts";
import type { Cluster } from "./cluster.ts";

export interface Controller {
  /** That of kube-controller-manager, by which it is left out. */
  readonly name: string;
  /** Storages; "*": all. */
  readonly watches: readonly string[];
  /** @param now ms since 1970 */
  sync(cluster: Cluster, now: number): void;
}

export interface ManagerOptions {
  readonly store: Store;
  readonly clusterOf: (agent: string) => Cluster;
  readonly controllers: readonly Controller[];
  readonly clock: Clock;
  /** Told of what a controller failed at; it tries again. */
  readonly report: (controller: string, error: unknown) => void;
}

/** ms in which changes become one call. */
const gatherMs = 5;
/** ms until what failed is tried again. */
const retryMs = 500;

export class ControllerManager {
  readonly #options: ManagerOptions;
  readonly #due = new Set<Controller>();
  readonly #timers = new Set<Timer>();
  #stop: (() => void) | null = null;
  #gathering = false;

  constructor(options: ManagerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#stop = this.#options.store.follow((change) => this.#take(change));
    for (const controller of this.#options.controllers) this.#due.add(controller);
    this.#later(gatherMs);
  }

  stop(): void {
    this.#stop?.();
    this.#stop = null;
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
  }

  #take({ storage }: Change): void {
    for (const controller of this.#options.controllers) {
      if (controller.watches.includes(storage) || controller.watches.includes("*")) this.#due.add(controller);
    }
    if (this.#due.size > 0 && !this.#gathering) this.#later(gatherMs);
  }

  #later(ms: number): void {
    this.#gathering = true;
    const timer = this.#options.clock.setTimer(ms, () => {
      this.#timers.delete(timer);
      this.#gathering = false;
      this.#run();
    });
    this.#timers.add(timer);
  }

  #run(): void {
    const { clock, clusterOf, report } = this.#options;
    const due = [...this.#due];
    this.#due.clear();
    for (const controller of due) {
      try {
        controller.sync(clusterOf(controller.name), clock.now());
      } catch (error) {
        report(controller.name, error);
        this.#due.add(controller);
        if (this.#stop !== null) this.#later(retryMs);
      }
    }
  }
}
