/**
 * Events on pods, services and nodes (core/v1 Event): what `kubectl describe` shows. They are courtesy, so they wait for nobody and nobody waits for
 * them: one that cannot be written is counted and forgotten.
 *
 * The same said again is the same Event, whose count and time are brought up to date from time to time. Its name comes from what it says: an
 * agent that starts anew finds that it was said, and says nothing. However much there is to say, the API server gets a burst and
 * then a trickle.
 */
import { createHash } from "node:crypto";
import { isStatus, type KubeClient, type KubeObject, kinds } from "../kube/index.ts";
import type { Clock } from "../lib/clock.ts";
import type { NodeNotice, NoticeSink, PodNotice, ServiceNotice } from "../model/pod-notices.ts";

/** Requests that may come at once, and ms in which one more is earned. */
const burst = 20;
const earnMs = 3_000;
/** Events that wait for that; what comes then is dropped. */
const longestQueue = 256;
/** ms for which a repetition is only counted. */
const quietMs = 600_000;
/** Events that are remembered: an older one that is said again is said anew. */
const remembered = 1_000;
/** Longest name of an object, less the digest and its dot. */
const longestPrefix = 253 - 17;

export interface EventRecorderOptions {
  readonly client: Pick<KubeClient, "create" | "patch">;
  /** "tandem-agent", and its node. */
  readonly component: string;
  readonly nodeName: string;
  readonly clock: Pick<Clock, "now" | "monotonicMs" | "sleep">;
}

export interface EventCounts {
  readonly written: number;
  /** Not written because there was too much to say. */
  readonly dropped: number;
  readonly failed: number;
}

interface Said {
  count: number;
  readonly first: string;
  /** ms of the monotonic clock of the last request; null: none succeeded. */
  writtenMs: number | null;
  /** The API server has it. */
  exists: boolean;
}

type Notice = PodNotice | ServiceNotice | NodeNotice;

export class EventRecorder implements NoticeSink {
  readonly #options: EventRecorderOptions;
  readonly #stopping = new AbortController();
  /** By the name of the Event, the one that was said longest ago first. */
  readonly #said = new Map<string, Said>();
  readonly #queue = new Map<string, Notice>();
  #working: Promise<void> | null = null;
  #tokens = burst;
  #earnedMs: number;
  #counts: EventCounts = { written: 0, dropped: 0, failed: 0 };

  constructor(options: EventRecorderOptions) {
    this.#options = options;
    this.#earnedMs = options.clock.monotonicMs();
  }

  counts(): EventCounts {
    return this.#counts;
  }

  notice(notice: Notice): void {
    const { clock } = this.#options;
    const name = nameOf(notice);
    const said = this.#remember(name);
    said.count++;
    const isQuiet = said.writtenMs !== null && clock.monotonicMs() - said.writtenMs < quietMs;
    if (isQuiet || this.#queue.has(name) || this.#stopping.signal.aborted) return;
    if (this.#queue.size >= longestQueue) {
      this.#count("dropped");
      return;
    }
    this.#queue.set(name, notice);
    this.#working ??= this.#work();
  }

  /** Ends what is under way. What waits is not said. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#working;
  }

  #remember(name: string): Said {
    const said = this.#said.get(name) ?? {
      count: 0,
      first: timeOf(this.#options.clock),
      writtenMs: null,
      exists: false,
    };
    this.#said.delete(name);
    this.#said.set(name, said);
    for (const oldest of this.#said.keys()) {
      if (this.#said.size <= remembered) break;
      this.#said.delete(oldest);
    }
    return said;
  }

  async #work(): Promise<void> {
    const { signal } = this.#stopping;
    for (const [name, notice] of this.#queue) {
      // Rejected by stop() only.
      while (!signal.aborted && !this.#pay()) await this.#options.clock.sleep(earnMs, signal).catch(() => undefined);
      if (signal.aborted) return;
      await this.#write(notice, name, this.#remember(name));
      this.#queue.delete(name);
    }
    this.#working = null;
  }

  async #write(notice: Notice, name: string, said: Said): Promise<void> {
    const { client, clock } = this.#options;
    const { signal } = this.#stopping;
    const { namespace } = aboutOf(notice);
    try {
      if (said.exists) {
        const news = { count: said.count, lastTimestamp: timeOf(clock) };
        await client.patch(kinds.events, { namespace, name }, news, { signal });
      } else {
        await client.create(kinds.events, this.#event(notice, name, said), { signal });
      }
      said.exists = true;
      said.writtenMs = clock.monotonicMs();
      this.#count("written");
    } catch (error) {
      // An agent before this one said it.
      said.exists = isStatus(error, 409);
      said.writtenMs = said.exists ? clock.monotonicMs() : null;
      if (!said.exists) this.#count("failed");
    }
  }

  #event(notice: Notice, name: string, { count, first }: Said): KubeObject {
    const { type, reason, message } = notice;
    const { component, nodeName, clock } = this.#options;
    const { kind, namespace, name: object, uid } = aboutOf(notice);
    return {
      metadata: { name, namespace },
      involvedObject: { apiVersion: "v1", kind, namespace, name: object, uid },
      type,
      reason,
      message,
      source: { component, host: nodeName },
      firstTimestamp: first,
      lastTimestamp: timeOf(clock),
      count,
    };
  }

  #pay(): boolean {
    const earned = Math.floor((this.#options.clock.monotonicMs() - this.#earnedMs) / earnMs);
    this.#earnedMs += earned * earnMs;
    this.#tokens = Math.min(burst, this.#tokens + earned);
    if (this.#tokens === 0) return false;
    this.#tokens--;
    return true;
  }

  #count(which: keyof EventCounts): void {
    this.#counts = { ...this.#counts, [which]: this.#counts[which] + 1 };
  }
}

function aboutOf(notice: Notice) {
  // A node has no namespace: its events are in default, and its name is their uid, as the kubelet writes them.
  if ("node" in notice) return { kind: "Node", namespace: "default", name: notice.node, uid: notice.node };
  return "pod" in notice ? { kind: "Pod", ...notice.pod } : { kind: "Service", ...notice.service };
}

/** The same for the same object and text, as client-go's NAME.HEX. */
function nameOf(notice: Notice): string {
  const { name, uid } = aboutOf(notice);
  const digest = createHash("sha256").update(`${uid}\0${notice.reason}\0${notice.message}`).digest("hex").slice(0, 16);
  return `${name.slice(0, longestPrefix).replace(/[.-]+$/, "")}.${digest}`;
}

/** metav1.Time: seconds. */
function timeOf(clock: Pick<Clock, "now">): string {
  return new Date(clock.now()).toISOString().replace(/\.\d+Z$/, "Z");
}
