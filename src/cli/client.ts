/** Asks an agent over its unix socket. Whatever goes wrong says what was asked, of whom, and what to do. */
import { type IncomingMessage, request } from "node:http";
import { createInterface } from "node:readline";
import { CliError } from "./errors.ts";

/** ms without an answer after which the agent is taken for hung. */
const timeoutMs = 10_000;

export class AgentClient {
  readonly socket: string;

  constructor(socket: string) {
    this.socket = socket;
  }

  /**
   * @param path of the API, as "/v1/status"
   * @throws CliError AGENT_UNREACHABLE, AGENT_TIMEOUT, SOCKET_PERMISSION (exit code 2) or what the agent answered (exit code 1)
   */
  async get<T>(path: string): Promise<T> {
    const response = await this.#open(path, null);
    const text = await this.#text(path, response);
    if (response.statusCode !== 200) throw this.#refused(path, response.statusCode ?? 0, text);
    try {
      return JSON.parse(text) as T;
    } catch (cause) {
      throw this.#broken(path, cause);
    }
  }

  /** The lines of a stream, parsed, until the agent ends it or the signal comes. */
  async *lines<T>(path: string, signal: AbortSignal): AsyncGenerator<T> {
    const response = await this.#open(path, signal);
    if (response.statusCode !== 200) {
      throw this.#refused(path, response.statusCode ?? 0, await this.#text(path, response));
    }
    response.socket.setTimeout(0);
    const lines = createInterface({ input: response, crlfDelay: Number.POSITIVE_INFINITY });
    // The reader ends by its close event; an aborted response would reject it otherwise.
    response.on("error", () => lines.close());
    for await (const line of lines) if (line !== "") yield JSON.parse(line) as T;
  }

  #open(path: string, signal: AbortSignal | null): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const call = request({ socketPath: this.socket, path, timeout: timeoutMs, ...(signal && { signal }) }, resolve);
      call.on("timeout", () => call.destroy(this.#silent(path)));
      call.on("error", (error: NodeJS.ErrnoException) => reject(this.#failed(path, error)));
      call.end();
    });
  }

  async #text(path: string, response: IncomingMessage): Promise<string> {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
    } catch (cause) {
      throw this.#broken(path, cause);
    }
    return Buffer.concat(chunks).toString("utf8");
  }

  #failed(path: string, error: NodeJS.ErrnoException): Error {
    if (error instanceof CliError || error.name === "AbortError") return error;
    if (error.code === "EACCES" || error.code === "EPERM") {
      return new CliError({
        code: "SOCKET_PERMISSION",
        message: `GET ${path}: no permission to open ${this.socket}`,
        remedy: "run it as the user of the agent (root), for example with sudo",
        exitCode: 2,
        cause: error,
      });
    }
    const why = error.code === "ENOENT" ? "there is no such socket" : error.message;
    return new CliError({
      code: "AGENT_UNREACHABLE",
      message: `GET ${path}: no agent answers on ${this.socket}: ${why}`,
      remedy: "start tandem-agent on this node, or name its socket with --socket or TANDEM_SOCKET",
      exitCode: 2,
      cause: error,
    });
  }

  #silent(path: string): CliError {
    return new CliError({
      code: "AGENT_TIMEOUT",
      message: `GET ${path}: the agent on ${this.socket} took the call and did not answer for ${timeoutMs / 1000} s`,
      remedy: "read the agent's log; restarting it disturbs no flow",
      exitCode: 2,
    });
  }

  #broken(path: string, cause: unknown): CliError {
    return new CliError({
      code: "AGENT_ANSWER",
      message: `GET ${path}: the agent on ${this.socket} stopped within its answer: ${String(cause)}`,
      remedy: "try again; if it stays so, read the agent's log",
      exitCode: 2,
      cause,
    });
  }

  #refused(path: string, status: number, text: string): CliError {
    const { code, message, remedy } = apiError(text);
    return new CliError({ code, message: `GET ${path}: ${message || `HTTP ${status}`}`, remedy, exitCode: 1 });
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
