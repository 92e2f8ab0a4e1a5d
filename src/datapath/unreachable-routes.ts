/**
 * Routes that answer for addresses which lead nowhere from here: `unreachable` (ICMP to who asks, EHOSTUNREACH to a process of the node), so that
 * no packet to them follows the default route. Those in one table with one metric are one set; they stay while the agent is away.
 */
import { setImmediate } from "node:timers/promises";
import { DeltaTracker } from "../lib/delta-tracker.ts";
import { addressFromBytes, makePrefix, type Prefix } from "../model/ip.ts";
import type { NativeBinding } from "../native/contract.ts";
import type { NetlinkChange, RouteRow } from "../native/netlink-contract.ts";
import type { Doubt } from "./comparison.ts";
import { Counters } from "./map-table.ts";

/** RTPROT of every route that Tandem writes. */
const protocol = 158;
/** RTN_UNREACHABLE (rtnetlink(7)). */
const unreachable = 7;
/** Routes that are looked at before others get their turn. */
const sliceRoutes = 512;
/** Changes of one native call. */
const batch = 4096;

export type RouteNative = Pick<NativeBinding, "routes" | "applyNetlink">;

export interface RouteFailure {
  readonly op: "replace" | "delete";
  /** Text of the prefix. */
  readonly prefix: string;
  readonly reason: string;
}

export class UnreachableRoutes {
  readonly counters = new Counters();
  readonly #native: RouteNative;
  readonly #place: { readonly table: number; readonly metric: number };
  /** By the prefix's text. */
  readonly #tracker = new DeltaTracker<Prefix>(() => true);
  #wanted: ReadonlyMap<string, Prefix> | null = null;

  constructor(native: RouteNative, place: { readonly table: number; readonly metric: number }) {
    this.#native = native;
    this.#place = place;
  }

  /** Takes what the kernel has as what is there. @returns how many routes were not as they were believed to be */
  async read(): Promise<number> {
    const there = await this.#routes();
    const before = this.#tracker.actual;
    const differing =
      [...there.keys()].filter((text) => !before.has(text)).length +
      [...before.keys()].filter((text) => !there.has(text)).length;
    this.#tracker.replaceActual(there);
    return differing;
  }

  /** Routes are asked for as a whole: a doubt is one until they are read. */
  async look(): Promise<Doubt | null> {
    const there = await this.#routes();
    const { actual } = this.#tracker;
    const isAsLeft = there.size === actual.size && [...there.keys()].every((text) => actual.has(text));
    return isAsLeft ? null : () => true;
  }

  async #routes(): Promise<ReadonlyMap<string, Prefix>> {
    const { table, metric } = this.#place;
    const rows = await this.#native.routes(null, { family: null, table, protocol });
    const there = new Map<string, Prefix>();
    for (const [at, { type, metric: found, destination, prefixLength }] of rows.entries()) {
      // Of each service's address: others get their turn in between.
      if (at % sliceRoutes === sliceRoutes - 1) await setImmediate();
      if (type !== unreachable || found !== metric) continue;
      const prefix = makePrefix(addressFromBytes(destination), prefixLength);
      there.set(prefix.text, prefix);
    }
    return there;
  }

  /** @param wanted null: not known, and those of before hold */
  async apply(wanted: ReadonlyMap<string, Prefix> | null): Promise<readonly RouteFailure[]> {
    if (wanted !== null && wanted !== this.#wanted) this.#tracker.replaceDesired(wanted);
    this.#wanted = wanted ?? this.#wanted;
    if (this.#wanted === null) return [];
    const added = await this.#change("replace", this.#tracker.pendingUpdates());
    const removed = await this.#change(
      "delete",
      this.#tracker.pendingDeletions().flatMap((text) => {
        const prefix = this.#tracker.actual.get(text);
        return prefix === undefined ? [] : [[text, prefix] as const];
      }),
    );
    return [...added, ...removed];
  }

  async #change(
    op: "replace" | "delete",
    entries: readonly (readonly [string, Prefix])[],
  ): Promise<readonly RouteFailure[]> {
    const failed: RouteFailure[] = [];
    for (let start = 0; start < entries.length; start += batch) {
      const slice = entries.slice(start, start + batch);
      const changes = slice.map(([, prefix]) => this.#changeOf(op, prefix));
      const failures = new Map((await this.#native.applyNetlink(null, changes)).map((each) => [each.at, each]));
      for (const [at, [text, prefix]] of slice.entries()) {
        const failure = failures.get(at);
        // Somebody else removed it first.
        if (failure !== undefined && !(op === "delete" && failure.code === "ESRCH")) {
          const reason = failure.log ?? failure.code;
          this.counters.failed(new Error(`${op} route ${text}: ${reason}`));
          failed.push({ op, prefix: text, reason });
          continue;
        }
        this.counters.writes++;
        if (op === "delete") this.#tracker.deleteActual(text);
        else this.#tracker.setActual(text, prefix);
      }
    }
    return failed;
  }

  #changeOf(op: "replace" | "delete", prefix: Prefix): NetlinkChange {
    const route: RouteRow = {
      family: prefix.family,
      destination: Buffer.from(prefix.address.bytes),
      prefixLength: prefix.length,
      ...this.#place,
      protocol,
      scope: 0,
      type: unreachable,
      source: null,
      nextHops: [],
      mtu: null,
    };
    return { kind: "route", op, route, onlink: false };
  }
}
