/** All paths to one node, and what they say together. Pure: time is handed in. */
import type { MtuMismatch, NodeHealthReport, NodeHealthRow, SilentPath } from "../../model/node-health.ts";
import type { NodeRow } from "../../model/tables.ts";
import type { Watch } from "../../native/probe-contract.ts";
import { MtuProbe, mtuIntervalMs } from "./mtu-probe.ts";
import { type Moment, type Pace, PathProbe } from "./path-probe.ts";
import { pathKey, type Paths } from "./paths.ts";

/** ms between two questions of an MTU to a node itself, and to an address for which it sends ICMP errors. */
const mtuPaceMs = { direct: 700, errors: 2_300 } as const;
/** ms after the first look that MTUs are tried: small packets come first. */
const mtuFirstMs = 3_000;

/**
 * How many intervals lie between two questions. The way to the pods holds what leads to the node as well; TCP costs most. Whatever is missed first, all the others
 * are asked at once.
 */
const intervals = { pods: 1, icmp: 3, tcp: 4 } as const;

/** What is tried with large packets, and by which path. */
export interface SizedPath {
  readonly mtu: MtuProbe;
  readonly path: PathProbe;
}

export class NodeProbe {
  readonly #pace: Pace;
  #node: NodeRow;
  #paths: ReadonlyMap<string, PathProbe> = new Map();
  #mtus: ReadonlyMap<4 | 6, { readonly mtu: MtuProbe; readonly direct: boolean }> = new Map();
  #sized: readonly SizedPath[] = [];
  /** Paths and sizes as they were handed in. */
  #given = "";
  #state: NodeHealthRow["state"] = "unknown";
  #sinceMs: number;
  #agent: boolean | null = null;
  #podsLost: readonly (4 | 6)[] = [];
  #list: readonly PathProbe[] = [];
  /** ms of the monotonic clock before which there is nothing to do. */
  #wakeMs = 0;

  constructor(node: NodeRow, pace: Pace, now: Moment) {
    this.#node = node;
    this.#pace = pace;
    this.#sinceMs = now.wallMs;
  }

  get node(): NodeRow {
    return this.#node;
  }

  get paths(): readonly PathProbe[] {
    return this.#list;
  }

  /** ms of the monotonic clock from which on something is due or overdue, perhaps. */
  get wakeMs(): number {
    return this.#wakeMs;
  }

  /** Sleeps until the next thing is due. */
  rest(): void {
    let wakeMs = Number.POSITIVE_INFINITY;
    for (const path of this.#list) wakeMs = Math.min(wakeMs, path.wakeMs);
    for (const sized of this.#sized) if (isSound(sized)) wakeMs = Math.min(wakeMs, sized.mtu.wakeMs);
    this.#wakeMs = wakeMs;
  }

  wake(): void {
    this.#wakeMs = 0;
  }

  /** Some of its paths or of their sizes are others. */
  differs(paths: Paths): boolean {
    return textOf(paths) !== this.#given;
  }

  /** What is known of a path that stays is kept. @param spreadMs within which new ones are asked for the first time */
  update(node: NodeRow, given: Paths, now: Moment, spreadMs: number): void {
    const { paths, mtus } = given;
    const { random, totals } = this.#pace;
    this.#given = textOf(given);
    this.#node = node;
    this.#paths = new Map(
      paths.map((path) => {
        const key = pathKey(path);
        const pace = { random, totals, intervalMs: () => intervals[path.kind] * this.#pace.intervalMs() };
        return [key, this.#paths.get(key) ?? new PathProbe(path, pace, now, spreadMs * random())];
      }),
    );
    this.#list = [...this.#paths.values()];
    this.wake();
    this.#mtus = new Map(
      mtus.map(({ family, bytes, direct }) => {
        const before = this.#mtus.get(family);
        const pace = direct ? mtuPaceMs.direct : mtuPaceMs.errors;
        const first = mtuFirstMs + spreadMs * random();
        const mtu = before?.direct === direct ? before.mtu : new MtuProbe(family, bytes, now, { first, pace });
        mtu.claim(bytes, now);
        return [family, { mtu, direct }];
      }),
    );
    this.#sized = [...this.#mtus].flatMap(([family, { mtu, direct }]) => {
      const kind = direct ? "icmp" : "pods";
      const path = this.#list.find((each) => each.path.kind === kind && each.path.address.family === family);
      return path === undefined ? [] : [{ mtu, path }];
    });
  }

  /** Those whose small packets are answered: of others nothing can be learnt. */
  sized(): readonly SizedPath[] {
    return this.#sized.filter(isSound);
  }

  /** By which packets of a size go as well. */
  sizedBy(path: PathProbe): MtuProbe | null {
    return this.#sized.find((sized) => sized.path === path)?.mtu ?? null;
  }

  /** It answers, and nothing about it is in doubt. */
  isCalm(path: PathProbe): boolean {
    if (path.watch !== null || path.expected === null || path.state !== "answers") return false;
    return path.misses === 0 && !path.isWaiting && (this.sizedBy(path)?.isCalm ?? true);
  }

  /** What a watch asks in the place of `MtuProbe`. */
  largeOf(path: PathProbe, { monotonicMs }: Moment): Watch["large"] {
    const mtu = this.sizedBy(path);
    if (mtu === null) return null;
    return { bytes: mtu.claimed, intervalMs: mtuIntervalMs, firstMs: Math.max(0, mtu.wakeMs - monotonicMs) };
  }

  /** @returns whether the row may be another */
  answered(path: PathProbe, now: Moment, rttUs: number, told: string | null): boolean {
    const begins = path.answered(now, rttUs, told);
    if (begins) for (const other of this.#list) if (other !== path) other.revive(now);
    this.rest();
    if (path.path.kind !== "tcp" || this.#agent === (told === null)) return begins;
    this.#agent = told === null;
    return true;
  }

  /** @returns whether the row may be another */
  missed(path: PathProbe, now: Moment, told: string | null): boolean {
    this.wake();
    const isSilent = path.missed(now, told);
    if (path.misses === 1) for (const other of this.#list) if (other !== path) other.hurry(now);
    return isSilent;
  }

  row(now: Moment): NodeHealthRow {
    const state = this.#judge();
    if (state !== this.#state) {
      this.#state = state;
      this.#sinceMs = now.wallMs;
    }
    const mtu: MtuMismatch[] = [];
    for (const { mtu: each } of this.#mtus.values()) if (each.mismatch !== null) mtu.push(each.mismatch);
    const silent = this.#list.flatMap(({ state: of, path, answeredMs }): readonly SilentPath[] =>
      of === "silent" ? [{ ...path, answered: answeredMs }] : [],
    );
    this.#podsLost = ([4, 6] as const).filter((family) => this.#isLost(family));
    return {
      node: this.#node.name,
      state,
      since: this.#sinceMs,
      silent,
      agent: this.#agent,
      podsLost: this.#podsLost,
      mtu,
    };
  }

  report(): NodeHealthReport {
    return { node: this.#node.name, paths: this.#list.map((path) => path.report()) };
  }

  #judge(): NodeHealthRow["state"] {
    const states = this.#list.map(({ state }) => state);
    const answering = states.some((state) => state === "answers");
    const silent = states.some((state) => state === "silent");
    if (answering) return silent ? "partly" : "reachable";
    return silent && states.every((state) => state === "silent") ? "unreachable" : "unknown";
  }

  /**
   * All paths to its pods of the family are silent, one of which has answered before. It stays so when BGP takes the route away, and with it the paths, and
   * until one of those that come back answers.
   */
  #isLost(family: 4 | 6): boolean {
    const wasLost = this.#podsLost.includes(family);
    const ways = this.#list.filter(({ path }) => path.kind === "pods" && path.address.family === family);
    if (ways.some(({ state }) => state === "answers")) return false;
    if (ways.length === 0 || ways.some(({ state }) => state === "unknown")) return wasLost;
    return wasLost || ways.some(({ answeredMs }) => answeredMs !== null);
  }
}

/** What small packets do not pass says nothing of large ones. */
function isSound({ path }: SizedPath): boolean {
  return path.watch === null && path.state === "answers" && path.misses === 0;
}

function textOf({ paths, mtus }: Paths): string {
  return [...paths.map(pathKey), ...mtus.map(({ family, bytes, direct }) => `${family} ${bytes} ${direct}`)].join();
}
