/**
 * The way of packets to the L7 proxy's sockets, whatever address they are sent to: a rule for what the programs marked (MARK_TO_PROXY, bpf/lib/proxy.h)
 * and a table whose one route says that everything is this node's own. They stay while the agent is away, as the programs do; without the mark
 * nothing asks that table. Answers of the node's own servers come to the proxy by lo, which has to take packets from addresses of this node for that
 * (to_pod in bpf/prog/pod.bpf.c sends them there).
 */
import type { AgentConfig } from "../config/index.ts";
import type { Problem } from "../model/status.ts";
import type { NativeBinding } from "../native/contract.ts";
import type { NetlinkChange, RouteRow, RuleRow } from "../native/netlink-contract.ts";
import { Counters } from "./map-table.ts";

/** Beside `serviceTable`: neither anybody's well-known table nor one of kube-router's. */
const proxyTable = 15_801;
/** Before every rule that others add without a number; the kernel's own for local addresses comes first. */
const priority = 100;
const mark = { mark: 0x0a00, mask: 0x0f00 } as const;
/** FR_ACT_TO_TBL, RTPROT of every route that Tandem writes, RTN_LOCAL, RT_SCOPE_HOST, and lo. */
const [toTable, protocol, local, hostScope, loopback] = [1, 158, 2, 254, 1] as const;

export type ProxyRouteNative = Pick<NativeBinding, "routes" | "rules" | "applyNetlink">;

type Part = Extract<NetlinkChange, { readonly kind: "rule" | "route" } | { readonly kind: "link"; readonly op: "set" }>;

export class ProxyRoutes {
  readonly counters = new Counters();
  readonly #native: ProxyRouteNative;
  readonly #families: readonly (4 | 6)[];
  /** Families whose parts are there. */
  #there: ReadonlySet<string> = new Set();

  constructor(native: ProxyRouteNative, { ipv4, ipv6 }: Pick<AgentConfig, "ipv4" | "ipv6">) {
    this.#native = native;
    this.#families = [...(ipv4 ? [4 as const] : []), ...(ipv6 ? [6 as const] : [])];
  }

  /** Takes what the kernel has as what is there. @returns how much of it was not as it was believed to be */
  async read(): Promise<number> {
    const [rules, routes] = [await this.#native.rules(null), await this.#routes()];
    const there = new Set([
      ...rules.filter(isProxyRule).map(({ family }) => `rule ${family}`),
      ...routes.filter(isLocalDefault).map(({ family }) => `route ${family}`),
      // What the kernel has of it no row says.
      ...(this.#there.has("lo") ? ["lo"] : []),
    ]);
    const wanted = this.#families.flatMap((family) => [`rule ${family}`, `route ${family}`]);
    const differing = wanted.filter((part) => there.has(part) !== this.#there.has(part)).length;
    this.#there = there;
    return differing;
  }

  /** The route first: a rule that finds an empty table changes nothing. */
  async apply(): Promise<readonly Problem[]> {
    const parts = this.#families.flatMap((family): readonly Part[] => [
      ...(family === 4 ? [loopbackTakesLocal(true)] : []),
      { kind: "route", op: "replace", onlink: false, route: localDefault(family) },
      { kind: "rule", op: "add", rule: proxyRule(family) },
    ]);
    const missing = parts.filter((part) => !this.#there.has(nameOf(part)));
    if (missing.length === 0) return [];
    const failures = (await this.#native.applyNetlink(null, missing)).filter(({ code }) => code !== "EEXIST");
    const failed = new Set(failures.map(({ at }) => at));
    const done = missing.filter((_, at) => !failed.has(at));
    this.#there = new Set([...this.#there, ...done.map(nameOf)]);
    // That of lo is written again by every agent, as nothing says whether it is there.
    this.counters.writes += done.filter(({ kind }) => kind !== "link").length;
    return failures.map(({ at, code, log }) => {
      const what = missing[at]?.kind ?? "rule";
      const error = new Error(`${what} of table ${proxyTable}: ${log ?? code}`);
      this.counters.failed(error);
      return {
        code: "PROXY_ROUTE",
        severity: "error",
        object: `routing table ${proxyTable}`,
        field: "",
        message: `what L7 rules are about does not reach the proxy: ${error.message}`,
        remedy: "it is tried again with the next change; see `ip rule` for what is in its way",
      };
    });
  }

  async #routes(): Promise<readonly RouteRow[]> {
    return this.#native.routes(null, { family: null, table: proxyTable, protocol });
  }
}

/** IPv6 asks nothing of the kind. */
export function loopbackTakesLocal(acceptLocal: boolean): Extract<NetlinkChange, { readonly op: "set" }> {
  return {
    kind: "link",
    op: "set",
    index: loopback,
    up: null,
    mtu: null,
    name: null,
    master: null,
    alias: null,
    acceptLocal,
  };
}

/** One of ours, of either family. */
export function isProxyRule(rule: RuleRow): boolean {
  return rule.priority === priority && rule.table === proxyTable;
}

function isLocalDefault({ type, prefixLength }: RouteRow): boolean {
  return type === local && prefixLength === 0;
}

function nameOf(part: Part): string {
  if (part.kind === "link") return "lo";
  return part.kind === "rule" ? `rule ${part.rule.family}` : `route ${part.route.family}`;
}

function proxyRule(family: 4 | 6): RuleRow {
  return { family, priority, table: proxyTable, source: null, sourceLength: 0, ...mark, iif: "", action: toTable };
}

function localDefault(family: 4 | 6): RouteRow {
  return {
    family,
    destination: Buffer.alloc(family === 4 ? 4 : 16),
    prefixLength: 0,
    table: proxyTable,
    protocol,
    type: local,
    scope: family === 4 ? hostScope : 0,
    metric: family === 4 ? 0 : 1024,
    source: null,
    mtu: null,
    nextHops: [{ gateway: null, index: loopback, weight: 1 }],
  };
}
