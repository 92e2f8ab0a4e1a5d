/**
 * What an operator says of itself: /healthz for a kubelet, /metrics for Prometheus, /status for people. Only on this machine: on loopback or a
 * unix socket.
 */
import { createServer, type Server } from "node:http";
import { mkdir, rm } from "node:fs/promises";
import { isIP } from "node:net";
import { dirname } from "node:path";
import { messageOf, TandemError } from "../lib/errors.ts";
import type { ToldProblem } from "../model/status.ts";
import type { LeaderStatus } from "./leader-election.ts";

const requestTimeoutMs = 10_000;

export interface OperatorStatus {
  readonly version: string;
  readonly identity: string;
  readonly election: LeaderStatus;
  readonly problems: readonly ToldProblem[];
}

export interface HealthServerOptions {
  /** "127.0.0.1:9965", "[::1]:9965", or the path of a unix socket. */
  readonly address: string;
  readonly status: () => OperatorStatus;
  readonly metrics: () => string;
}

export class HealthServer {
  readonly #options: HealthServerOptions;
  readonly #server: Server;

  constructor(options: HealthServerOptions) {
    this.#options = options;
    this.#server = createServer(
      { requestTimeout: requestTimeoutMs, headersTimeout: requestTimeoutMs },
      (request, response) => {
        const answer = this.#answer(request.url ?? "");
        response.writeHead(answer.status, { "content-type": answer.type });
        response.end(answer.text);
      },
    );
  }

  /** Port that it listens on; 0 on a unix socket. */
  get port(): number {
    const address = this.#server.address();
    return address === null || typeof address === "string" ? 0 : address.port;
  }

  /** @throws TandemError HEALTH_ADDRESS */
  async start(): Promise<void> {
    const { address } = this.#options;
    const where = readHealthAddress(address);
    try {
      if (typeof where === "string") {
        await mkdir(dirname(where), { recursive: true });
        await rm(where, { force: true });
      }
      await new Promise<void>((resolve, reject) => {
        this.#server.once("error", reject);
        this.#server.listen(typeof where === "string" ? { path: where } : where, () => {
          this.#server.off("error", reject);
          resolve();
        });
      });
    } catch (cause) {
      throw wrongAddress(address, `it cannot be listened on: ${messageOf(cause)}`, cause);
    }
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }

  #answer(url: string): { readonly status: number; readonly type: string; readonly text: string } {
    const text = "text/plain; charset=utf-8";
    switch (url) {
      case "/healthz":
        // Whether the API server answers is nothing that a restart would mend.
        return { status: 200, type: text, text: "ok\n" };
      case "/metrics":
        return { status: 200, type: "text/plain; version=0.0.4", text: this.#options.metrics() };
      case "/status":
        return { status: 200, type: "application/json", text: `${JSON.stringify(this.#options.status(), null, 2)}\n` };
      default:
        return { status: 404, type: text, text: "there are /healthz, /metrics and /status\n" };
    }
  }
}

/** @returns a path, or host and port. @throws TandemError HEALTH_ADDRESS for what others than this machine could reach */
export function readHealthAddress(address: string): string | { readonly host: string; readonly port: number } {
  if (address.startsWith("/")) return address;
  const [, bracketed, plain, port] = /^(?:\[(.+)\]|([^:]+)):(\d{1,5})$/.exec(address) ?? [];
  const host = bracketed ?? plain ?? "";
  if (Number(port) > 65_535 || port === undefined)
    throw wrongAddress(address, "it is no address with a port and no path");
  const loopback = host === "localhost" || (isIP(host) === 4 ? host.startsWith("127.") : host === "::1");
  if (!loopback) throw wrongAddress(address, "it is not an address of loopback");
  return { host, port: Number(port) };
}

function wrongAddress(object: string, message: string, cause?: unknown): TandemError {
  const remedy = "set another `healthAddress`: 127.0.0.1:PORT, [::1]:PORT or the path of a unix socket";
  return new TandemError({ code: "HEALTH_ADDRESS", object, message, remedy, cause });
}
