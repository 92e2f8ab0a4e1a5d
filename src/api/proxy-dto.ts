/**
 * How tandem-proxy and the agent talk, and what the agent answers about it. The proxy opens the conversation on the agent's socket (an upgrade
 * of GET /v1/proxy/link), and both send JSON lines from then on. It is the proxy that comes again when the agent was away.
 * GET /v1/proxy (ProxyDto), /v1/proxy/rules (ProxyRulesDto).
 */
import type { HistogramData } from "../lib/histogram.ts";
import type { DnsCounts } from "../native/dns-contract.ts";
import type { L7Record, L7Tables } from "../native/l7-contract.ts";

export const linkPath = "/v1/proxy/link";
/** Raised when a message changes so that an older side would take it for something else. */
export const linkProtocol = "tandem-proxy/1";
/** Characters of a message: tables of a node with thousands of rules take some MB. */
export const linkLimit = 256 << 20;

/** active: flows come to it; draining: a successor has them, or it was told to end; standby: it waits to be needed. */
export type ProxyState = "active" | "draining" | "standby";

export type ToProxy =
  | { readonly type: "config"; readonly generation: number; readonly tables: L7Tables }
  /** Whether somebody looks at records. */
  | { readonly type: "watch"; readonly records: boolean };

/** Rules that cannot be used: what they name stays closed. */
export interface RefusedRules {
  readonly ruleSet: number;
  readonly message: string;
}

export interface ProxyHello {
  readonly version: string;
  readonly pid: number;
  /** ms since 1970. */
  readonly started: number;
  readonly state: ProxyState;
}

export interface RuleCount {
  /** L7RuleSet.id */
  readonly ruleSet: number;
  /** That they allowed. */
  readonly requests: number;
  /** That no rule allowed where these were asked. Not set, by a proxy before 0.2: it does not count them. */
  readonly denied?: number;
  /** Of those that were answered. */
  readonly answered: number;
  /** Microseconds, of those that were answered. */
  readonly latencySum: number;
  readonly latencyMax: number;
}

/** Requests that no rule allows. */
export interface DeniedCount {
  readonly protocol: string;
  /** Whose policy said so; null: they were no requests that may be passed on. */
  readonly direction: "egress" | "ingress" | null;
  readonly source: number;
  readonly destination: number;
  readonly requests: number;
}

export interface ProxyStats {
  /** Open connections of clients, and all since the start. */
  readonly connections: number;
  readonly connectionsTotal: number;
  /** Connections that were not taken: there were too many, too much memory was in use, or no more files may be open. */
  readonly refused: number;
  readonly requests: number;
  /** Bytes of all connections together. */
  readonly memory: number;
  /** Records that nobody could take in time. */
  readonly recordsLost: number;
  readonly rules: readonly RuleCount[];
  readonly denied: readonly DeniedCount[];
  /** How often each limit took effect, by its setting's name (docs/metrics.md). Not set, as what follows, by a proxy before 0.2. */
  readonly limits?: Readonly<Record<string, number>>;
  readonly dns?: DnsCounts;
  /** Seconds. */
  readonly durations?: ProxyDurations;
}

export interface ProxyDurations {
  /** From a request's first byte to that of its answer, by protocol. */
  readonly requests: readonly (readonly [protocol: string, HistogramData])[];
  /** That answers of DNS waited for their addresses to be open. */
  readonly dnsHold: HistogramData;
}

export type FromProxy =
  | ({ readonly type: "hello" } & ProxyHello)
  | { readonly type: "state"; readonly state: ProxyState }
  | { readonly type: "applied"; readonly generation: number; readonly refused: readonly RefusedRules[] }
  | ({ readonly type: "stats" } & ProxyStats)
  | { readonly type: "records"; readonly lost: number; readonly records: readonly L7Record[] };

export interface ProxyInstanceDto extends ProxyHello {
  /** ms since 1970. */
  readonly connectedSince: number;
  /** Of the tables that it works with; null: none yet. */
  readonly generation: number | null;
  /** null: none came yet. */
  readonly stats: ProxyStats | null;
}

export interface ProxyDto {
  /** The agent's setting l7Proxy. */
  readonly mode: "on" | "off";
  /** Of the tables that hold now. */
  readonly generation: number;
  readonly ruleSets: number;
  readonly instances: readonly ProxyInstanceDto[];
}

export interface ProxyRulesDto {
  readonly rules: readonly {
    readonly ruleSet: number;
    readonly protocol: string;
    /** As the policies write them, canonical. */
    readonly text: string;
    /** "egress of identity 300". */
    readonly usedBy: readonly string[];
    readonly requests: number;
    /** Microseconds; null: none was answered yet. */
    readonly latencyMean: number | null;
    readonly latencyMax: number | null;
    /** Why the proxy cannot use them; null: it does. */
    readonly refused: string | null;
  }[];
  readonly denied: readonly {
    readonly protocol: string;
    readonly direction: "egress" | "ingress" | null;
    /** Identities. */
    readonly source: number;
    readonly destination: number;
    readonly requests: number;
  }[];
}
