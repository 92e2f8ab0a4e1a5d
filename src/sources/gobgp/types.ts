/** What gobgpd tells, as plain data: the same for all versions of its API. */
import type { Address, Prefix } from "../../model/ip.ts";

export interface Global {
  readonly asn: number;
  /** "" while BGP is not started. */
  readonly routerId: string;
}

export const sessionStates = [
  "UNKNOWN",
  "IDLE",
  "CONNECT",
  "ACTIVE",
  "OPENSENT",
  "OPENCONFIRM",
  "ESTABLISHED",
] as const;
export type SessionState = (typeof sessionStates)[number];

export interface Peer {
  readonly address: Address;
  /** As the session has it; before there was one, as configured (0: any). */
  readonly asn: number;
  readonly state: SessionState;
  /** Switched off by an operator. */
  readonly adminDown: boolean;
  readonly routerId: string;
  /** ms since the epoch since when the session stands, or (not established) since when it does not; null: never did. */
  readonly since: number | null;
  /** Seconds of silence that end the session; 0: not negotiated. */
  readonly holdSeconds: number;
  readonly gracefulRestart: boolean;
  /** Of all families. */
  readonly received: number;
  readonly accepted: number;
  readonly advertised: number;
}

/** Attributes of a path, RFC 4271 and its extensions. */
export interface PathAttributes {
  readonly nextHop: Address | null;
  readonly asPath: readonly AsSegment[];
  readonly localPref: number | null;
  readonly med: number | null;
  /** "64512:100" */
  readonly communities: readonly string[];
  /** "64512:1:2" (RFC 8092) */
  readonly largeCommunities: readonly string[];
  readonly originatorId: string | null;
  readonly clusterList: readonly string[];
  /** Names of those that are there and not read ("aggregator", "unknown type 99"). */
  readonly others: readonly string[];
}

/** An AS_SET is unordered. */
export interface AsSegment {
  readonly kind: "sequence" | "set" | "confed-sequence" | "confed-set";
  readonly numbers: readonly number[];
}

export interface Path extends PathAttributes {
  readonly prefix: Prefix;
  readonly best: boolean;
  readonly withdrawn: boolean;
  /** Kept from a session that is gone (graceful restart). */
  readonly stale: boolean;
  /** An import policy rejects it: it is in no table but its peer's. */
  readonly filtered: boolean;
  /** Whom it came from; null: it is this speaker's own. */
  readonly peer: Address | null;
}

/** What a speaker announces itself. */
export interface Announcement {
  readonly prefix: Prefix;
  readonly nextHop: Address;
  /** 32-bit numbers. */
  readonly communities?: readonly number[];
  /** Three 32-bit numbers each (RFC 8092). */
  readonly largeCommunities?: readonly (readonly [number, number, number])[];
  /** One sequence of the path's AS numbers, to which the speaker adds its own when it tells an external peer. */
  readonly asPath?: readonly number[];
  readonly localPref?: number;
  readonly med?: number;
}

export type TableName = "global" | "received" | "sent";

export type WatchEvent =
  /** Everything from here on is told. */
  { readonly kind: "ready" } | { readonly kind: "peer" } | { readonly kind: "paths"; readonly paths: readonly Path[] };

export type PolicyDirection = "import" | "export";

export interface PolicyStatement {
  readonly name: string;
  readonly prefixSet: string | null;
  readonly neighborSet: string | null;
  readonly action: "accept" | "reject" | "none";
}

export interface Policy {
  readonly name: string;
  readonly statements: readonly PolicyStatement[];
}

export interface PolicyAssignment {
  readonly direction: PolicyDirection;
  readonly policies: readonly Policy[];
  readonly defaultAction: "accept" | "reject" | "none";
}

export interface DefinedSet {
  readonly name: string;
  /** Of prefix sets. */
  readonly prefixes: readonly { readonly prefix: string; readonly least: number; readonly most: number }[];
  /** Of neighbour sets. */
  readonly list: readonly string[];
}
