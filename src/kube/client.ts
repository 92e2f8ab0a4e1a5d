/**
 * A client of the Kubernetes API: objects of any kind, read, written, listed and watched. Failures are the classes of `errors.ts`.
 *
 * A request that the API server did not take on (429, 503 with Retry-After) is sent again when it says so, one that was refused for old
 * credentials (401) once with new ones. Everything else is the caller's to repeat: only it knows whether that is right.
 */
import { Backoff } from "../lib/backoff.ts";
import type { Clock } from "../lib/clock.ts";
import type { AccessReader } from "./access.ts";
import { answerError, decode, refusal, textOf } from "./answers.ts";
import { isStatus, KubeConnectionError } from "./errors.ts";
import {
  apiVersionOf,
  collectionPath,
  type KubeKind,
  type ObjectName,
  objectPath,
  objectTitle,
  resourceName,
} from "./kinds.ts";
import { isKubeObject, isRecord, type KubeObject } from "./objects.ts";
import { ListSplitter } from "./split-list.ts";
import { type Answer, type Request, Transport } from "./transport.ts";
import { openWatch, type Watch, type WatchOptions } from "./watch.ts";

/** ms without a byte of an answer. An API server that is busy may take seconds. */
const patienceMs = 30_000;
/** Tries of a request that the API server puts off, and ms that it may ask to wait at most. */
const busy = { tries: 5, waitMs: 30_000 } as const;
/** Objects a page: what a server that pages reads from etcd at once. */
const pageSize = 500;

export interface KubeClientOptions {
  readonly access: AccessReader;
  readonly clock: Clock;
  /** "tandem-agent/0.1.0 (node-1)". */
  readonly userAgent: string;
  /** 0..1; Math.random. */
  readonly random?: () => number;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** ms without a byte of the answer after which it has failed; 30 s. */
  readonly timeoutMs?: number;
  /** false: a busy API server is a failure at once, for callers that wait themselves. */
  readonly retry?: boolean;
}

export interface WriteOptions extends CallOptions {
  /** As status. */
  readonly subresource?: string;
  /** Who writes, for server-side apply. */
  readonly fieldManager?: string;
  /** Checked and answered, not kept. */
  readonly dryRun?: boolean;
}

export interface DeleteOptions extends CallOptions {
  /** Only this object, not one that was made anew under its name. */
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly propagation?: "Background" | "Foreground" | "Orphan";
  readonly gracePeriodSeconds?: number;
}

export interface ListOptions extends CallOptions {
  /** Left out: of all namespaces. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** "0": what the API server has in memory, quick and perhaps a moment old; left out: what is true now. */
  readonly resourceVersion?: string;
  /** false: in one answer, however long, which cannot expire between its pages. */
  readonly paged?: boolean;
}

export interface Listing {
  /** To watch from. */
  readonly resourceVersion: string;
  readonly objects: number;
  readonly pages: number;
}

export class KubeClient {
  readonly #options: KubeClientOptions;
  readonly #transport: Transport;

  constructor(options: KubeClientOptions) {
    this.#options = options;
    this.#transport = new Transport(options.access, options.clock, options.random ?? Math.random);
  }

  /** Why credentials could not be renewed although older ones are in force; null: they could. */
  get accessProblem(): string | null {
    return this.#options.access.problem;
  }

  /** Grows when the API server's history is known to be another one: versions of before are good for nothing then. */
  get history(): number {
    return this.#transport.pulse.history;
  }

  /** It is another one (`VersionMemory`): every watch ends with KubeStatusError 410, and who follows a kind lists it again. */
  historyReplaced(): void {
    this.#transport.pulse.replaced();
  }

  /** Of the kubeconfig's context, or of this pod. */
  async namespace(): Promise<string> {
    return (await this.#options.access.current()).namespace;
  }

  /** @throws KubeStatusError 404 */
  async get<T extends KubeObject>(kind: KubeKind<T>, name: ObjectName, options: CallOptions = {}): Promise<T> {
    return this.#object(kind, name, "GET", objectPath(kind, name), {}, null, options);
  }

  /** @throws KubeStatusError 409 AlreadyExists */
  async create<T extends KubeObject>(kind: KubeKind<T>, object: T, options: WriteOptions = {}): Promise<T> {
    const name = nameOf(object);
    const path =
      options.subresource === undefined
        ? collectionPath(kind, name.namespace)
        : objectPath(kind, name, options.subresource);
    return this.#object(kind, name, "POST", path, writeQuery(options), json(kind, object), options);
  }

  /** For subresources that answer with a mere Status: binding, eviction. @param body with its own apiVersion and kind */
  async act(kind: KubeKind, name: ObjectName, subresource: string, body: KubeObject, options: CallOptions = {}) {
    const payload = { text: JSON.stringify(body), type: "application/json" };
    await this.#value(objectTitle(kind, name), "POST", objectPath(kind, name, subresource), {}, payload, options);
  }

  /** Replaces it, if it still is of the object's resourceVersion. @throws KubeStatusError 409 Conflict */
  async update<T extends KubeObject>(kind: KubeKind<T>, object: T, options: WriteOptions = {}): Promise<T> {
    const name = nameOf(object);
    const path = objectPath(kind, name, options.subresource);
    return this.#object(kind, name, "PUT", path, writeQuery(options), json(kind, object), options);
  }

  /** A JSON merge patch (RFC 7386): what is null goes, lists are replaced as a whole. */
  async patch<T extends KubeObject>(
    kind: KubeKind<T>,
    name: ObjectName,
    patch: object,
    options: WriteOptions = {},
  ): Promise<T> {
    const path = objectPath(kind, name, options.subresource);
    const body = { text: JSON.stringify(patch), type: "application/merge-patch+json" };
    return this.#object(kind, name, "PATCH", path, writeQuery(options), body, options);
  }

  /**
   * Server-side apply: these fields are the manager's from now on; makes the object if it is missing.
   * @param options.force takes fields from other managers instead of failing with 409
   */
  async apply<T extends KubeObject>(
    kind: KubeKind<T>,
    object: T,
    options: WriteOptions & { readonly fieldManager: string; readonly force?: boolean },
  ): Promise<T> {
    const name = nameOf(object);
    const query = { ...writeQuery(options), force: String(options.force ?? false) };
    // JSON is YAML.
    const body = { ...json(kind, object), type: "application/apply-patch+yaml" };
    return this.#object(kind, name, "PATCH", objectPath(kind, name, options.subresource), query, body, options);
  }

  /** @returns false: it was not there */
  async delete(kind: KubeKind, name: ObjectName, options: DeleteOptions = {}): Promise<boolean> {
    const { uid, resourceVersion, propagation, gracePeriodSeconds } = options;
    const preconditions = {
      ...(uid === undefined ? {} : { uid }),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
    };
    const body = {
      kind: "DeleteOptions",
      apiVersion: "v1",
      ...(Object.keys(preconditions).length === 0 ? {} : { preconditions }),
      ...(propagation === undefined ? {} : { propagationPolicy: propagation }),
      ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }),
    };
    const title = objectTitle(kind, name);
    try {
      const payload = { text: JSON.stringify(body), type: "application/json" };
      await this.#value(title, "DELETE", objectPath(kind, name), {}, payload, options);
      return true;
    } catch (error) {
      if (isStatus(error, 404)) return false;
      throw error;
    }
  }

  /**
   * Hands over one object after the other as they come, in pages; never holds the whole list. They have apiVersion and kind, which
   * API servers leave out of lists.
   * @throws KubeStatusError 410: the list changed too much while it was read; what was handed over is no list
   */
  async list<T extends KubeObject>(
    kind: KubeKind<T>,
    options: ListOptions,
    onObject: (object: T) => void,
  ): Promise<Listing> {
    const { namespace, labelSelector, fieldSelector, resourceVersion, paged = true } = options;
    const title = resourceName(kind);
    const type = { apiVersion: apiVersionOf(kind), kind: kind.kind };
    let objects = 0;
    let pages = 0;
    let position: string | undefined;
    for (;;) {
      const splitter = new ListSplitter((text) => {
        const item: unknown = JSON.parse(text);
        if (!isKubeObject(item)) throw new SyntaxError("an item has no metadata.name");
        objects++;
        onObject((item.kind === undefined ? { ...type, ...item } : item) as T);
      });
      const query = {
        ...(paged ? { limit: String(pageSize) } : {}),
        ...(labelSelector === undefined ? {} : { labelSelector }),
        ...(fieldSelector === undefined ? {} : { fieldSelector }),
        // A page says by `continue` of which version it is.
        ...(position !== undefined ? { continue: position } : resourceVersion === undefined ? {} : { resourceVersion }),
      };
      const answer = await this.#send(title, "GET", collectionPath(kind, namespace), query, null, options);
      const frame = await decode(title, answer, async () => {
        for await (const piece of answer.pieces) splitter.push(piece);
        return splitter.finish();
      });
      pages++;
      const metadata = isEmptyList(frame) && isRecord(frame.metadata) ? frame.metadata : null;
      if (typeof metadata?.resourceVersion !== "string") {
        throw answerError(title, "it is no list of Kubernetes objects");
      }
      if (typeof metadata.continue !== "string" || metadata.continue === "") {
        return { resourceVersion: metadata.resourceVersion, objects, pages };
      }
      position = metadata.continue;
    }
  }

  /** All at once: for what is known to be few. */
  async listAll<T extends KubeObject>(kind: KubeKind<T>, options: ListOptions = {}): Promise<readonly T[]> {
    const objects: T[] = [];
    await this.list(kind, options, (object) => objects.push(object));
    return objects;
  }

  /** Resolves when the API server has begun to answer. */
  async watch(kind: KubeKind, options: WatchOptions): Promise<Watch> {
    return openWatch(kind, options, (query) => {
      const silenceMs = { start: options.timeoutMs ?? patienceMs, body: options.silenceMs };
      const call = { ...options, retry: false };
      return this.#send(resourceName(kind), "GET", collectionPath(kind, options.namespace), query, null, call, {
        silenceMs,
        watch: true,
      });
    });
  }

  /** Any path that answers JSON, as "/version" or "/apis": what the API server serves. */
  async read(path: string, options: CallOptions = {}): Promise<unknown> {
    return this.#value(path, "GET", path, {}, null, options);
  }

  /** Ends all that is under way. */
  close(): Promise<void> {
    return this.#transport.close();
  }

  async #object<T extends KubeObject>(
    kind: KubeKind<T>,
    name: ObjectName,
    method: Request["method"],
    path: string,
    query: Request["query"],
    body: Body | null,
    options: CallOptions,
  ): Promise<T> {
    const title = objectTitle(kind, name);
    const value = await this.#value(title, method, path, query, body, options);
    if (!isKubeObject(value)) throw answerError(title, "it is no Kubernetes object");
    return value as T;
  }

  async #value(
    title: string,
    method: Request["method"],
    path: string,
    query: Request["query"],
    body: Body | null,
    options: CallOptions,
  ): Promise<unknown> {
    const answer = await this.#send(title, method, path, query, body, options);
    return decode(title, answer, async () => JSON.parse(await textOf(answer)));
  }

  /** An answer of success; what is not is thrown. */
  async #send(
    title: string,
    method: Request["method"],
    path: string,
    query: Request["query"],
    body: Body | null,
    { signal, retry = true, timeoutMs = patienceMs }: CallOptions,
    { silenceMs, watch }: Pick<Request, "silenceMs" | "watch"> = {
      silenceMs: { start: timeoutMs, body: timeoutMs },
      watch: false,
    },
  ): Promise<Answer> {
    const { access, clock, userAgent, random } = this.#options;
    const backoff = new Backoff({ firstMs: 250, maxMs: 5_000, ...(random === undefined ? {} : { random }) });
    const headers = {
      accept: "application/json",
      "user-agent": userAgent,
      ...(body === null ? {} : { "content-type": body.type }),
    };
    const request: Request = {
      method,
      path,
      query,
      headers,
      body: body?.text ?? null,
      silenceMs,
      watch,
      signal: signal ?? null,
    };
    let renewed = false;
    let reconnected = false;
    for (;;) {
      let answer: Answer;
      try {
        answer = await this.#transport.send(request);
      } catch (error) {
        // A connection that idled may be closed by the server at the moment when we take it. Reading again does no harm.
        const cut = error instanceof KubeConnectionError && error.code === "KUBE_CUT";
        if (error instanceof KubeConnectionError && error.code === "KUBE_CERTIFICATE")
          access.refused(await access.current());
        if (!cut || reconnected || method !== "GET") throw error;
        reconnected = true;
        continue;
      }
      if (answer.status >= 200 && answer.status < 300) return answer;
      const error = await refusal(title, answer);
      if (error.status === 401) {
        access.refused(answer.access);
        if (renewed) throw error;
        renewed = true;
        continue;
      }
      const putOff = error.status === 429 || (error.status === 503 && error.retryAfterMs !== null);
      if (!retry || !putOff || backoff.failures + 1 >= busy.tries) throw error;
      await clock.sleep(Math.max(backoff.next(), Math.min(error.retryAfterMs ?? 0, busy.waitMs)), signal);
    }
  }
}

interface Body {
  readonly text: string;
  readonly type: string;
}

function json(kind: KubeKind, object: KubeObject): Body {
  return {
    text: JSON.stringify({ apiVersion: apiVersionOf(kind), kind: kind.kind, ...object }),
    type: "application/json",
  };
}

/**
 * What a ListSplitter leaves of a list: items that are no objects would still be in it. API servers may write null for none, but they
 * always write it: an answer without items is something else, and no news of everything being gone.
 */
function isEmptyList(frame: unknown): frame is Readonly<Record<string, unknown>> {
  if (!isRecord(frame)) return false;
  return frame.items === null || (Array.isArray(frame.items) && frame.items.length === 0);
}

function nameOf({ metadata: { name, namespace } }: KubeObject): ObjectName {
  return namespace === undefined ? { name } : { namespace, name };
}

function writeQuery({ fieldManager, dryRun = false }: WriteOptions): Request["query"] {
  return { ...(fieldManager === undefined ? {} : { fieldManager }), ...(dryRun ? { dryRun: "All" } : {}) };
}
