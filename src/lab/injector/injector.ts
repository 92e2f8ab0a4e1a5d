/**
 * What kube-router does between its BGP daemon and the kernel: best paths become routes when the next hop is
 * in the subnet of one of the node's addresses. A re-announced path is deleted and added, a withdrawn one deleted, and all of
 * them are written again every minute. It never reads the kernel's table and never deletes what it did not learn.
 *
 * With an overlay, next hops elsewhere (`subnet`) or all of them (`full`) are behind tunnels. A tunnel stays when paths through it are
 * withdrawn, as kube-router's does while the session stands.
 *
 * With `multipath` it is what kube-router is not, and a routing daemon of the node is: paths that are equally good become one route with
 * several next hops, changed in place.
 */
import { BlockList } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { BestPath } from "./gobgp.ts";
import type { Tunnels } from "./tunnels.ts";

/** An address of the node and how much of it its link's subnet is. */
export interface LocalSubnet {
  readonly address: string;
  readonly prefixLength: number;
}

export interface InjectorDependencies {
  readonly gobgp: {
    bestPaths(signal: AbortSignal): AsyncIterable<readonly BestPath[]>;
    announce(prefix: string, nextHop: string, signal: AbortSignal): Promise<void>;
  };
  readonly routes: {
    replaceRoute(prefix: string, nextHops: readonly string[]): Promise<void>;
    replaceTunnelRoute(prefix: string, device: string, source: string): Promise<void>;
    deleteRoute(prefix: string): Promise<void>;
  };
  /** --overlay-type; left out: --enable-overlay=false. */
  readonly overlay?: "subnet" | "full";
  /** Left out: there are none, and there is no overlay. */
  readonly tunnels?: Pick<Tunnels, "ensure" | "remove" | "source">;
  readonly subnets: readonly LocalSubnet[];
  /** Own pod CIDRs with the node's address of that family as next hop. */
  readonly announcements: readonly { readonly prefix: string; readonly nextHop: string }[];
  readonly multipath?: boolean;
  readonly log: (event: Readonly<Record<string, unknown>>) => void;
  readonly syncIntervalMs: number;
  /** Pause before gobgpd is tried again. */
  readonly retryMs: number;
}

export class Injector {
  readonly #deps: InjectorDependencies;
  readonly #near: BlockList;
  /** By prefix: writes its route (again). */
  readonly #routes = new Map<string, () => Promise<void>>();
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
      for (const [first, ...more] of this.#together(paths.filter(({ local }) => !local)))
        await this.#enqueue(() => this.#apply(first, more));
    }
    throw new Error("gobgpd closed the stream");
  }

  #enqueue(work: () => Promise<void>): Promise<void> {
    this.#queue = this.#queue.then(work).catch((error) => this.#deps.log({ event: "failed", error: String(error) }));
    return this.#queue;
  }

  /** What makes one route: gobgpd tells all equally good paths to a prefix at once, if it was told to keep them. */
  #together(paths: readonly BestPath[]): Iterable<readonly [BestPath, ...BestPath[]]> {
    const groups = new Map<unknown, [BestPath, ...BestPath[]]>();
    for (const path of paths) {
      const key = this.#deps.multipath ? path.prefix : path;
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [path]);
      else group.push(path);
    }
    return groups.values();
  }

  async #apply(first: BestPath, more: readonly BestPath[]): Promise<void> {
    const { prefix, family } = first;
    const paths = [first, ...more].filter(({ withdrawn }) => !withdrawn);
    const told = paths.map(({ nextHop }) => nextHop);
    const near = [...new Set(told)].filter((nextHop) => this.#near.check(nextHop, family === 6 ? "ipv6" : "ipv4"));
    const far = this.#behindTunnel(told[0], near);
    const event =
      paths.length === 0 ? "withdraw" : far !== null ? "tunnel" : near.length > 0 ? "route" : "not-in-subnet";
    this.#deps.log({ event, prefix, nextHop: told.length === 0 ? first.nextHop : told.join(",") });
    this.#routes.delete(prefix);
    const { routes, tunnels } = this.#deps;
    if (tunnels !== undefined && far !== null) {
      // Not by each round: a device that somebody deletes is missed until the path is told again.
      const device = await tunnels.ensure(far);
      this.#routes.set(prefix, () => routes.replaceTunnelRoute(prefix, device, tunnels.source(far)));
    } else {
      // Also before a replacement: kube-router's clean-up of a tunnel that is not wanted removes the route first.
      if (near.length === 0 || !this.#deps.multipath) await routes.deleteRoute(prefix);
      if (paths.length > 0) await tunnels?.remove(first.nextHop);
      if (near.length === 0) return;
      this.#routes.set(prefix, () => routes.replaceRoute(prefix, near));
    }
    await this.#routes.get(prefix)?.();
    await this.#sync();
  }

  /** The next hop, if a tunnel leads there. */
  #behindTunnel(nextHop: string | undefined, near: readonly string[]): string | null {
    const { overlay } = this.#deps;
    if (overlay === undefined || nextHop === undefined) return null;
    return overlay === "full" || !near.includes(nextHop) ? nextHop : null;
  }

  /** Writes every route again, now and not after the minute. */
  sync(): Promise<void> {
    return this.#enqueue(() => this.#sync());
  }

  /** Writes every route again; the first failure ends the round, as in kube-router. */
  async #sync(): Promise<void> {
    for (const write of this.#routes.values()) await write();
  }
}
