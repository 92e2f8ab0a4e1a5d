/**
 * The proxies of this node that talk to the agent: one as a rule, two while one hands over to its successor. Each is given the tables as soon as it
 * comes and whenever they change. The agent needs none of them: what they do not hear they keep from before, and ask for again.
 */
import type { Duplex } from "node:stream";
import {
  type FromProxy,
  linkLimit,
  type ProxyHello,
  type ProxyInstanceDto,
  type ProxyState,
  type ProxyStats,
  type RefusedRules,
  type ToProxy,
} from "../../api/proxy-dto.ts";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { JsonLines, jsonLine } from "../../lib/json-lines.ts";
import type { Logger } from "../../model/logging.ts";
import type { L7Record, L7Tables } from "../../native/l7-contract.ts";

/** Bytes that may wait for one proxy before the agent takes it for hung. */
const waitingLimit = 512 << 20;

export interface ProxyLinksOptions {
  readonly clock: Pick<Clock, "now">;
  readonly log: Logger;
  /** Somebody came, went, or changed its state. */
  readonly onChange: () => void;
  readonly onRecords: (records: readonly L7Record[], lost: number) => void;
  /** What a proxy has counted since its start. @param process tells it apart from any other */
  readonly onStats?: (process: string, stats: ProxyStats) => void;
  /** What is not of this protocol's own: names of DNS. Answers are sent by `send`. */
  readonly onOther?: (message: { readonly type: string }, send: (answer: object) => void) => void;
}

interface Link {
  readonly socket: Duplex;
  hello: ProxyHello | null;
  readonly connectedSince: number;
  generation: number | null;
  refused: readonly RefusedRules[];
  stats: ProxyStats | null;
}

export class ProxyLinks {
  readonly #options: ProxyLinksOptions;
  readonly #links = new Set<Link>();
  #config: { readonly generation: number; readonly tables: L7Tables } | null = null;
  #watched = false;
  /** Woken by every answer and every end. */
  #waiting: (() => void)[] = [];

  constructor(options: ProxyLinksOptions) {
    this.#options = options;
  }

  get instances(): readonly ProxyInstanceDto[] {
    return [...this.#links].flatMap(({ hello, connectedSince, generation, stats }) =>
      hello === null ? [] : [{ ...hello, connectedSince, generation, stats }],
    );
  }

  /** Of rules that a proxy could not use. */
  get refused(): readonly RefusedRules[] {
    return [...this.#links].find(({ hello }) => hello?.state === "active")?.refused ?? [];
  }

  /** @param head what came already behind the request */
  accept(socket: Duplex, head: Uint8Array): void {
    const link: Link = {
      socket,
      hello: null,
      connectedSince: this.#options.clock.now(),
      generation: null,
      refused: [],
      stats: null,
    };
    const lines = new JsonLines(linkLimit);
    const take = (chunk: Uint8Array) => {
      try {
        for (const message of lines.push(chunk)) this.#take(link, message as FromProxy);
      } catch (error) {
        this.#options.log.warn({ pid: link.hello?.pid, error: messageOf(error) }, "a proxy was not understood");
        socket.destroy();
      }
    };
    socket.on("data", take);
    // What ends a connection is told by its close.
    socket.on("error", () => socket.destroy());
    socket.on("end", () => socket.destroy());
    socket.on("close", () => this.#gone(link));
    this.#links.add(link);
    if (this.#config !== null) this.#send(link, { type: "config", ...this.#config });
    this.#send(link, { type: "watch", records: this.#watched });
    if (head.length > 0) take(head);
  }

  /** Gives everybody the tables. @param awaitsOne somebody is to be there at all @returns when all that judge requests work by them */
  async configure(generation: number, tables: L7Tables, awaitsOne = false): Promise<void> {
    this.#config = { generation, tables };
    for (const link of this.#links) this.#send(link, { type: "config", generation, tables });
    const judging = () => [...this.#links].filter(({ hello }) => hello !== null && hello.state !== "standby");
    const isBehind = ({ generation: has }: Link) => (has ?? -1) < generation;
    while (judging().some(isBehind) || (awaitsOne && judging().length === 0))
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  watch(records: boolean): void {
    if (records === this.#watched) return;
    this.#watched = records;
    this.broadcast({ type: "watch", records });
  }

  broadcast(message: object): void {
    for (const link of this.#links) this.#send(link, message);
  }

  close(): void {
    for (const { socket } of this.#links) socket.destroy();
  }

  #send({ socket }: Link, message: ToProxy | object): void {
    if (socket.destroyed) return;
    if (socket.writableLength > waitingLimit) socket.destroy();
    else socket.write(jsonLine(message));
  }

  #take(link: Link, message: FromProxy): void {
    switch (message.type) {
      case "hello": {
        const { type: _, ...hello } = message;
        link.hello = hello;
        this.#options.log.info({ ...hello }, "a proxy is there");
        this.#changed();
        break;
      }
      case "state":
        this.#setState(link, message.state);
        break;
      case "applied":
        link.generation = message.generation;
        link.refused = message.refused;
        this.#changed();
        break;
      case "stats": {
        const { type: _, ...stats } = message;
        link.stats = stats;
        if (link.hello !== null) this.#options.onStats?.(`${link.hello.pid} ${link.hello.started}`, stats);
        break;
      }
      case "records":
        this.#options.onRecords(message.records, message.lost);
        break;
      default:
        this.#options.onOther?.(message, (answer) => this.#send(link, answer));
    }
  }

  #setState(link: Link, state: ProxyState): void {
    if (link.hello !== null) link.hello = { ...link.hello, state };
    this.#changed();
  }

  #gone(link: Link): void {
    if (!this.#links.delete(link)) return;
    this.#options.log.info({ pid: link.hello?.pid }, "a proxy went");
    this.#changed();
  }

  #changed(): void {
    for (const wake of this.#waiting.splice(0)) wake();
    this.#options.onChange();
  }
}
