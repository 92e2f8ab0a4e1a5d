/**
 * Serves /metrics to Prometheus. Scrapes that come while one is answered get the same answer: the kernel is read once. An address that
 * cannot be had is a problem in the status; the node works without.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { messageOf } from "../lib/errors.ts";
import type { ConditionSink } from "../model/status.ts";
import { contentTypes, exposition, type Family, formatFor } from "../observe/metrics/exposition.ts";

export interface MetricsServerOptions {
  /** HOST:PORT or [HOST]:PORT, as the setting metricsAddress; null: nothing is served. */
  readonly address: string | null;
  /** What is to be served. */
  readonly metrics: () => Promise<readonly Family[]>;
  readonly conditions: ConditionSink;
  readonly onError: (error: unknown) => void;
}

/** A scrape is short; whoever keeps the connection longer is let go. */
const idleMs = 10_000;

export class MetricsServer {
  readonly #options: MetricsServerOptions;
  #server: Server | null = null;
  #reading: Promise<readonly Family[]> | null = null;

  constructor(options: MetricsServerOptions) {
    this.#options = options;
  }

  /** Port that it listens at; null: it does not. */
  get port(): number | null {
    const address = this.#server?.address() ?? null;
    return address === null || typeof address === "string" ? null : address.port;
  }

  /** Resolves when it listens, or has said why not. */
  async start(): Promise<void> {
    const { address, conditions } = this.#options;
    if (address === null) return;
    const colon = address.lastIndexOf(":");
    const host = address.slice(0, colon).replace(/^\[|\]$/g, "");
    const port = Number(address.slice(colon + 1));
    const server = createServer(
      { keepAliveTimeout: idleMs, requestTimeout: idleMs, headersTimeout: idleMs },
      (request, response) => void this.#answer(request, response),
    );
    server.on("clientError", (_error, socket) => socket.destroy());
    try {
      await new Promise<void>((resolve, reject) => {
        server.on("error", reject);
        server.listen({ host, port }, resolve);
      });
      this.#server = server;
    } catch (error) {
      conditions.report("metrics", [notHad(address, error)]);
    }
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (server === null) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.resume();
    const [path] = (request.url ?? "").split("?");
    if (path !== "/metrics") return say(response, 404, "there is /metrics\n");
    if (request.method !== "GET" && request.method !== "HEAD") return say(response, 405, "only GET\n");
    try {
      const format = formatFor(request.headers.accept);
      const text = exposition(await this.#families(), format);
      say(response, 200, text, contentTypes[format]);
    } catch (error) {
      this.#options.onError(error);
      say(response, 500, "the figures could not be read; the log says why\n");
    }
  }

  #families(): Promise<readonly Family[]> {
    this.#reading ??= this.#options.metrics().finally(() => {
      this.#reading = null;
    });
    return this.#reading;
  }
}

function say(response: ServerResponse, status: number, text: string, type = "text/plain; charset=utf-8"): void {
  response.writeHead(status, { "content-type": type });
  response.end(text);
}

function notHad(address: string, error: unknown) {
  return {
    code: "METRICS_ADDRESS",
    severity: "warning" as const,
    object: "setting metricsAddress",
    field: "",
    message: `${address} cannot be listened at, no metrics are served: ${messageOf(error)}`,
    remedy: "see who has it (ss -tlnp), or set another `metricsAddress`; then start it anew",
  };
}
