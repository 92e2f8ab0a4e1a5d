/** Writes the status of one pod: the newest view counts, one request at a time, again until it is written. */
import { Backoff } from "../../lib/backoff.ts";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { type KubeClient, isStatus, kinds } from "../../kube/index.ts";
import type { Logger } from "../../model/logging.ts";
import { type KubeletPod, podTitle } from "./pod.ts";
import { podStatus, type PodView } from "./pod-status.ts";
import { type Seen, writeStatus } from "./write-status.ts";

const retry = { firstMs: 200, maxMs: 10_000 } as const;

export interface PodPublisher {
  /** Returns at once. */
  publish(pod: KubeletPod, view: PodView): void;
  /** Deletes the pod for good, after its last status is written. */
  remove(pod: KubeletPod, signal: AbortSignal): Promise<void>;
}

export interface ApiPublisherOptions {
  readonly client: Pick<KubeClient, "get" | "patch" | "delete">;
  readonly clock: Clock;
  readonly log: Logger;
  /** The kubelet's stop. */
  readonly signal: AbortSignal;
}

export class ApiPublisher implements PodPublisher {
  readonly #options: ApiPublisherOptions;
  #next: { readonly pod: KubeletPod; readonly view: PodView } | null = null;
  #writing: Promise<void> | null = null;
  /** As of the last write, and the version that the watch had told before it. */
  #written: { readonly object: Seen; readonly told: unknown } | null = null;
  #gone = false;

  constructor(options: ApiPublisherOptions) {
    this.#options = options;
  }

  publish(pod: KubeletPod, view: PodView): void {
    this.#next = { pod, view };
    this.#writing ??= this.#write();
  }

  async remove({ metadata: { namespace, name, uid } }: KubeletPod, signal: AbortSignal): Promise<void> {
    await this.#writing;
    try {
      await this.#options.client.delete(kinds.pods, { namespace, name }, { uid, gracePeriodSeconds: 0, signal });
    } catch (error) {
      // Another pod has its name: this one is gone.
      if (!isStatus(error, 409)) throw error;
    }
  }

  async #write(): Promise<void> {
    const { client, clock, log, signal } = this.#options;
    const backoff = new Backoff(retry);
    // What changes in one go is one request.
    await null;
    while (this.#next !== null && !this.#gone && !signal.aborted) {
      const { pod, view } = this.#next;
      this.#next = null;
      const { namespace, name, uid } = pod.metadata;
      const told = pod.metadata.resourceVersion;
      try {
        const object = await writeStatus(
          client,
          kinds.pods,
          { namespace, name },
          uid,
          (status, object) =>
            podStatus({ ...pod, metadata: { ...pod.metadata, ...deletion(object) } }, view, status, clock.now()),
          signal,
          // What the watch told since is newer, or it echoes an older write of ours: then the API server says so.
          this.#written !== null && this.#written.told === told ? this.#written.object : pod,
        );
        this.#written = object === null ? null : { object, told };
        this.#gone = object === null;
        backoff.reset();
      } catch (error) {
        if (signal.aborted) break;
        this.#written = null;
        this.#next ??= { pod, view };
        log.warn({ pod: podTitle(pod), error: messageOf(error) }, "the pod's status cannot be written");
        await clock.sleep(backoff.next(), signal).catch(() => undefined);
      }
    }
    this.#writing = null;
  }
}

function deletion({ metadata: { deletionTimestamp } }: Seen): { readonly deletionTimestamp?: string } {
  return deletionTimestamp === undefined ? {} : { deletionTimestamp };
}
