/**
 * Paths that are as they should be: the addon asks them again and again, and says nothing until one does not answer as it did. Then all of its node come
 * back here, to be asked with more care; a path that answers again is given away again. With 1000 nodes that is nearly all that there is to do.
 */
import type { Handle } from "../../native/handle.ts";
import {
  packIds,
  packWatches,
  type ProbeBinding,
  readCounts,
  type Watch,
  type WatchCount,
} from "../../native/probe-contract.ts";
import type { NodeProbe } from "./node-probe.ts";
import { missMs, type Moment, type PathProbe } from "./path-probe.ts";

/** ms in which a late answer to a watch that has ended still counts. */
const lateMs = 5 * missMs;

export interface Watched {
  readonly node: NodeProbe;
  readonly path: PathProbe;
  /** ms of the monotonic clock; null: it goes on. */
  endedMs: number | null;
}

export class Watching {
  readonly #native: ProbeBinding;
  readonly #port: number;
  readonly #watched = new Map<number, Watched>();
  /** Those that have ended. */
  readonly #ended = new Set<number>();
  #starting: Watch[] = [];
  #id = 0;

  /** @param port of TCP */
  constructor(native: ProbeBinding, port: number) {
    this.#native = native;
    this.#port = port;
  }

  of(id: number): Watched | undefined {
    return this.#watched.get(id);
  }

  /** From the next `flush` on, if nothing about it is in doubt. */
  offer(node: NodeProbe, path: PathProbe, now: Moment): void {
    if (!node.isCalm(path)) return;
    this.#id = this.#id === 0xffff_ffff ? 1 : this.#id + 1;
    this.#watched.set(this.#id, { node, path, endedMs: null });
    path.watch = this.#id;
    this.#starting.push(this.#watchOf(this.#id, node, path, now));
  }

  flush(handle: Handle): void {
    if (this.#starting.length === 0) return;
    this.#native.watchPaths(handle, packWatches(this.#starting));
    this.#starting = [];
  }

  /** Intervals are others. */
  repace(now: Moment): void {
    this.#starting = [];
    for (const [id, { node, path, endedMs }] of this.#watched)
      if (endedMs === null) this.#starting.push(this.#watchOf(id, node, path, now));
  }

  /** Asked from here again, with what the addon has found of them until now. */
  recall(handle: Handle, paths: readonly PathProbe[], now: Moment): void {
    const ids = paths.flatMap(({ watch }) => (watch === null ? [] : [watch]));
    if (ids.length === 0) return;
    this.#starting = this.#starting.filter(({ id }) => !ids.includes(id));
    this.#account(readCounts(this.#native.unwatchPaths(handle, packIds(ids))), now);
    for (const id of ids) {
      const watched = this.#watched.get(id);
      if (watched === undefined) continue;
      watched.endedMs = now.monotonicMs;
      this.#ended.add(id);
      watched.path.recalled(now);
    }
  }

  recallAll(handle: Handle, now: Moment): void {
    const paths = [...this.#watched.values()].flatMap(({ path, endedMs }) => (endedMs === null ? [path] : []));
    this.recall(handle, paths, now);
  }

  /** What is known of all of them is that of now. */
  refresh(handle: Handle, now: Moment): void {
    this.#account(readCounts(this.#native.countWatches(handle)), now);
  }

  forget({ monotonicMs }: Moment): void {
    for (const id of this.#ended) {
      if (monotonicMs - (this.#watched.get(id)?.endedMs ?? 0) < lateMs) continue;
      this.#ended.delete(id);
      this.#watched.delete(id);
    }
  }

  #account(counts: readonly WatchCount[], now: Moment): void {
    for (const count of counts) this.#watched.get(count.id)?.path.account(count, now);
  }

  #watchOf(id: number, node: NodeProbe, path: PathProbe, now: Moment): Watch {
    const { kind, address, device } = path.path;
    const { event, from } = path.expected ?? { event: "reply", from: new Uint8Array(16) };
    return {
      id,
      kind: kind === "tcp" ? "tcp" : "icmp",
      address: address.bytes,
      port: this.#port,
      ifindex: device?.ifindex ?? 0,
      event,
      from,
      intervalMs: path.intervalMs,
      large: node.largeOf(path, now),
    };
  }
}
