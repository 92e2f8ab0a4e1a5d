/**
 * The conversation with the agent (api/proxy-dto.ts), from the proxy's side: begun again, with growing pauses, whenever it ends. Nothing of the proxy
 * waits for it.
 */
import { request } from "node:http";
import type { Duplex } from "node:stream";
import type { NamesFromProxy, NamesToProxy } from "../api/names-link.ts";
import { type FromProxy, linkLimit, linkPath, linkProtocol, type ToProxy } from "../api/proxy-dto.ts";
import { Backoff } from "../lib/backoff.ts";
import type { Clock } from "../lib/clock.ts";
import { messageOf } from "../lib/errors.ts";
import { JsonLines, jsonLine } from "../lib/json-lines.ts";
import type { Logger } from "../model/logging.ts";

/** Bytes that may wait for the agent; what could be more is records, which are told as lost. */
const waitingLimit = 4 << 20;
/** ms for the agent's answer to the first request. */
const answerMs = 5_000;

export interface AgentLinkOptions {
  readonly socket: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** What is said first. */
  readonly onConnect: () => readonly (FromProxy | NamesFromProxy)[];
  readonly onMessage: (message: ToProxy | NamesToProxy) => void;
  readonly onClose: () => void;
}

export class AgentLink {
  readonly #options: AgentLinkOptions;
  /** An agent that starts waits for us before it changes anything (agent/l7/publisher.ts), and asking a socket that is not there costs next to nothing. */
  readonly #backoff = new Backoff({ firstMs: 100, maxMs: 500 });
  #socket: Duplex | null = null;

  constructor(options: AgentLinkOptions) {
    this.#options = options;
  }

  get isConnected(): boolean {
    return this.#socket !== null;
  }

  /** @returns false: it is not sent, as nobody is there or too much waits already */
  send(message: FromProxy | object): boolean {
    return this.sendLine(() => jsonLine(message));
  }

  /** @param line made only if it can be sent */
  sendLine(line: () => string): boolean {
    if (this.#socket === null || this.#socket.writableLength > waitingLimit) return false;
    this.#socket.write(line());
    return true;
  }

  /** Until the signal comes. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    let toldWhy = "";
    while (!signal.aborted) {
      try {
        const { socket, head } = await this.#open(signal);
        toldWhy = "";
        this.#backoff.reset();
        log.info({ socket: this.#options.socket }, "connected to the agent");
        await this.#converse(socket, head, signal);
        if (!signal.aborted) log.warn({}, "the agent went; its last rules hold");
      } catch (error) {
        const why = messageOf(error);
        if (!signal.aborted && why !== toldWhy) log.warn({ error: why }, "no agent; its last rules hold");
        toldWhy = why;
      }
      // Rejected by the signal only.
      await clock.sleep(this.#backoff.next(), signal).catch(() => undefined);
    }
  }

  #open(signal: AbortSignal): Promise<{ readonly socket: Duplex; readonly head: Buffer }> {
    return new Promise((resolve, reject) => {
      const asked = request({
        socketPath: this.#options.socket,
        path: linkPath,
        headers: { connection: "upgrade", upgrade: linkProtocol },
        timeout: answerMs,
        signal,
      });
      asked.on("upgrade", (_, socket, head) => resolve({ socket, head }));
      asked.on("response", (response) => {
        response.resume();
        reject(new Error(`the agent wants no proxy of this version (HTTP ${response.statusCode})`));
      });
      asked.on("timeout", () => asked.destroy(new Error("the agent does not answer")));
      asked.on("error", reject);
      asked.end();
    });
  }

  #converse(socket: Duplex, head: Buffer, signal: AbortSignal): Promise<void> {
    const { onConnect, onMessage, onClose, log } = this.#options;
    const lines = new JsonLines(linkLimit);
    const take = (chunk: Uint8Array) => {
      try {
        for (const message of lines.push(chunk)) onMessage(message as ToProxy | NamesToProxy);
      } catch (error) {
        log.error({ error: messageOf(error) }, "the agent was not understood");
        socket.destroy();
      }
    };
    const end = () => socket.destroy();
    return new Promise((resolve) => {
      this.#socket = socket;
      socket.on("data", take);
      socket.on("end", end);
      // What ends a connection is told by its close.
      socket.on("error", end);
      socket.on("close", () => {
        this.#socket = null;
        onClose();
        signal.removeEventListener("abort", end);
        resolve();
      });
      signal.addEventListener("abort", end);
      for (const message of onConnect()) this.send(message);
      if (head.length > 0) take(head);
    });
  }
}
