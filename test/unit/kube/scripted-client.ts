/**
 * A Kubernetes client whose answers the test gives: what a reflector asks waits here until the test takes it. Watches that say nothing
 * for too long fail by the test's clock, as the real ones do.
 */
import type { CallOptions, KubeClient, Listing, ListOptions } from "../../../src/kube/client.ts";
import { KubeConnectionError, statusError } from "../../../src/kube/errors.ts";
import type { KubeKind, ObjectName } from "../../../src/kube/kinds.ts";
import type { KubeObject, WatchEvent } from "../../../src/kube/objects.ts";
import type { Watch, WatchOptions } from "../../../src/kube/watch.ts";
import { Watchdog } from "../../../src/kube/watchdog.ts";
import type { Clock } from "../../../src/lib/clock.ts";

export interface AskedList {
  readonly options: ListOptions;
  answer(objects: readonly KubeObject[], resourceVersion: string): void;
  /** @param objects that were handed over before it failed */
  fail(error: Error, objects?: readonly KubeObject[]): void;
}

export interface AskedGet {
  readonly name: string;
  answer(object: KubeObject): void;
  fail(error: Error): void;
}

export interface OpenWatch {
  readonly options: WatchOptions;
  /** What comes together. */
  send(...events: readonly WatchEvent[]): void;
  /** As the API server ends it after its time. */
  end(): void;
  fail(error: Error): void;
}

interface AskedWatch {
  readonly options: WatchOptions;
  open(): OpenWatch;
  fail(error: Error): void;
}

export class ScriptedClient implements Pick<KubeClient, "list" | "watch" | "get" | "history"> {
  history = 0;
  readonly #clock: Clock;
  readonly #lists: AskedList[] = [];
  readonly #watches: AskedWatch[] = [];
  readonly #gets: AskedGet[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** What is asked and not yet taken, as "list list watch". */
  get asked(): string {
    const names = [this.#lists.map(() => "list"), this.#watches.map(() => "watch"), this.#gets.map(() => "get")];
    return names.flat().join(" ");
  }

  takeList(): AskedList {
    return taken(this.#lists, "list", this.asked);
  }

  takeGet(): AskedGet {
    return taken(this.#gets, "get", this.asked);
  }

  openWatch(): OpenWatch {
    return taken(this.#watches, "watch", this.asked).open();
  }

  refuseWatch(error: Error): void {
    taken(this.#watches, "watch", this.asked).fail(error);
  }

  list<T extends KubeObject>(
    _kind: KubeKind<T>,
    options: ListOptions,
    onObject: (object: T) => void,
  ): Promise<Listing> {
    return new Promise((resolve, reject) => {
      const hand = (objects: readonly KubeObject[]) => {
        for (const object of objects) onObject(object as T);
      };
      options.signal?.addEventListener("abort", () => reject(options.signal?.reason));
      this.#lists.push({
        options,
        answer: (objects, resourceVersion) => {
          hand(objects);
          resolve({ resourceVersion, objects: objects.length, pages: 1 });
        },
        fail: (error, objects = []) => {
          hand(objects);
          reject(error);
        },
      });
    });
  }

  watch(_kind: KubeKind, options: WatchOptions): Promise<Watch> {
    return new Promise((resolve, reject) => {
      options.signal?.addEventListener("abort", () => reject(options.signal?.reason));
      this.#watches.push({
        options,
        fail: reject,
        open: () => {
          const stream = new EventStream(options, this.#clock);
          resolve({ events: stream });
          return stream;
        },
      });
    });
  }

  get<T extends KubeObject>(_kind: KubeKind<T>, { name }: ObjectName, { signal }: CallOptions = {}): Promise<T> {
    return new Promise((resolve, reject) => {
      signal?.addEventListener("abort", () => reject(signal.reason));
      this.#gets.push({ name, answer: (object) => resolve(object as T), fail: reject });
    });
  }
}

class EventStream implements OpenWatch, AsyncIterable<readonly WatchEvent[]> {
  readonly options: WatchOptions;
  readonly #steps: (readonly WatchEvent[] | Error | "end")[] = [];
  readonly #dog: Watchdog;
  #wake: () => void = () => undefined;

  constructor(options: WatchOptions, clock: Clock) {
    this.options = options;
    this.#dog = new Watchdog(clock, options.silenceMs, () => this.fail(timeout()));
    options.signal?.addEventListener("abort", () => this.fail(options.signal?.reason as Error));
  }

  send(...events: readonly WatchEvent[]): void {
    this.#dog.feed();
    this.#step(events);
  }

  end(): void {
    this.#step("end");
  }

  fail(error: Error): void {
    this.#step(error);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<readonly WatchEvent[]> {
    try {
      for (;;) {
        const step = this.#steps.shift();
        if (step === undefined) {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        } else if (step === "end") return;
        else if (step instanceof Error) throw step;
        else yield step;
      }
    } finally {
      this.#dog.stop();
    }
  }

  #step(step: readonly WatchEvent[] | Error | "end"): void {
    this.#steps.push(step);
    this.#wake();
  }
}

function taken<T>(queue: T[], what: string, asked: string): T {
  const first = queue.shift();
  if (first === undefined) throw new Error(`no ${what} is asked for, but: ${asked || "nothing"}`);
  return first;
}

/** What the transport makes of silence. */
export function timeout(): KubeConnectionError {
  return new KubeConnectionError({
    code: "KUBE_TIMEOUT",
    object: "https://api.test",
    message: "nothing came",
    remedy: "-",
  });
}

export function unreachable(): KubeConnectionError {
  return new KubeConnectionError({
    code: "KUBE_UNREACHABLE",
    object: "https://api.test",
    message: "refused",
    remedy: "-",
  });
}

export function status(code: number, reason = "", retryAfterMs: number | null = null): Error {
  return statusError("pods", code, { code, reason, message: "" }, retryAfterMs);
}

export function pod(name: string, resourceVersion: string, more: Readonly<Record<string, unknown>> = {}): KubeObject {
  return { kind: "Pod", metadata: { namespace: "shop", name, resourceVersion }, ...more };
}

export function added(object: KubeObject): WatchEvent {
  return { type: "ADDED", object };
}

export function modified(object: KubeObject): WatchEvent {
  return { type: "MODIFIED", object };
}

export function deleted(object: KubeObject): WatchEvent {
  return { type: "DELETED", object };
}

export function bookmark(resourceVersion: string): WatchEvent {
  return { type: "BOOKMARK", resourceVersion };
}

export function expired(): WatchEvent {
  return { type: "ERROR", status: { code: 410, reason: "Expired", message: "too old resource version" } };
}
