/**
 * An API server of the tests' own: what clients rely on of resourceVersions, lists in pages, watches, conflicts, patches, server-side apply,
 * discovery, tables and custom kinds with their schemas, over real HTTP, with faults on request. As it is made here it takes built-in
 * kinds as they come and has no controllers; `main.ts` is the program that has both.
 *
 * Not done: an authorizer (who is let in may everything), tokens of service accounts, rules in CEL, conversion of versions, streaming lists
 * (refused as an API server before 1.27 refuses them), protobuf, the log and exec of pods.
 */
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { type Clock, systemClock } from "../../../src/lib/clock.ts";
import { review, reviewOf } from "./access-review.ts";
import { deleteCollection } from "./collections.ts";
import { discovery } from "./discovery.ts";
import {
  ApiFailure,
  forbiddenValue,
  invalidOptions,
  methodNotAllowed,
  noSuchResource,
  notFound,
  unsupportedMediaType,
} from "./failure.ts";
import { type Fault, Faults, type SeenRequest } from "./faults.ts";
import type { Json } from "./json.ts";
import { list, served } from "./list.ts";
import { letIn, listen, type TlsIdentity } from "./listener.ts";
import { keyOf, Objects, readBody, type WriteCall, type Written } from "./objects.ts";
import { definitionsStorage, Resources } from "./resources.ts";
import { seenRequest, type Target, targetOf } from "./routes.ts";
import { noRules, type Rules } from "./rules.ts";
import { type Snapshot, Store } from "./store.ts";
import { asTable, wantsTable } from "./table.ts";
import { Watch } from "./watch.ts";

export interface ApiServerOptions {
  readonly clock?: Clock;
  /** Bearer tokens that are let in; left out: everybody is. */
  readonly tokens?: readonly string[];
  /** ms; 60 s. */
  readonly bookmarkIntervalMs?: number;
  /** Changes that are kept; 20,000. */
  readonly historyLimit?: number;
  /** 127.0.0.1 and a port that is free. */
  readonly listen?: { readonly host: string; readonly port: number };
  /** Left out: http. */
  readonly tls?: TlsIdentity;
  /** Left out: built-in kinds are taken as they come. */
  readonly rules?: (store: Store) => Rules;
  /** That are there from the start; "default" and "kube-system". */
  readonly namespaces?: readonly string[];
}

export class TestApiServer {
  readonly store: Store;
  readonly faults = new Faults();
  /** null: everybody is let in. A test changes it as it likes. */
  readonly tokens: Set<string> | null;
  /** What was asked since `clearLog`. */
  readonly log: SeenRequest[] = [];
  readonly watches = new Set<Watch>();
  readonly resources: Resources;
  /** For controllers, which are in the server's own process. */
  readonly objects: Objects;
  readonly #clock: Clock;
  readonly #tls: TlsIdentity | null;
  readonly #host: string;
  readonly #bookmarkIntervalMs: number;
  #server: Server | null = null;
  #port: number;

  constructor(options: ApiServerOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.store = new Store(options.historyLimit ?? 20_000);
    this.tokens = options.tokens === undefined ? null : new Set(options.tokens);
    this.#bookmarkIntervalMs = options.bookmarkIntervalMs ?? 60_000;
    this.resources = new Resources(this.store, []);
    this.objects = new Objects(this.store, this.#clock, options.rules?.(this.store) ?? noRules);
    this.#tls = options.tls ?? null;
    this.#host = options.listen?.host ?? "127.0.0.1";
    this.#port = options.listen?.port ?? 0;
    // Whoever follows a kind is told that it is served no more.
    this.store.subscribe(definitionsStorage, ({ type, key }) => {
      if (type === "DELETED") for (const watch of this.watchesOf(key)) watch.end();
    });
    for (const name of options.namespaces ?? ["default", "kube-system"]) this.#seed(name);
  }

  get url(): string {
    return `${this.#tls === null ? "http" : "https"}://127.0.0.1:${this.#port}`;
  }

  /** Listens, after a stop on the same port again. */
  async start(): Promise<void> {
    const place = { host: this.#host, port: this.#port };
    const handler = (request: IncomingMessage, response: ServerResponse) => void this.#serve(request, response);
    const { server, port } = await listen(place, this.#tls, handler);
    this.#server = server;
    this.#port = port;
  }

  /** Ends every connection. What is stored stays; watches that come back find an empty watch cache. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (server === null) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
    this.store.forgetChanges();
  }

  /** As etcd restored from a backup, to be called while stopped: versions go back. */
  restore(snapshot: Snapshot): void {
    this.store.restore(snapshot);
  }

  watchesOf(storage: string): readonly Watch[] {
    return [...this.watches].filter(({ resource }) => resource.storage === storage);
  }

  /** Requests of the log by "verb kind", as "watch pods". */
  counts(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    for (const { verb, storage } of this.log) {
      const key = `${verb} ${storage}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    return counts;
  }

  clearLog(): void {
    this.log.length = 0;
  }

  #seed(name: string): void {
    const resource = this.resources.builtIn("namespaces");
    const call = {
      resource,
      namespace: null,
      name: "",
      subresource: "",
      query: new URLSearchParams(),
      agent: "server",
    };
    this.objects.create(call, { metadata: { name } });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const url = new URL(request.url ?? "/", this.url);
      const body = await bodyOf(request);
      await this.#answer(request, url, body, response);
    } catch (error) {
      if (request.socket.destroyed || response.headersSent) response.destroy();
      else if (error instanceof ApiFailure) send(response, error.code, error.status, error.headers);
      else send(response, 500, new ApiFailure(500, "InternalError", String(error)).status);
    }
  }

  async #answer(request: IncomingMessage, url: URL, body: string, response: ServerResponse): Promise<void> {
    letIn(request, this.tokens, url.pathname);
    const method = request.method ?? "GET";
    const target = targetOf(this.resources, url.pathname);
    const agent = (request.headers["user-agent"] ?? "unknown").split("/")[0] ?? "unknown";
    const seen = seenRequest(method, url, target, agent);
    this.log.push(seen);
    const fault = this.faults.next(seen);
    if (fault !== null && !(await this.#fail(fault, request))) return;
    if (["/healthz", "/readyz", "/livez"].includes(url.pathname)) return void response.end("ok");
    const document = method === "GET" ? discovery(this.resources, url.pathname) : null;
    if (document !== null) return send(response, 200, document);
    const reviewed = method === "POST" ? reviewOf(url.pathname) : null;
    if (reviewed !== null) return send(response, 201, review(this.store, reviewed, readBody(body)).body);
    if (target === null) throw noSuchResource();
    const { resource, namespace, name, subresource } = target;
    const tabular = wantsTable(request.headers.accept ?? "");
    if (seen.verb === "watch") return this.#watch(target, url.searchParams, tabular, response);
    const call: WriteCall = { resource, namespace, name, subresource, query: url.searchParams, agent };
    const type = (request.headers["content-type"] ?? "").split(";")[0]?.trim() ?? "";
    // Not spoken here; clients that may choose say it again in JSON.
    if (type.endsWith("protobuf")) throw unsupportedMediaType(["application/json", "application/yaml"]);
    const { code, body: answer } = this.#run(method, call, type, body);
    const shown =
      tabular && code < 300 ? asTable(resource, this.store, answer, url.searchParams, this.#clock.now()) : null;
    send(response, code, shown ?? answer);
  }

  #run(method: string, call: WriteCall, type: string, text: string): Written {
    const { resource, namespace, name, subresource, query } = call;
    if (method === "GET" && name === "") return { code: 200, body: list(this.store, resource, namespace, query) };
    if (method === "GET") {
      const object = this.store.get(resource.storage, keyOf(namespace, name));
      if (object === null) throw notFound(resource, name);
      return { code: 200, body: served(resource, object) };
    }
    if (resource.namespaced && namespace === null) throw methodNotAllowed();
    if (method === "POST" && subresource === "binding") return this.objects.bind(call, readBody(text));
    if (method === "POST" && name === "") return this.objects.create(call, readBody(text));
    if (method === "DELETE" && name === "")
      return deleteCollection(this.store, this.objects, call, text === "" ? {} : readBody(text));
    if (name === "") throw methodNotAllowed();
    if (method === "PUT") return this.objects.update(call, readBody(text));
    if (method === "PATCH") return this.objects.patch(call, type, text);
    if (method === "DELETE" && subresource === "") return this.objects.delete(call, text === "" ? {} : readBody(text));
    throw methodNotAllowed();
  }

  #watch(
    { resource, namespace, name }: Target,
    asked: URLSearchParams,
    tabular: boolean,
    response: ServerResponse,
  ): void {
    if (asked.has("sendInitialEvents")) {
      const message = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
      throw invalidOptions("ListOptions", [forbiddenValue("sendInitialEvents", message)]);
    }
    if (name !== "") throw methodNotAllowed();
    const watch = new Watch({
      store: this.store,
      clock: this.#clock,
      resource,
      namespace,
      query: asked,
      bookmarkIntervalMs: this.#bookmarkIntervalMs,
      show: tabular ? (object) => asTable(resource, this.store, object, asked, this.#clock.now()) ?? object : null,
      response,
    });
    this.watches.add(watch);
    response.on("close", () => this.watches.delete(watch));
  }

  /** @returns whether the request goes on as if nothing were */
  async #fail(fault: Fault, request: IncomingMessage): Promise<boolean> {
    switch (fault.kind) {
      case "answer": {
        const { code, reason, retryAfterSeconds: after } = fault;
        throw new ApiFailure(
          code,
          reason,
          `a fault of the test: ${reason}`,
          null,
          after === undefined ? {} : { "retry-after": String(after) },
        );
      }
      case "delay":
        await this.#clock.sleep(fault.ms);
        return true;
      case "reset":
        request.socket.resetAndDestroy();
        return false;
      case "hang":
        return false;
    }
  }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString("utf8");
}

function send(
  response: ServerResponse,
  code: number,
  body: Json,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(code, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify(body));
}
