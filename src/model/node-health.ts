/** What probing other nodes has found: rows of tables say what holds, reports also how well it answers at this moment. */
import type { HistogramData } from "../lib/histogram.ts";
import type { Address } from "./ip.ts";

/** icmp, tcp: an address of the node; pods: an address of its pod CIDR, so that the route to its pods is tried. */
export type PathKind = "icmp" | "tcp" | "pods";

/** One way to a node that is probed by itself. */
export interface NodePath {
  readonly kind: PathKind;
  readonly address: Address;
  /** Of several that the route leads through the one that is tried; null: as the routes say. */
  readonly device: { readonly ifindex: number; readonly name: string } | null;
}

export interface SilentPath extends NodePath {
  /** ms since the epoch of its last answer; null: there was none since this agent started. */
  readonly answered: number | null;
}

/** A packet that the route takes is lost on the way. */
export interface MtuMismatch {
  readonly family: 4 | 6;
  /** Bytes that the route and its devices here take. */
  readonly claimed: number;
  /** The largest that was answered; null: not known yet, or none. */
  readonly carried: number | null;
}

/** Changes when something begins or ends to answer, and not with each answer. */
export interface NodeHealthRow {
  readonly node: string;
  /** unknown: neither answers nor silence enough; partly: some paths answer. */
  readonly state: "unknown" | "reachable" | "partly" | "unreachable";
  /** ms since the epoch since when it is that. */
  readonly since: number;
  readonly silent: readonly SilentPath[];
  /** Its agent has taken a TCP connection since it last refused one; null: none of both. */
  readonly agent: boolean | null;
  /** Families in which its pods are not to be reached, after they were. */
  readonly podsLost: readonly (4 | 6)[];
  readonly mtu: readonly MtuMismatch[];
}

/** One path now. */
export interface PathReport extends NodePath {
  readonly state: "unknown" | "answers" | "silent";
  /** ms since the epoch. */
  readonly since: number;
  readonly answered: number | null;
  /** Of the last answers, µs; null: there was none. */
  readonly p50Us: number | null;
  readonly p99Us: number | null;
  readonly sent: number;
  readonly lost: number;
  /** What somebody on the way said last instead of an answer; null: nothing. */
  readonly told: string | null;
}

/** All questions of a kind since the agent started. */
export interface ProbeTotals {
  readonly kind: PathKind;
  readonly sent: number;
  readonly lost: number;
  /** Of those that were answered. */
  readonly seconds: HistogramData;
}

export interface NodeHealthReport {
  readonly node: string;
  readonly paths: readonly PathReport[];
}
