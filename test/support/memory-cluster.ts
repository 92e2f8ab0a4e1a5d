/**
 * What an API server keeps, in this process: versions, conflicts, preconditions, lists and watches, with faults that a test switches on.
 * It goes by the test's clock, and answers within a few turns of the event loop, so that elections and races are played out exactly.
 * What travels over HTTP is tested elsewhere.
 */
import type { KubeClient } from "../../src/kube/client.ts";
import { KubeConnectionError, statusError } from "../../src/kube/errors.ts";
import { type KubeKind, type ObjectName, objectTitle, resourceName } from "../../src/kube/kinds.ts";
import { isRecord, type KubeObject, objectKey, type WatchEvent } from "../../src/kube/objects.ts";
import type { Clock } from "../../src/lib/clock.ts";

type Method = "get" | "create" | "update" | "patch" | "apply" | "delete";
export type MemoryClient = Pick<KubeClient, Method | "list" | "listAll" | "watch" | "history">;

export interface MemoryRequest {
  readonly by: string;
  readonly method: Method | "list" | "watch";
  /** "leases.coordination.k8s.io", "pods" */
  readonly resource: string;
  /** "namespace/name"; "" for lists and watches. */
  readonly key: string;
}

type Change = Extract<WatchEvent, { readonly object: KubeObject }>;

interface Follower {
  readonly by: string;
  readonly resource: string;
  push(step: readonly WatchEvent[] | Error | "end"): void;
}

export class MemoryCluster {
  readonly #clock: Clock;
  readonly #objects = new Map<string, Map<string, KubeObject>>();
  readonly #followers = new Set<Follower>();
  readonly #changes: { readonly resource: string; readonly version: number; readonly event: Change }[] = [];
  /** Clients that do not reach it. */
  readonly #cut = new Set<string>();
  #version = 100;
  readonly requests: MemoryRequest[] = [];
  /** Asked before a request is carried out: may wait, and what it throws is the answer. */
  before: (request: MemoryRequest) => Promise<void> = async () => undefined;
  /** As `before`, when it is carried out and not yet answered. */
  after: (request: MemoryRequest) => Promise<void> = async () => undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** "create 300 by a", of writes to a kind. */
  writes(kind: KubeKind): readonly string[] {
    return this.requests
      .filter(({ resource, method }) => resource === resourceName(kind) && !/get|list|watch/.test(method))
      .map(({ method, key, by }) => `${method} ${key} by ${by}`);
  }

  all(kind: KubeKind): readonly KubeObject[] {
    return [...this.#of(resourceName(kind)).values()];
  }

  find(kind: KubeKind, key: string): KubeObject | null {
    return this.#of(resourceName(kind)).get(key) ?? null;
  }

  /** As somebody else writes it: makes it or replaces it. */
  put(kind: KubeKind, object: KubeObject): KubeObject {
    const known = this.find(kind, objectKey(object));
    const { uid = `uid-${this.#version + 1}`, ...metadata } = object.metadata;
    return this.#store(kind, { ...object, metadata: { ...metadata, uid: known?.metadata.uid ?? uid } });
  }

  remove(kind: KubeKind, key: string): void {
    const resource = resourceName(kind);
    const object = this.#of(resource).get(key);
    if (object === undefined) return;
    this.#of(resource).delete(key);
    const resourceVersion = String(++this.#version);
    this.#publish(resource, {
      type: "DELETED",
      object: { ...object, metadata: { ...object.metadata, resourceVersion } },
    });
  }

  /** From now on these clients get no answer, and their watches broke off; none named: all are reached again. */
  cut(...clients: readonly string[]): void {
    this.#cut.clear();
    for (const client of clients) this.#cut.add(client);
    for (const follower of [...this.#followers]) if (this.#cut.has(follower.by)) follower.push(unreachable());
  }

  /** As an etcd that was restored from a backup: versions from here on are given a second time. */
  goBack(version: number): void {
    this.#version = version;
  }

  client(by: string): MemoryClient {
    const ask = <T>(method: MemoryRequest["method"], kind: KubeKind, key: string, work: () => T): Promise<T> =>
      this.#ask({ by, method, resource: resourceName(kind), key }, work);
    const one = <T extends KubeObject>(method: Method, kind: KubeKind<T>, name: ObjectName, work: () => KubeObject) =>
      ask(method, kind, keyOf(name), work) as Promise<T>;
    const listed = (kind: KubeKind) =>
      ask("list", kind, "", () => ({ objects: this.all(kind), resourceVersion: String(this.#version) }));
    return {
      history: 0,
      get: (kind, name) => one("get", kind, name, () => this.#existing(kind, name)),
      create: (kind, object) => one("create", kind, object.metadata, () => this.#create(kind, object)),
      update: (kind, object) => one("update", kind, object.metadata, () => this.#replace(kind, object)),
      patch: (kind, name, patch) =>
        one("patch", kind, name, () => this.#replace(kind, merged(this.#existing(kind, name), patch) as KubeObject)),
      apply: (kind, object) =>
        one("apply", kind, object.metadata, () =>
          this.put(kind, merged(this.find(kind, objectKey(object)) ?? {}, object) as KubeObject),
        ),
      delete: (kind, name, { uid, resourceVersion } = {}) =>
        ask("delete", kind, keyOf(name), () => {
          const known = this.find(kind, keyOf(name));
          if (known === null) return false;
          this.#match(kind, name, known, { uid, resourceVersion });
          this.remove(kind, keyOf(name));
          return true;
        }),
      list: async (kind, _options, onObject) => {
        const { objects, resourceVersion } = await listed(kind);
        for (const object of objects) onObject(object as never);
        return { objects: objects.length, pages: 1, resourceVersion };
      },
      listAll: async (kind) => (await listed(kind)).objects as never,
      watch: (kind, { resourceVersion, timeoutSeconds, signal }) =>
        ask("watch", kind, "", () => ({
          events: this.#follow(by, resourceName(kind), Number(resourceVersion), timeoutSeconds * 1_000, signal),
        })),
    };
  }

  async #ask<T>(request: MemoryRequest, work: () => T): Promise<T> {
    this.requests.push(request);
    await this.before(request);
    if (this.#cut.has(request.by)) throw unreachable();
    const answer = work();
    await this.after(request);
    if (this.#cut.has(request.by)) throw unreachable();
    return answer;
  }

  #of(resource: string): Map<string, KubeObject> {
    const known = this.#objects.get(resource);
    if (known !== undefined) return known;
    const made = new Map<string, KubeObject>();
    this.#objects.set(resource, made);
    return made;
  }

  #existing(kind: KubeKind, name: ObjectName): KubeObject {
    const object = this.find(kind, keyOf(name));
    if (object === null) throw refused(kind, name, 404, "NotFound");
    return object;
  }

  #create(kind: KubeKind, object: KubeObject): KubeObject {
    if (this.find(kind, objectKey(object)) !== null) throw refused(kind, object.metadata, 409, "AlreadyExists");
    return this.put(kind, object);
  }

  #replace(kind: KubeKind, object: KubeObject): KubeObject {
    const known = this.#existing(kind, object.metadata);
    this.#match(kind, object.metadata, known, { resourceVersion: object.metadata.resourceVersion });
    return this.put(kind, object);
  }

  #match(
    kind: KubeKind,
    name: ObjectName,
    { metadata }: KubeObject,
    wanted: { readonly uid?: string | undefined; readonly resourceVersion?: string | undefined },
  ): void {
    const { uid, resourceVersion } = wanted;
    const same =
      (uid === undefined || uid === metadata.uid) &&
      (resourceVersion === undefined || resourceVersion === metadata.resourceVersion);
    if (!same) throw refused(kind, name, 409, "Conflict");
  }

  #store(kind: KubeKind, object: KubeObject): KubeObject {
    const resource = resourceName(kind);
    const key = objectKey(object);
    const type = this.#of(resource).has(key) ? "MODIFIED" : "ADDED";
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: String(++this.#version) } };
    this.#of(resource).set(key, stored);
    this.#publish(resource, { type, object: stored });
    return stored;
  }

  #publish(resource: string, event: Change): void {
    this.#changes.push({ resource, version: this.#version, event });
    for (const follower of this.#followers) if (follower.resource === resource) follower.push([event]);
  }

  async *#follow(
    by: string,
    resource: string,
    from: number,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<readonly WatchEvent[]> {
    const steps: (readonly WatchEvent[] | Error | "end")[] = this.#changes
      .filter((change) => change.resource === resource && change.version > from)
      .map(({ event }) => [event]);
    let wake = () => {};
    const push: Follower["push"] = (step) => {
      steps.push(step);
      wake();
    };
    const follower: Follower = { by, resource, push };
    this.#followers.add(follower);
    const timer = this.#clock.setTimer(timeoutMs, () => push("end"));
    const abort = () => push(new Error("aborted"));
    signal?.addEventListener("abort", abort);
    try {
      for (;;) {
        const step = steps.shift();
        if (step === "end") return;
        if (step instanceof Error) throw step;
        if (step !== undefined) yield step;
        else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      timer.cancel();
      signal?.removeEventListener("abort", abort);
      this.#followers.delete(follower);
    }
  }
}

function keyOf({ namespace, name }: ObjectName): string {
  return namespace === undefined || namespace === "" ? name : `${namespace}/${name}`;
}

/** RFC 7386. */
function merged(target: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) return patch;
  const result: Record<string, unknown> = isRecord(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name];
    else result[name] = merged(result[name], value);
  }
  return result;
}

function refused(kind: KubeKind, name: ObjectName, code: number, reason: string): Error {
  return statusError(objectTitle(kind, name), code, { code, reason, message: "" });
}

export function unreachable(): KubeConnectionError {
  return new KubeConnectionError({
    code: "KUBE_UNREACHABLE",
    object: "https://api.test",
    message: "the API server cannot be reached: refused",
    remedy: "-",
  });
}
