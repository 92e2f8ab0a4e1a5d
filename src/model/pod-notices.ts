/** What is told to the owner of a pod on the pod itself, where the cluster has a place for that. */
import type { PodRow } from "./tables.ts";

export interface PodNotice {
  readonly pod: Pick<PodRow, "namespace" | "name" | "uid">;
  readonly type: "Normal" | "Warning";
  /** In one word, as BandwidthIgnored. */
  readonly reason: string;
  readonly message: string;
}

/** Never waits and never fails: whoever notices something has other work. */
export interface PodNoticeSink {
  notice(notice: PodNotice): void;
}
