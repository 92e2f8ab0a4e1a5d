/** GET /v1/health: what probing the other nodes has found (`tandem health --json`). */

export interface NodeHealthDto {
  readonly node: string;
  /** unknown: not asked often enough yet, or there is no way to ask; partly: some paths answer. */
  readonly state: "unknown" | "reachable" | "partly" | "unreachable";
  /** ISO time since when it is that; null: it was not looked at. */
  readonly since: string | null;
  /** An agent of Tandem takes TCP there; null: not known. */
  readonly agent: boolean | null;
  /** What is wrong, and what to do about it; empty: nothing. */
  readonly problems: readonly { readonly code: string; readonly text: string; readonly remedy: string }[];
  readonly paths: readonly NodePathDto[];
  /** Packets that the route takes and that are lost; carried: the largest that arrives, null: not known (yet). */
  readonly mtu: readonly { readonly family: 4 | 6; readonly claimed: number; readonly carried: number | null }[];
}

export interface NodePathDto {
  /** icmp, tcp: the node's address; pods: one of its pod CIDR. */
  readonly kind: "icmp" | "tcp" | "pods";
  readonly address: string;
  /** Of a route by several devices the one that is tried; null: as the routes say. */
  readonly device: string | null;
  readonly state: "unknown" | "answers" | "silent";
  readonly since: string;
  /** ISO time of the last answer; null: there was none since the agent started. */
  readonly answered: string | null;
  /** Of the last 64 answers. */
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
  readonly sent: number;
  readonly lost: number;
  /** What was said last instead of an answer; null: nothing. */
  readonly told: string | null;
}
