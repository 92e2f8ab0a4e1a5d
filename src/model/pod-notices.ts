/** What is told to the owner of a pod or service, or about a node, on the object itself, where the cluster has a place for that. */
import type { PodRow, ServiceRow } from "./tables.ts";

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

export interface ServiceNotice extends Omit<PodNotice, "pod"> {
  readonly service: Pick<ServiceRow, "namespace" | "name"> & { readonly uid: string };
}

/** On the Node object of this name. */
export interface NodeNotice extends Omit<PodNotice, "pod"> {
  readonly node: string;
}

/** As PodNoticeSink. */
export interface NoticeSink {
  notice(notice: PodNotice | ServiceNotice | NodeNotice): void;
}
