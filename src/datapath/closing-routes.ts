/**
 * What becomes of a packet to an address of this node's pod CIDRs that no pod has. The fabric sends the whole CIDR here; without these routes the
 * packet would follow the default route back into the fabric, and circle until it dies. An `unreachable` route of each CIDR answers
 * instead (ICMP, or EHOSTUNREACH to a process of the node), also while the agent is away. Its metric is worse than any that somebody else
 * gives the same CIDR, as another plugin's bridge has it; pods' own routes are longer.
 */
import type { AgentConfig } from "../config/index.ts";
import { DeltaTracker } from "../lib/delta-tracker.ts";
import { addressFromBytes, makePrefix, type Prefix } from "../model/ip.ts";
import type { Problem } from "../model/status.ts";
import type { NativeBinding, NetlinkChange, RouteRow } from "../native/contract.ts";
import { Counters } from "./map-table.ts";

/** RTPROT of every route that Tandem writes. */
const protocol = 158;
const mainTable = 254;
/** RTN_UNREACHABLE (rtnetlink(7)). */
const unreachable = 7;
/** Lower ones win; the kernel's own last resort of IPv6 has the largest there is. */
const metric = 0xffff_0000;

export type RouteNative = Pick<NativeBinding, "routes" | "applyNetlink">;

export class ClosingRoutes {
  readonly counters = new Counters();
  readonly #native: RouteNative;
  readonly #families: ReadonlySet<number>;
  /** By the CIDR's text. */
  readonly #tracker = new DeltaTracker<Prefix>(() => true);
  /** Until then what the agent before left stays. */
  #known = false;

  constructor(native: RouteNative, { ipv4, ipv6 }: Pick<AgentConfig, "ipv4" | "ipv6">) {
    this.#native = native;
    this.#families = new Set([...(ipv4 ? [4] : []), ...(ipv6 ? [6] : [])]);
  }

  /** Takes what the kernel has as what is there. @returns how many routes were not as they were believed to be */
  async read(): Promise<number> {
    const rows = await this.#native.routes(null, { family: null, table: mainTable, protocol });
    const there = new Map(
      rows
        .filter(({ type }) => type === unreachable)
        .map(({ destination, prefixLength }) => makePrefix(addressFromBytes(destination), prefixLength))
        .map((prefix) => [prefix.text, prefix] as const),
    );
    const before = this.#tracker.actual;
    const differing =
      [...there.keys()].filter((text) => !before.has(text)).length +
      [...before.keys()].filter((text) => !there.has(text)).length;
    this.#tracker.replaceActual(there);
    return differing;
  }

  /** @param podCidrs of this node; undefined: they are not known, and those of before hold */
  async apply(podCidrs: readonly Prefix[] | undefined): Promise<readonly Problem[]> {
    if (podCidrs !== undefined) {
      const wanted = podCidrs.filter(({ family }) => this.#families.has(family));
      this.#tracker.replaceDesired(new Map(wanted.map((prefix) => [prefix.text, prefix])));
      this.#known = true;
    }
    if (!this.#known) return [];
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
  ): Promise<readonly Problem[]> {
    if (entries.length === 0) return [];
    const changes = entries.map(([, prefix]) => changeOf(op, prefix));
    const failures = new Map((await this.#native.applyNetlink(null, changes)).map((each) => [each.at, each]));
    return entries.flatMap(([text, prefix], at) => {
      const failure = failures.get(at);
      // Somebody else removed it first.
      if (failure !== undefined && !(op === "delete" && failure.code === "ESRCH")) {
        const reason = failure.log ?? failure.code;
        this.counters.failed(new Error(`${op} route ${text}: ${reason}`));
        return [problem(op, text, reason)];
      }
      this.counters.writes++;
      if (op === "delete") this.#tracker.deleteActual(text);
      else this.#tracker.setActual(text, prefix);
      return [];
    });
  }
}

function changeOf(op: "replace" | "delete", prefix: Prefix): NetlinkChange {
  const route: RouteRow = {
    family: prefix.family,
    destination: Buffer.from(prefix.address.bytes),
    prefixLength: prefix.length,
    table: mainTable,
    protocol,
    scope: 0,
    type: unreachable,
    metric,
    source: null,
    nextHops: [],
    mtu: null,
  };
  return { kind: "route", op, route, onlink: false };
}

function problem(op: "replace" | "delete", cidr: string, reason: string): Problem {
  const what =
    op === "delete"
      ? `the route that closes ${cidr} stays, although the CIDR is not this node's any more`
      : `${cidr} is not closed: packets to an address of it that no pod has leave by the default route`;
  return {
    code: "CLOSING_ROUTE",
    severity: "warning",
    object: `route ${cidr}`,
    field: "",
    message: `${what}: ${reason}`,
    remedy: `it is tried again with the next change; see \`ip route show ${cidr}\` for what is in its way`,
  };
}
