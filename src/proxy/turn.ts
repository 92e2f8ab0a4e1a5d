/**
 * Whose turn it is: of the proxies of a node one gets the flows. The turn is a listening socket of the abstract namespace (unix(7)), named by the
 * folder of the kernel's tables: it goes with the process, however that ends, so it is never stale.
 *
 * A successor asks the holder for it. The holder gives the name away at once but serves on until the successor says `taken`, when its own sockets are
 * where the kernel looks: no flow falls between the two. If a successor ends before, the holder takes the name back, or tells whoever was quicker
 * that it still has the flows. One that had its turn waits for the
 * connection to its successor to end, and is needed again then; it never asks, so that two never take it from each other in turns.
 *
 * With the turn goes what the holder knows (`Held.tells`), and again, when the successor has the flows, what came since. A holder of a version that
 * tells nothing just gives the turn.
 */
import { createHash } from "node:crypto";
import { connect, createServer, type Server, type Socket } from "node:net";
import { resolve as resolvePath } from "node:path";
import type { Clock } from "../lib/clock.ts";
import { TandemError } from "../lib/errors.ts";

/** ms for the holder's answer. */
const answerMs = 5_000;
/** ms between two tries, where several want it at once. */
const retryMs = 50;

/** What a successor is told. @param isLast it has the flows now, and was told before */
export type Tells = (isLast: boolean) => string;

export interface Held {
  /** What whoever had the turn before told with it; null: nothing. */
  readonly told: string | null;
  /** Called with what it tells when we have announced ourselves. */
  onLast(take: (text: string) => void): void;
  /** Without it a successor is told nothing. One line. */
  tells(what: Tells): void;
  /** The kernel gives flows to us now: whoever had the turn before may end. */
  announce(): void;
  /** Resolves when a successor has announced itself. */
  readonly yielded: Promise<void>;
  /** At the end of the process: nobody has it then. */
  release(): Promise<void>;
}

export class Turn {
  readonly #name: string;
  readonly #folder: string;
  readonly #clock: Pick<Clock, "sleep">;

  /** @param folder bpffs of the node's agent */
  constructor(folder: string, clock: Pick<Clock, "sleep">) {
    this.#folder = resolvePath(folder);
    this.#name = `\0tandem-proxy/${createHash("sha256").update(this.#folder).digest("hex").slice(0, 32)}`;
    this.#clock = clock;
  }

  /**
   * @param how ask: the holder is to give it away; wait: until it has ended
   * @throws TandemError PROXY_RUNNING when the holder does not answer; the signal's reason
   */
  async take(how: "ask" | "wait", signal: AbortSignal): Promise<Held> {
    let before: Given | null = null;
    for (;;) {
      signal.throwIfAborted();
      const server = createServer();
      if (await listens(server, this.#name)) return new Holding(server, this.#name, before);
      before?.socket.destroy();
      before = await this.#meet(how, signal);
      if (before === null) await this.#clock.sleep(retryMs, signal);
    }
  }

  /** @returns the connection on which the holder gave it away; null: it is worth trying */
  async #meet(how: "ask" | "wait", signal: AbortSignal): Promise<Given | null> {
    signal.throwIfAborted();
    const socket = connect(this.#name);
    const isOver = new Promise<void>((done) => socket.once("close", () => done()));
    const abort = () => socket.destroy();
    signal.addEventListener("abort", abort);
    socket.on("error", () => socket.destroy());
    try {
      if (how === "wait") {
        socket.resume();
        await isOver;
        return null;
      }
      const lines = new Lines(socket);
      const given = new Promise<string>((done) => lines.take(done));
      socket.write("ask\n");
      socket.setTimeout(answerMs, () => socket.destroy(new Error("no answer")));
      let isSilent = false;
      socket.once("timeout", () => {
        isSilent = true;
      });
      const line = await Promise.race([given, isOver.then(() => null)]);
      if (line !== null) {
        socket.setTimeout(0);
        return { socket, lines, told: restOf(line, "yours ") };
      }
      signal.throwIfAborted();
      if (isSilent) throw this.#hung();
      return null;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  #hung(): TandemError {
    return new TandemError({
      code: "PROXY_RUNNING",
      object: this.#folder,
      message: "another tandem-proxy has this node's flows and does not answer",
      remedy: "end that process; its flows are closed until another one has started",
    });
  }
}

/** A turn that was given away. */
interface Given {
  readonly socket: Socket;
  readonly lines: Lines;
  readonly told: string | null;
}

/** Of one connection, one taker at a time. */
class Lines {
  #take: (line: string) => void = () => undefined;

  constructor(socket: Socket) {
    let part: string[] = [];
    socket.setEncoding("utf8").on("data", (chunk: string) => {
      const [first = "", ...rest] = chunk.split("\n");
      part.push(first);
      for (const next of rest) {
        const line = part.join("");
        part = [next];
        this.#take(line);
      }
    });
  }

  take(take: (line: string) => void): void {
    this.#take = take;
  }
}

class Holding implements Held {
  readonly told: string | null;
  readonly yielded: Promise<void>;
  readonly #name: string;
  /** Those that have the flows until we say that we do. */
  readonly #before = new Set<Socket>();
  #server: Server;
  #hasFlows = false;
  #yield: () => void = () => undefined;
  #isOver = false;
  #tells: Tells | null = null;
  #onLast: (text: string) => void = () => undefined;
  /** The successor's connection stays, so that it tells by its end that it has gone. */
  readonly #peers = new Set<Socket>();

  constructor(server: Server, name: string, before: Given | null) {
    this.#name = name;
    this.told = before?.told ?? null;
    if (before !== null) {
      this.#before.add(before.socket);
      before.lines.take((line) => this.#hearLast(line));
    }
    this.#server = server;
    this.yielded = new Promise((resolve) => {
      this.#yield = resolve;
    });
    server.on("connection", (peer) => this.#serve(peer));
  }

  onLast(take: (text: string) => void): void {
    this.#onLast = take;
  }

  tells(what: Tells): void {
    this.#tells = what;
  }

  announce(): void {
    this.#hasFlows = true;
    for (const socket of this.#before) socket.write("taken\n");
  }

  async release(): Promise<void> {
    this.#isOver = true;
    for (const socket of [...this.#before, ...this.#peers]) socket.destroy();
    await closed(this.#server);
  }

  #serve(peer: Socket): void {
    this.#peers.add(peer);
    let isGiven = false;
    peer.on("error", () => peer.destroy());
    new Lines(peer).take((line) => {
      if (line === "ask" && !isGiven) {
        isGiven = true;
        // The name is free when the successor hears of it; those that wait keep their connections.
        this.#server.close();
        this.#tell(peer, "yours", false);
      } else if (line === "holding") {
        this.#before.add(peer);
        if (this.#hasFlows) peer.write("taken\n");
      } else if (line === "taken") {
        this.#yieldTo(peer);
      } else {
        this.#hearLast(line);
      }
    });
    peer.on("close", () => {
      this.#peers.delete(peer);
      this.#before.delete(peer);
      if (isGiven && !this.#isOver) void this.#takeBack();
    });
  }

  #tell(peer: Socket, word: string, isLast: boolean): void {
    peer.write(this.#tells === null ? `${word}\n` : `${word} ${this.#tells(isLast)}\n`);
  }

  #hearLast(line: string): void {
    const text = restOf(line, "last ");
    if (text !== null) this.#onLast(text);
  }

  #yieldTo(peer: Socket): void {
    if (!this.#isOver) this.#tell(peer, "last", true);
    this.#end();
  }

  #end(): void {
    this.#isOver = true;
    this.#yield();
  }

  /** The successor ended before it had the flows. If another one has the name, that one is told that they are here. */
  async #takeBack(): Promise<void> {
    const server = createServer((peer) => this.#serve(peer));
    if (await listens(server, this.#name)) {
      if (this.#isOver) server.close();
      else this.#server = server;
      return;
    }
    const quicker = connect(this.#name);
    this.#peers.add(quicker);
    quicker.on("error", () => quicker.destroy());
    new Lines(quicker).take(() => this.#yieldTo(quicker));
    quicker.on("close", () => {
      this.#peers.delete(quicker);
      if (!this.#isOver) void this.#takeBack();
    });
    quicker.write("holding\n");
  }
}

/** null: it does not begin so. */
function restOf(line: string, start: string): string | null {
  return line.startsWith(start) ? line.slice(start.length) : null;
}

/** @returns false: another process has the name */
function listens(server: Server, name: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(false);
      else reject(error);
    };
    server.once("error", failed);
    server.listen(name, () => {
      server.off("error", failed);
      server.unref();
      resolve(true);
    });
  });
}

function closed(server: Server): Promise<void> {
  return server.listening ? new Promise((resolve) => server.close(() => resolve())) : Promise.resolve();
}
