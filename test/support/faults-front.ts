/**
 * The nodes' only way to the API server of the tests, where things go wrong: an https server that passes requests on, or does not. The test
 * itself asks the API server behind it, so a fault never stands in its own way.
 */
import { request as forward, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { systemClock } from "../../src/lib/clock.ts";
import type { Certificate } from "../unit/kube/certificates.ts";
import { ApiFailure, unauthorized } from "./api-server/failure.ts";

export type FrontFault =
  /** Each request is answered so, by whatever it is. */
  | { readonly kind: "answer"; readonly code: number; readonly reason: string; readonly message: string }
  /** Each answer comes that much later, and is right. */
  | { readonly kind: "slow"; readonly ms: number };

export class ApiFront {
  fault: FrontFault | null = null;
  /** Bearer tokens that are let in. */
  readonly tokens: Set<string>;
  readonly #behind: string;
  readonly #server: Server;
  #port = 0;

  /** @param behind address of the API server, http */
  constructor(behind: string, identity: Certificate, tokens: readonly string[]) {
    this.#behind = behind;
    this.tokens = new Set(tokens);
    const { certificate: cert, key } = identity;
    this.#server = createServer({ cert, key }, (request, response) => void this.#serve(request, response));
  }

  get url(): string {
    return `https://127.0.0.1:${this.#port}`;
  }

  /** Listens on loopback; after a stop on the same port again. */
  async start(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(this.#port, "127.0.0.1", () => {
        this.#server.off("error", reject);
        resolve();
      });
    });
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** As a process that was killed: nobody listens, and what was under way is cut. */
  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.cut();
    await closed;
  }

  /** Ends all connections, so that everybody comes again and meets the fault of now. */
  cut(): void {
    this.#server.closeAllConnections();
  }

  /** Connections from now on see this certificate. */
  present({ certificate: cert, key }: Certificate): void {
    this.#server.setSecureContext({ cert, key });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { fault } = this;
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? "")?.[1] ?? "";
    if (!this.tokens.has(token)) return refuse(response, unauthorized());
    if (fault?.kind === "answer") return refuse(response, new ApiFailure(fault.code, fault.reason, fault.message));
    if (fault?.kind === "slow") await systemClock.sleep(fault.ms);
    this.#pass(request, response);
  }

  #pass(request: IncomingMessage, response: ServerResponse): void {
    const { method = "GET", url = "/" } = request;
    const { connection: _, ...headers } = request.headers;
    const onward = forward(`${this.#behind}${url}`, { method, headers, agent: false }, (answer) => {
      const { connection: _hop, ...answered } = answer.headers;
      response.writeHead(answer.statusCode ?? 502, answered);
      // A watch begins long before it says something.
      response.flushHeaders();
      answer.on("error", () => response.destroy());
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  }
}

function refuse(response: ServerResponse, { code, status }: ApiFailure): void {
  response.writeHead(code, { "content-type": "application/json" });
  response.end(JSON.stringify(status));
}
