/** A watch: what changed since a revision, then each change as it happens, as lines of JSON. */
import type { ServerResponse } from "node:http";
import type { Clock, Timer } from "../../../src/lib/clock.ts";
import { expired } from "./failure.ts";
import type { JsonObject } from "./json.ts";
import { revisionOf, served } from "./list.ts";
import { apiVersionOf, type Resource } from "./resources.ts";
import { selectorOf } from "./selectors.ts";
import type { Change, Store } from "./store.ts";

export interface WatchOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly resource: Resource;
  readonly namespace: string | null;
  readonly query: URLSearchParams;
  /** ms; a bookmark is only sent if it is newer than what the watch started from, as real servers do. */
  readonly bookmarkIntervalMs: number;
  /** In another form, as a table; null: as they are. */
  readonly show?: ((object: JsonObject) => JsonObject) | null;
  readonly response: ServerResponse;
}

export class Watch {
  readonly resource: Resource;
  readonly #options: WatchOptions;
  readonly #matches: (object: JsonObject) => boolean;
  readonly #start: number;
  readonly #unsubscribe: () => void;
  readonly #timers: Timer[] = [];
  #bookmarkTimer: Timer | null = null;
  #silent = false;
  #ended = false;

  /** @throws ApiFailure for selectors and versions that cannot be read */
  constructor(options: WatchOptions) {
    const { store, clock, resource, namespace, query, response } = options;
    this.#options = options;
    this.resource = resource;
    const selector = selectorOf(resource, query);
    this.#matches = (object) =>
      (namespace === null || (object.metadata as JsonObject).namespace === namespace) && selector(object);
    const from = revisionOf(query.get("resourceVersion") ?? "");
    this.#start = from === 0 ? store.revision : from;
    response.writeHead(200, { "content-type": "application/json" });
    response.flushHeaders();
    this.#unsubscribe = store.subscribe(resource.storage, (change) => this.#tell(change));
    response.on("close", () => this.#stop());
    if (from === 0) for (const object of store.objects(resource.storage).values()) this.#initial(object);
    else if (from < store.watchFloor(resource.storage)) this.expire();
    else for (const change of store.changesSince(resource.storage, from)) this.#tell(change);
    const seconds = Number(query.get("timeoutSeconds") ?? 0) || 0;
    if (seconds > 0 && !this.#ended) this.#timers.push(clock.setTimer(seconds * 1_000, () => this.end()));
    if (query.get("allowWatchBookmarks") === "true" && !this.#ended) this.#bookmarks(seconds);
  }

  /** From now on it keeps its connection and says nothing, as a peer behind a device that forgot it. */
  silence(): void {
    this.#silent = true;
  }

  /** Ends as an API server ends it. */
  end(): void {
    if (this.#ended) return;
    this.#stop();
    if (!this.#silent) this.#options.response.end();
  }

  /** Tells that its version is too old, and ends. */
  expire(): void {
    const floor = this.#options.store.watchFloor(this.resource.storage);
    this.#send("ERROR", expired(`too old resource version: ${this.#start} (${floor})`).status);
    this.end();
  }

  /** Any text in place of an event. */
  sendRaw(text: string): void {
    if (!this.#silent && !this.#ended) this.#options.response.write(text);
  }

  #initial(object: JsonObject): void {
    if (this.#matches(object)) this.#send("ADDED", served(this.resource, object));
  }

  #tell({ revision, type, object, previous }: Change): void {
    // One that starts from a revision that is not there yet waits for it.
    if (revision <= this.#start) return;
    const was = previous !== null && this.#matches(previous);
    const is = type !== "DELETED" && this.#matches(object);
    if (is) this.#send(was ? "MODIFIED" : "ADDED", served(this.resource, object));
    else if (was) {
      const metadata = { ...(previous.metadata as JsonObject), resourceVersion: String(revision) };
      this.#send("DELETED", served(this.resource, { ...previous, metadata }));
    }
  }

  #bookmarks(seconds: number): void {
    const { clock, bookmarkIntervalMs } = this.#options;
    const send = () => {
      const { revision } = this.#options.store;
      const { kind } = this.resource;
      const metadata = { resourceVersion: String(revision), creationTimestamp: null };
      if (revision > this.#start) this.#send("BOOKMARK", { kind, apiVersion: apiVersionOf(this.resource), metadata });
    };
    const arm = () => {
      this.#bookmarkTimer = clock.setTimer(bookmarkIntervalMs, () => {
        send();
        arm();
      });
    };
    arm();
    if (seconds > 2) this.#timers.push(clock.setTimer((seconds - 2) * 1_000, send));
  }

  #send(type: string, object: JsonObject): void {
    const { show = null } = this.#options;
    const shown = show === null || type === "ERROR" || type === "BOOKMARK" ? object : show(object);
    this.sendRaw(`${JSON.stringify({ type, object: shown })}\n`);
  }

  #stop(): void {
    this.#ended = true;
    this.#unsubscribe();
    this.#bookmarkTimer?.cancel();
    for (const timer of this.#timers) timer.cancel();
  }
}
