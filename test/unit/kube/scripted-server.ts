/** A server on loopback that answers each request as the test says, and keeps what it was asked. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type ServerOptions } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { text } from "node:stream/consumers";
import type { ExecutionContext } from "ava";

export interface Asked {
  readonly method: string;
  /** With the query. */
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

/** What comes next; the last one answers all that follow. */
export type Answerer = (response: ServerResponse, asked: Asked) => void;

export class ScriptedServer {
  readonly asked: Asked[] = [];
  readonly #server: Server;
  readonly #answers: Answerer[] = [];
  readonly #sockets = new Set<Socket>();
  #connections = 0;

  constructor(tls: ServerOptions | null = null) {
    const take = (request: IncomingMessage, response: ServerResponse) => void this.#take(request, response);
    this.#server = tls === null ? createServer(take) : createTlsServer(tls, take);
    this.#server.on("connection", (socket: Socket) => {
      this.#connections++;
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
  }

  /** Connections that were ever made. */
  get connections(): number {
    return this.#connections;
  }

  /** @returns its address, "127.0.0.1:41234" */
  async start(t: ExecutionContext): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    t.teardown(() => this.stop());
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.breakConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  breakConnections(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  will(...answers: readonly Answerer[]): void {
    this.#answers.push(...answers);
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const asked = {
      method: request.method ?? "",
      url: request.url ?? "",
      headers: request.headers,
      body: await text(request).catch(() => ""),
    };
    this.asked.push(asked);
    const [answer] = this.#answers.length > 1 ? this.#answers.splice(0, 1) : this.#answers;
    if (answer === undefined) response.destroy();
    else answer(response, asked);
  }
}

export function json(value: unknown, status = 200, headers: Readonly<Record<string, string>> = {}): Answerer {
  return (response) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(JSON.stringify(value));
  };
}

export function plain(body: string, status = 200): Answerer {
  return (response) => {
    response.writeHead(status, { "content-type": "text/plain" });
    response.end(body);
  };
}

/** meta/v1 Status. */
export function failure(code: number, reason: string, headers: Readonly<Record<string, string>> = {}): Answerer {
  return json({ kind: "Status", status: "Failure", reason, message: `it is ${reason}`, code }, code, headers);
}

export function podList(names: readonly string[], metadata: Readonly<Record<string, string>>): Answerer {
  const items = names.map((name, at) => ({ metadata: { namespace: "shop", name, resourceVersion: `${at + 1}` } }));
  return json({ kind: "PodList", apiVersion: "v1", metadata, items });
}
