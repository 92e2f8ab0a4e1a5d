/**
 * What kube-router does between its BGP daemon and the kernel, without overlay: best paths become routes when the next hop is
 * in the subnet of one of the node's addresses. A re-announced path is deleted and added, a withdrawn one deleted, and all of
 * them are written again every minute. It never reads the kernel's table and never deletes what it did not learn.
 */
import { BlockList } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { BestPath } from "./gobgp.ts";
import type { LocalSubnet } from "./routes.ts";

export interface InjectorDependencies {
  readonly gobgp: {
    bestPaths(signal: AbortSignal): AsyncIterable<readonly BestPath[]>;
    announce(prefix: string, nextHop: string, signal: AbortSignal): Promise<void>;
  };
  readonly routes: {
    replaceRoute(prefix: string, nextHop: string): Promise<void>;
    deleteRoute(prefix: string): Promise<void>;
  };
  readonly subnets: readonly LocalSubnet[];
  /** Own pod CIDRs with the node's address of that family as next hop. */
  readonly announcements: readonly { readonly prefix: string; readonly nextHop: string }[];
  readonly log: (event: Readonly<Record<string, unknown>>) => void;
  readonly syncIntervalMs: number;
  /** Pause before gobgpd is tried again. */
  readonly retryMs: number;
}

export class Injector {
  readonly #deps: InjectorDependencies;
  readonly #near: BlockList;
  readonly #routes = new Map<string, string>();
  /** Kernel changes happen one after the other: the minute's replay must not overtake a withdrawal. */
  #queue: Promise<void> = Promise.resolve();

  constructor(deps: InjectorDependencies) {
    this.#deps = deps;
    this.#near = new BlockList();
    for (const { address, prefixLength } of deps.subnets) {
      this.#near.addSubnet(address, prefixLength, address.includes(":") ? "ipv6" : "ipv4");
    }
  }

  /** Until the signal aborts. A gobgpd that is away is tried again; what it had taught is forgotten, its routes stay. */
  async run(signal: AbortSignal): Promise<void> {
    const replay = setInterval(() => void this.#enqueue(() => this.#sync()), this.#deps.syncIntervalMs);
    try {
      while (!signal.aborted) {
        try {
          await this.#watch(signal);
        } catch (error) {
          if (!signal.aborted) this.#deps.log({ event: "stream-ended", error: String(error) });
        }
        // kube-router and its daemon are one process: a new one starts with nothing learned, and leaves old routes alone.
        await this.#enqueue(() => Promise.resolve(this.#routes.clear()));
        await sleep(this.#deps.retryMs, undefined, { signal }).catch(() => {});
      }
    } finally {
      clearInterval(replay);
      await this.#queue;
    }
  }

  async #watch(signal: AbortSignal): Promise<void> {
    for (const { prefix, nextHop } of this.#deps.announcements)
      await this.#deps.gobgp.announce(prefix, nextHop, signal);
    this.#deps.log({ event: "announced", prefixes: this.#deps.announcements.map((a) => a.prefix) });
    for await (const paths of this.#deps.gobgp.bestPaths(signal)) {
      for (const path of paths) if (!path.local) await this.#enqueue(() => this.#apply(path));
    }
    throw new Error("gobgpd closed the stream");
  }

  #enqueue(work: () => Promise<void>): Promise<void> {
    this.#queue = this.#queue.then(work).catch((error) => this.#deps.log({ event: "failed", error: String(error) }));
    return this.#queue;
  }

  async #apply(path: BestPath): Promise<void> {
    const { prefix, nextHop } = path;
    const reachable = !path.withdrawn && this.#near.check(nextHop, path.family === 6 ? "ipv6" : "ipv4");
    this.#deps.log({ event: path.withdrawn ? "withdraw" : reachable ? "route" : "not-in-subnet", prefix, nextHop });
    this.#routes.delete(prefix);
    // Also before a replacement: kube-router's clean-up of a tunnel that is not wanted removes the route first.
    await this.#deps.routes.deleteRoute(prefix);
    if (!reachable) return;
    this.#routes.set(prefix, nextHop);
    await this.#deps.routes.replaceRoute(prefix, nextHop);
    await this.#sync();
  }

  /** Writes every route again; the first failure ends the round, as in kube-router. */
  async #sync(): Promise<void> {
    for (const [prefix, nextHop] of this.#routes) await this.#deps.routes.replaceRoute(prefix, nextHop);
  }
}
