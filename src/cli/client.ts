/** Asks an agent over its unix socket. Whatever goes wrong says what was asked, of whom, and what to do. */
import { type IncomingMessage, request } from "node:http";
import { createInterface } from "node:readline";
import { CliError } from "./errors.ts";

/** ms without an answer after which the agent is taken for hung. */
const timeoutMs = 10_000;

interface Call {
  readonly method: "GET" | "POST";
  readonly path: string;
  /** JSON. */
  readonly body: string | null;
}

export class AgentClient {
  readonly socket: string;

  constructor(socket: string) {
    this.socket = socket;
  }

  /**
   * @param path of the API, as "/v1/status"
   * @throws CliError AGENT_UNREACHABLE, AGENT_TIMEOUT, SOCKET_PERMISSION (exit code 2) or what the agent answered (exit code 1)
   */
  get<T>(path: string): Promise<T> {
    return this.#ask({ method: "GET", path, body: null });
  }

  /** As `get`. @param body sent as JSON */
  post<T>(path: string, body: object): Promise<T> {
    return this.#ask({ method: "POST", path, body: JSON.stringify(body) });
  }

  async #ask<T>(call: Call): Promise<T> {
    const response = await this.#open(call, null);
    const text = await this.#text(call, response);
    if (response.statusCode !== 200) throw this.#refused(call, response.statusCode ?? 0, text);
    try {
      return JSON.parse(text) as T;
    } catch (cause) {
      throw this.#broken(call, cause);
    }
  }

  /** The lines of a stream, parsed, until the agent ends it or the signal comes. */
  async *lines<T>(path: string, signal: AbortSignal): AsyncGenerator<T> {
    const call: Call = { method: "GET", path, body: null };
    const response = await this.#open(call, signal);
    if (response.statusCode !== 200) {
      throw this.#refused(call, response.statusCode ?? 0, await this.#text(call, response));
    }
    response.socket.setTimeout(0);
    const lines = createInterface({ input: response, crlfDelay: Number.POSITIVE_INFINITY });
    // The reader ends by its close event; an aborted response would reject it otherwise.
    response.on("error", () => lines.close());
    for await (const line of lines) if (line !== "") yield JSON.parse(line) as T;
  }

  #open(call: Call, signal: AbortSignal | null): Promise<IncomingMessage> {
    const { method, path, body } = call;
    return new Promise((resolve, reject) => {
      const asked = request(
        { socketPath: this.socket, method, path, timeout: timeoutMs, ...(signal && { signal }) },
        resolve,
      );
      asked.on("timeout", () => asked.destroy(this.#silent(call)));
      asked.on("error", (error: NodeJS.ErrnoException) => reject(this.#failed(call, error)));
      asked.end(body ?? undefined);
    });
  }

  async #text(call: Call, response: IncomingMessage): Promise<string> {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
    } catch (cause) {
      throw this.#broken(call, cause);
    }
    return Buffer.concat(chunks).toString("utf8");
  }

  #failed({ method, path }: Call, error: NodeJS.ErrnoException): Error {
    if (error instanceof CliError || error.name === "AbortError") return error;
    if (error.code === "EACCES" || error.code === "EPERM") {
      return new CliError({
        code: "SOCKET_PERMISSION",
        message: `${method} ${path}: no permission to open ${this.socket}`,
        remedy: "run it as the user of the agent (root), for example with sudo",
        exitCode: 2,
        cause: error,
      });
    }
    const why = error.code === "ENOENT" ? "there is no such socket" : error.message;
    return new CliError({
      code: "AGENT_UNREACHABLE",
      message: `${method} ${path}: no agent answers on ${this.socket}: ${why}`,
      remedy: "start tandem-agent on this node, or name its socket with --socket or TANDEM_SOCKET",
      exitCode: 2,
      cause: error,
    });
  }

  #silent({ method, path }: Call): CliError {
    return new CliError({
      code: "AGENT_TIMEOUT",
      message: `${method} ${path}: the agent on ${this.socket} took the call and did not answer for ${timeoutMs / 1000} s`,
      remedy: "read the agent's log; restarting it disturbs no flow",
      exitCode: 2,
    });
  }

  #broken({ method, path }: Call, cause: unknown): CliError {
    return new CliError({
      code: "AGENT_ANSWER",
      message: `${method} ${path}: the agent on ${this.socket} stopped within its answer: ${String(cause)}`,
      remedy: "try again; if it stays so, read the agent's log",
      exitCode: 2,
      cause,
    });
  }

  #refused({ method, path }: Call, status: number, text: string): CliError {
    const { code, message, remedy } = apiError(text);
    return new CliError({ code, message: `${method} ${path}: ${message || `HTTP ${status}`}`, remedy, exitCode: 1 });
  }
}

function apiError(text: string): { readonly code: string; readonly message: string; readonly remedy: string } {
  try {
    const { error } = JSON.parse(text) as {
      readonly error: { readonly code: string; readonly message: string; readonly remedy: string };
    };
    return { code: error.code, message: error.message, remedy: error.remedy };
  } catch {
    return { code: "AGENT_ANSWER", message: text.trim(), remedy: "is this the socket of a tandem-agent?" };
  }
}
