/**
 * One agent per node: two would undo each other's maps. The lock is a listening socket of the abstract namespace (unix(7)), named by the
 * folder that must not be shared: the kernel takes it back with the process, however that ends, so it is never stale. Whoever
 * meets it is told who holds it.
 */
import { createHash } from "node:crypto";
import { connect, createServer, type Server } from "node:net";
import { resolve } from "node:path";
import { TandemError } from "../lib/errors.ts";

/** ms that the holder may take to say who it is. */
const answerMs = 500;

export interface Holder {
  readonly pid: number;
  /** Its API socket. */
  readonly socket: string;
}

export class AgentLock {
  readonly #folder: string;
  readonly #server: Server;

  constructor(folder: string, holder: Holder) {
    this.#folder = resolve(folder);
    this.#server = createServer((peer) => {
      peer.on("error", () => peer.destroy());
      peer.end(JSON.stringify(holder));
    });
    this.#server.unref();
  }

  /** @throws TandemError AGENT_RUNNING when another process holds it */
  async take(): Promise<void> {
    const name = abstractName(this.#folder);
    try {
      await listen(this.#server, name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
      const holder = await askHolder(name);
      throw new TandemError({
        code: "AGENT_RUNNING",
        object: this.#folder,
        message: `another agent works with this folder: ${holder}`,
        remedy: "stop that one first; a second agent on one machine needs folders and a socket of its own",
        cause: error,
      });
    }
  }

  async release(): Promise<void> {
    await new Promise<void>((done) => this.#server.close(() => done()));
  }
}

function abstractName(folder: string): string {
  return `\0tandem-agent/${createHash("sha256").update(folder).digest("hex").slice(0, 32)}`;
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((done, reject) => {
    server.once("error", reject);
    server.listen(path, () => {
      server.off("error", reject);
      done();
    });
  });
}

function askHolder(name: string): Promise<string> {
  return new Promise((done) => {
    const socket = connect(name);
    let text = "";
    const finish = () => {
      socket.destroy();
      done(describe(text));
    };
    socket.setTimeout(answerMs, finish);
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("utf8");
    });
    socket.on("end", finish);
    socket.on("error", finish);
  });
}

function describe(text: string): string {
  try {
    const { pid, socket } = JSON.parse(text) as Partial<Holder>;
    return `process ${pid}, answering on ${socket}`;
  } catch {
    return "it does not say which process it is";
  }
}
