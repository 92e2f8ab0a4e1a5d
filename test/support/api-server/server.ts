/**
 * An API server of the tests' own: what clients rely on of resourceVersions, lists in pages, watches, conflicts, patches and server-side apply,
 * over real HTTP, with faults on request. Custom kinds are served while their definition is there.
 *
 * Not done: https, discovery documents, validation by schemas (nor pruning and defaults), RBAC, defaults of built-in kinds, garbage collection,
 * deletion of collections and of what is in a namespace, streaming lists (refused as an API server before 1.27 refuses them).
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type Clock, systemClock } from "../../../src/lib/clock.ts";
import {
  ApiFailure,
  forbiddenValue,
  invalidOptions,
  methodNotAllowed,
  noSuchResource,
  notFound,
  unauthorized,
} from "./failure.ts";
import { type Fault, Faults, type SeenRequest } from "./faults.ts";
import type { Json } from "./json.ts";
import { list, served } from "./list.ts";
import { keyOf, Objects, readBody, type WriteCall, type Written } from "./objects.ts";
import { type Resource, Resources } from "./resources.ts";
import { type Snapshot, Store } from "./store.ts";
import { Watch } from "./watch.ts";

export interface ApiServerOptions {
  readonly clock?: Clock;
  /** Bearer tokens that are let in; left out: everybody is. */
  readonly tokens?: readonly string[];
  /** ms; 60 s. */
  readonly bookmarkIntervalMs?: number;
  /** Changes that are kept; 20,000. */
  readonly historyLimit?: number;
}

interface Target {
  readonly resource: Resource;
  readonly namespace: string | null;
  readonly name: string;
  readonly subresource: string;
}

export class TestApiServer {
  readonly store: Store;
  readonly faults = new Faults();
  /** null: everybody is let in. A test changes it as it likes. */
  readonly tokens: Set<string> | null;
  /** What was asked since `clearLog`. */
  readonly log: SeenRequest[] = [];
  readonly watches = new Set<Watch>();
  readonly #clock: Clock;
  readonly #resources: Resources;
  readonly #objects: Objects;
  readonly #bookmarkIntervalMs: number;
  #server: Server | null = null;
  #port = 0;

  constructor(options: ApiServerOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.store = new Store(options.historyLimit ?? 20_000);
    this.tokens = options.tokens === undefined ? null : new Set(options.tokens);
    this.#bookmarkIntervalMs = options.bookmarkIntervalMs ?? 60_000;
    this.#resources = new Resources(this.store, []);
    this.#objects = new Objects(this.store, this.#clock);
    for (const name of ["default", "kube-system"]) this.#seed(name);
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Listens on loopback; after a stop on the same port again. */
  async start(): Promise<void> {
    const server = createServer((request, response) => void this.#serve(request, response));
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.#port, "127.0.0.1", () => resolve());
    });
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
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
    const resource = this.#resources.builtIn("namespaces");
    const call = {
      resource,
      namespace: null,
      name: "",
      subresource: "",
      query: new URLSearchParams(),
      agent: "server",
    };
    this.#objects.create(call, { metadata: { name } });
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
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? "")?.[1] ?? "";
    if (this.tokens !== null && !this.tokens.has(token)) throw unauthorized();
    const method = request.method ?? "GET";
    const target = this.#target(url.pathname);
    const seen = seenRequest(method, url, target);
    this.log.push(seen);
    const fault = this.faults.next(seen);
    if (fault !== null && !(await this.#fail(fault, request))) return;
    if (["/healthz", "/readyz", "/livez"].includes(url.pathname)) return void response.end("ok");
    if (url.pathname === "/version") return send(response, 200, { major: "1", minor: "33", gitVersion: "v1.33.0" });
    if (target === null) throw noSuchResource();
    const { resource, namespace, name, subresource } = target;
    if (seen.verb === "watch") return this.#watch(target, url.searchParams, response);
    const agent = (request.headers["user-agent"] ?? "unknown").split("/")[0] ?? "unknown";
    const call: WriteCall = { resource, namespace, name, subresource, query: url.searchParams, agent };
    const type = (request.headers["content-type"] ?? "").split(";")[0]?.trim() ?? "";
    const { code, body: answer } = this.#run(method, call, type, body);
    send(response, code, answer);
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
    if (method === "POST" && subresource === "binding") return this.#objects.bind(call, readBody(text));
    if (method === "POST" && name === "") return this.#objects.create(call, readBody(text));
    if (name === "") throw methodNotAllowed();
    if (method === "PUT") return this.#objects.update(call, readBody(text));
    if (method === "PATCH") return this.#objects.patch(call, type, text);
    if (method === "DELETE" && subresource === "") return this.#objects.delete(call, text === "" ? {} : readBody(text));
    throw methodNotAllowed();
  }

  #watch({ resource, namespace, name }: Target, asked: URLSearchParams, response: ServerResponse): void {
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

  #target(path: string): Target | null {
    const match = /^\/(?:api|apis\/([^/]+))\/([^/]+)\/(.+)$/.exec(path);
    if (match === null) return null;
    const [, group = "", version = "", rest = ""] = match;
    const parts = rest.split("/").map(decodeURIComponent);
    // "namespaces/x" and its status are the namespace itself; anything longer is within it.
    const within = parts[0] === "namespaces" && parts.length > 2 && parts[2] !== "status";
    const [plural = "", name = "", subresource = "", ...more] = within ? parts.slice(2) : parts;
    const resource = this.#resources.find(group, version, plural);
    if (resource === null || more.length > 0 || (within && !resource.namespaced)) return null;
    const known = subresource === "" || (subresource === "status" && resource.status);
    if (!known && !(subresource === "binding" && resource.storage === "pods")) return null;
    return { resource, namespace: within ? (parts[1] ?? "") : null, name, subresource };
  }
}

const verbs: Readonly<Record<string, string>> = { POST: "create", PUT: "update", PATCH: "patch", DELETE: "delete" };

function seenRequest(method: string, url: URL, target: Target | null): SeenRequest {
  const watching = ["1", "true"].includes(url.searchParams.get("watch") ?? "");
  const reading = target?.name === "" ? (watching ? "watch" : "list") : "get";
  return {
    verb: verbs[method] ?? reading,
    storage: target?.resource.storage ?? "",
    name: target?.name ?? "",
    path: url.pathname,
  };
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
