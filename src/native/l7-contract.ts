/**
 * The contract with the L7 engine of the addon (`addon/src/l7/`), in the terms of `contract.ts`. The engine has threads of its own and moves all
 * bytes there; JavaScript gives it tables and limits and takes batches of records. No request waits for the event loop.
 */

/** A regular expression of RE2 that has to match the whole text. */
export type L7Pattern = string;

export interface L7HeaderMatch {
  /** Lower case. */
  readonly name: string;
  /** null: the header has to be there, whatever it says. */
  readonly value: string | null;
  /** What becomes of a request whose header is not so. All but `refuse` let it pass (cilium.io/v2, headerMatches.mismatch). */
  readonly mismatch: "refuse" | "log" | "add" | "remove" | "replace";
}

export interface L7HttpRule {
  readonly method: L7Pattern | null;
  readonly path: L7Pattern | null;
  readonly host: L7Pattern | null;
  readonly headers: readonly L7HeaderMatch[];
}

export interface L7KafkaRule {
  /** Numbers of the protocol; empty: any. */
  readonly apiKeys: readonly number[];
  readonly apiVersion: number | null;
  readonly clientId: string | null;
  readonly topic: string | null;
}

/** A name of DNS in lower case: with its last dot in DNS rules, without in those of TLS. */
export interface L7NameRule {
  readonly pattern: L7Pattern;
}

/** What one entry of toPorts demands: one of `rules` has to match. */
export type L7RuleSet = { readonly id: number } & (
  | { readonly protocol: "http"; readonly rules: readonly L7HttpRule[] }
  | { readonly protocol: "kafka"; readonly rules: readonly L7KafkaRule[] }
  | { readonly protocol: "dns" | "tls"; readonly rules: readonly L7NameRule[] }
);

/** Whole: what is not in it is gone. */
export interface L7Tables {
  readonly ruleSets: readonly L7RuleSet[];
  /** For the kernel's policy sets by number: what their redirecting groups demand. A number's content never changes. */
  readonly groups: readonly {
    readonly policySet: number;
    readonly direction: "egress" | "ingress";
    /** The bit of the group in the kernel's vectors. */
    readonly group: number;
    /** L7RuleSet.id */
    readonly ruleSet: number;
  }[];
}

/** One line of JSON per request, as the engine writes it. Ports and times are numbers, addresses texts. */
export interface L7Record {
  /** Milliseconds since 1970. */
  readonly time: number;
  /** tcp: it was closed before it could say anything. */
  readonly protocol: "http/1.1" | "http/2" | "kafka" | "tls" | "dns" | "tcp";
  readonly verdict: "forwarded" | "denied" | "refused" | "redirected" | "failed";
  /** denied: whose policy said so. */
  readonly direction: "egress" | "ingress" | null;
  readonly reason: string | null;
  readonly source: {
    readonly address: string;
    readonly port: number;
    readonly identity: number;
    readonly endpoint: number;
  };
  readonly destination: {
    readonly address: string;
    readonly port: number;
    readonly identity: number;
    readonly endpoint: number;
  };
  /** L7RuleSet.id of what allowed it; 0: no rule had to. */
  readonly ruleSet: number;
  /** Of denied: L7RuleSet.id of all that were asked, of the end that denied it. */
  readonly asked?: readonly number[];
  /** Microseconds from the request's first byte to the answer's; null: there was no answer. */
  readonly latency: number | null;
  readonly http?: {
    readonly method: string;
    readonly host: string;
    readonly path: string;
    readonly status: number;
    /** Of a gRPC call that was answered: its code, 0 is OK. */
    readonly grpcStatus?: number;
    /** Headers that a rule wants logged. */
    readonly mismatches?: readonly string[];
  };
  readonly kafka?: {
    readonly apiKey: number;
    readonly apiVersion: number;
    readonly correlationId: number;
    readonly clientId: string;
    readonly topics: readonly string[];
    readonly error: number;
  };
  readonly tls?: { readonly serverName: string };
  readonly dns?: {
    readonly name: string;
    readonly type: number;
    readonly code: number;
    readonly addresses: readonly string[];
    /** Seconds: of the shortest-lived record on the way to the addresses. */
    readonly ttl: number;
  };
}

/** What comes from one side: bytes; its end; that it broke off; or that the time which is waited is over, whichever side is named. */
export interface L7Step {
  readonly from: "client" | "server";
  readonly bytes: Buffer | "end" | "broke" | "late";
}

export interface L7RunOptions {
  /** What each end's policy asks; null: nothing. */
  readonly egress: readonly L7RuleSet[] | null;
  readonly ingress: readonly L7RuleSet[] | null;
  readonly normalizePath: boolean;
  /** Those of addon/src/l7/limits.h that are to be others: head (bytes), headers. */
  readonly limits: { readonly head?: number; readonly headers?: number };
}

export interface L7RunResult {
  /** What each side got; `connections`: how often the server was connected to. */
  readonly client: { readonly bytes: Buffer; readonly finished: boolean; readonly reset: boolean };
  readonly server: { readonly bytes: Buffer; readonly connections: number };
  readonly records: readonly (Pick<L7Record, "verdict" | "protocol" | "direction" | "reason" | "ruleSet"> & {
    /** JSON of what only this protocol tells: {"http":…}. */
    readonly detail: string;
  })[];
  /** Bytes that the filter holds at the end. */
  readonly memory: number;
}

export interface L7Flow {
  readonly client: { readonly address: Buffer; readonly port: number };
  readonly server: { readonly address: Buffer; readonly port: number };
  /** IANA number. */
  readonly protocol: number;
}

export interface L7EndDemand {
  /** absent: no pod of this node, or nothing is enforced there; unknown: it asks, and the rules are not in the tables. */
  readonly stance: "absent" | "open" | "refused" | "asks" | "unknown";
  readonly identity: number;
  /** L7RuleSet.id: one of them has to allow what is asked. */
  readonly ruleSets: readonly number[];
}

/** What the engine reads out of the kernel's maps below a bpffs folder, of each flow. */
export interface L7DemandReader {
  readL7Demands(
    bpffs: string,
    tables: L7Tables,
    flows: readonly L7Flow[],
  ): readonly { readonly egress: L7EndDemand; readonly ingress: L7EndDemand }[];
}

/** A filter of the engine without sockets, clocks or threads: exactly what the engine would do with these bytes. */
export interface L7Runner {
  runL7Filter(options: L7RunOptions, steps: readonly L7Step[]): L7RunResult;
}
