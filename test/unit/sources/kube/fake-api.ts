/** An API server as reflectors see it: objects by kind, and watches that tell of every change at once. */
import type { KubeKind, KubeObject, Listing, ListOptions, ObjectName, WatchEvent } from "../../../../src/kube/index.ts";
import { objectKey, resourceName } from "../../../../src/kube/index.ts";
import { statusError } from "../../../../src/kube/errors.ts";
import type { Watch, WatchOptions } from "../../../../src/kube/watch.ts";

class Stream implements AsyncIterable<readonly WatchEvent[]> {
  readonly #steps: (readonly WatchEvent[] | Error)[] = [];
  #wake: () => void = () => undefined;

  push(step: readonly WatchEvent[] | Error): void {
    this.#steps.push(step);
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<readonly WatchEvent[]> {
    for (;;) {
      const step = this.#steps.shift();
      if (step instanceof Error) throw step;
      if (step !== undefined) yield step;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}

export class FakeApi {
  readonly history = 0;
  readonly accessProblem: string | null = null;
  /** Thrown by every request while it is set. */
  failing: Error | null = null;
  readonly #objects = new Map<string, Map<string, KubeObject>>();
  readonly #streams = new Map<string, Set<Stream>>();
  #version = 0;

  /** Made or changed. */
  put(kind: KubeKind, object: KubeObject): void {
    const objects = this.#objectsOf(kind);
    const key = objectKey(object);
    const type = objects.has(key) ? "MODIFIED" : "ADDED";
    const written = { ...object, metadata: { ...object.metadata, resourceVersion: String(++this.#version) } };
    objects.set(key, written);
    this.#tell(kind, [{ type, object: this.#typed(kind, written) }]);
  }

  remove(kind: KubeKind, name: ObjectName): void {
    const objects = this.#objectsOf(kind);
    const key = objectKey({ metadata: name });
    const object = objects.get(key);
    if (object === undefined) throw new Error(`there is no ${key}`);
    objects.delete(key);
    const metadata = { ...object.metadata, resourceVersion: String(++this.#version) };
    this.#tell(kind, [{ type: "DELETED", object: this.#typed(kind, { ...object, metadata }) }]);
  }

  /** All watches break off. */
  cut(error: Error): void {
    for (const streams of this.#streams.values()) {
      for (const stream of streams) stream.push(error);
      streams.clear();
    }
  }

  async list<T extends KubeObject>(
    kind: KubeKind<T>,
    _options: ListOptions,
    onObject: (object: T) => void,
  ): Promise<Listing> {
    if (this.failing !== null) throw this.failing;
    const objects = [...this.#objectsOf(kind).values()];
    for (const object of objects) onObject(this.#typed(kind, object) as T);
    return { resourceVersion: String(this.#version), objects: objects.length, pages: 1 };
  }

  async watch(kind: KubeKind, { signal }: WatchOptions): Promise<Watch> {
    if (this.failing !== null) throw this.failing;
    const streams = this.#streams.get(resourceName(kind)) ?? new Set<Stream>();
    this.#streams.set(resourceName(kind), streams);
    const stream = new Stream();
    streams.add(stream);
    signal?.addEventListener("abort", () => stream.push(signal.reason as Error));
    return { events: stream };
  }

  async get<T extends KubeObject>(): Promise<T> {
    throw statusError("it", 404, {});
  }

  #objectsOf(kind: KubeKind): Map<string, KubeObject> {
    const known = this.#objects.get(resourceName(kind)) ?? new Map<string, KubeObject>();
    this.#objects.set(resourceName(kind), known);
    return known;
  }

  #typed({ group, version, kind }: KubeKind, object: KubeObject): KubeObject {
    return { apiVersion: group === "" ? version : `${group}/${version}`, kind, ...object };
  }

  #tell(kind: KubeKind, events: readonly WatchEvent[]): void {
    for (const stream of this.#streams.get(resourceName(kind)) ?? []) stream.push(events);
  }
}
