/**
 * Looks after pods of this node as their API objects tell of them, beside what the CNI made: those that have no network of Tandem are a
 * condition and told on the pod, and so is what a pod asks for and does not get. It follows the change feed, so that it costs what
 * this node's pods cost, however large the cluster.
 */
import type { Clock } from "../lib/clock.ts";
import { BoundedFrequencyRunner } from "../lib/runner.ts";
import type { PodNotice, PodNoticeSink } from "../model/pod-notices.ts";
import type { ConditionSink } from "../model/status.ts";
import type { TableStore } from "../model/store.ts";
import type { LocalEndpointRow, PodRow } from "../model/tables.ts";
import { unmanagedPods, unmanagedProblem } from "../observe/unmanaged.ts";

/** ms between looks, when something changed and when nothing did. */
const intervalMs = { least: 1_000, most: 10_000 } as const;
/** ms that a pod may seem to have no network: its objects and the CNI's calls come in any order. */
const graceMs = 30_000;
/** ms after which it is told on the pod again: events live for an hour. */
const againMs = 1_800_000;

/** What a pod asks for by annotations, and this node does not do. */
export interface Ignored {
  /** In one word: the reason of the Event. */
  readonly reason: "BandwidthIgnored" | "VisibilityIgnored";
  readonly annotations: readonly string[];
  readonly because: string;
}

export interface PodWatchOptions {
  readonly store: Pick<TableStore, "table" | "onChange">;
  readonly nodeName: string;
  readonly ignored: (pod: PodRow) => readonly Ignored[];
  readonly conditions: ConditionSink;
  readonly notices: PodNoticeSink;
  readonly clock: Clock;
}

interface Seen {
  readonly uid: string;
  /** ms of the monotonic clock; null: it has a network of Tandem. */
  unmanagedSince: number | null;
  toldMs: number | null;
  /** What it asks for was told. */
  asked: boolean;
}

export class PodWatch {
  readonly #options: PodWatchOptions;
  readonly #runner: BoundedFrequencyRunner;
  readonly #pods = new Map<string, PodRow>();
  readonly #seen = new Map<string, Seen>();
  /** Last endpoint of a pod whose device went: its object may be there for a while. */
  readonly #former = new Map<string, LocalEndpointRow>();
  #unmanaged: readonly PodRow[] = [];
  #unsubscribe: () => void = () => undefined;

  constructor(options: PodWatchOptions) {
    this.#options = options;
    this.#runner = new BoundedFrequencyRunner({
      clock: options.clock,
      minIntervalMs: intervalMs.least,
      maxIntervalMs: intervalMs.most,
      action: async () => this.#look(),
    });
  }

  /** Once the endpoints of before and the cluster are known. */
  start(): void {
    const { store, nodeName } = this.#options;
    for (const [key, pod] of store.table("pods")) if (pod.node === nodeName) this.#pods.set(key, pod);
    this.#unsubscribe = store.onChange(({ table, key, before, after }) => {
      if (table === "pods") this.#follow(key, after as PodRow | undefined);
      else if (table === "localEndpoints") this.#followEndpoint(before, after);
    });
    this.#runner.trigger();
  }

  async stop(): Promise<void> {
    this.#unsubscribe();
    await this.#runner.stop();
  }

  /** Pods of this node without a network of Tandem, for longer than a moment. */
  unmanaged(): readonly PodRow[] {
    return this.#unmanaged;
  }

  #follow(key: string, pod: PodRow | undefined): void {
    if (pod?.node === this.#options.nodeName) this.#pods.set(key, pod);
    else if (!this.#pods.delete(key)) return;
    this.#runner.trigger();
  }

  #followEndpoint(before: unknown, after: unknown): void {
    const row = before as LocalEndpointRow | undefined;
    if (row !== undefined && after === undefined && this.#pods.has(row.pod)) this.#former.set(row.pod, row);
    this.#runner.trigger();
  }

  #look(): void {
    const { store, conditions, nodeName, clock } = this.#options;
    for (const pod of this.#former.keys()) if (!this.#pods.has(pod)) this.#former.delete(pod);
    const ending = [...this.#former].flatMap(([key, row]) => (hasAddressOf(this.#pods.get(key), row) ? row : []));
    const endpoints = [...store.table("localEndpoints").values(), ...ending];
    const without = new Set(unmanagedPods(this.#pods.values(), endpoints));
    const now = clock.monotonicMs();
    const unmanaged: PodRow[] = [];
    for (const [key, pod] of this.#pods) {
      const seen = this.#seenOf(key, pod);
      this.#tellIgnored(pod, seen);
      if (!without.has(pod)) {
        seen.unmanagedSince = null;
        continue;
      }
      seen.unmanagedSince ??= now;
      if (now - seen.unmanagedSince < graceMs) continue;
      unmanaged.push(pod);
      if (seen.toldMs === null || now - seen.toldMs >= againMs) {
        seen.toldMs = now;
        this.#tell(
          pod,
          "Unmanaged",
          "has no network of Tandem: no policy is enforced for it here. Delete it, so that it is made anew",
        );
      }
    }
    for (const key of this.#seen.keys()) if (!this.#pods.has(key)) this.#seen.delete(key);
    this.#unmanaged = unmanaged;
    conditions.report("unmanaged", unmanaged.length === 0 ? [] : [unmanagedProblem(nodeName, unmanaged)]);
  }

  /** Another pod of that name is as new. */
  #seenOf(key: string, { uid }: PodRow): Seen {
    const known = this.#seen.get(key);
    if (known?.uid === uid) return known;
    const seen = { uid, unmanagedSince: null, toldMs: null, asked: false };
    this.#seen.set(key, seen);
    return seen;
  }

  #tellIgnored(pod: PodRow, seen: Seen): void {
    if (seen.asked) return;
    const ignored = this.#options.ignored(pod);
    for (const { reason, annotations, because } of ignored) {
      const [noun, verb] = annotations.length > 1 ? ["annotations", "have"] : ["annotation", "has"];
      this.#tell(pod, reason, `${noun} ${annotations.join(" and ")} ${verb} no effect: ${because}`);
    }
    seen.asked = ignored.length > 0;
  }

  #tell(pod: PodRow, reason: string, message: string): void {
    const { namespace, name, uid } = pod;
    // A manifest's pod has no uid, and no events.
    const notice: PodNotice = { pod: { namespace, name, uid }, type: "Warning", reason, message };
    if (uid !== "") this.#options.notices.notice(notice);
  }
}

/** It is still the pod's last network: a pod whose sandbox another plugin made anew has others. */
function hasAddressOf(pod: PodRow | undefined, { ipv4, ipv6 }: LocalEndpointRow): boolean {
  return pod?.addresses.some(({ text }) => text === ipv4?.text || text === ipv6?.text) ?? false;
}
