/**
 * Live peers around a filter of the engine: what it is told so far is run again from its beginning at every step, and what is new goes to the
 * peers. Without sockets, threads or clocks, so the same bytes give the same answers.
 */
import { Duplex } from "node:stream";
import { loadNative } from "../../src/native/index.ts";
import type { L7RunOptions, L7Runner, L7RunResult, L7Step } from "../../src/native/l7-contract.ts";

const native = loadNative() as unknown as L7Runner;

export class Replay {
  readonly client: Duplex;
  result: L7RunResult;

  readonly #options: L7RunOptions;
  readonly #connected: (server: Duplex) => void;
  readonly #steps: L7Step[] = [];
  #server: Duplex | null = null;
  #told = { client: 0, server: 0, connections: 0 };

  /** @param connected gets each connection that the filter makes to the server. */
  constructor(options: L7RunOptions, connected: (server: Duplex) => void) {
    this.#options = options;
    this.#connected = connected;
    this.client = this.#peer("client");
    this.result = native.runL7Filter(options, []);
  }

  step(step: L7Step): void {
    this.#steps.push(step);
    this.result = native.runL7Filter(this.#options, this.#steps);
    const { client, server } = this.result;
    if (server.connections > this.#told.connections) {
      this.#told.connections = server.connections;
      this.#server = this.#peer("server");
      this.#connected(this.#server);
    }
    const forServer = server.bytes.subarray(this.#told.server);
    const forClient = client.bytes.subarray(this.#told.client);
    this.#told.server = server.bytes.length;
    this.#told.client = client.bytes.length;
    if (forServer.length > 0) this.#server?.push(forServer);
    if (forClient.length > 0) this.client.push(forClient);
    if (client.finished || client.reset) this.client.push(null);
  }

  #peer(from: "client" | "server"): Duplex {
    return new Duplex({
      read: () => undefined,
      write: (bytes: Buffer, _encoding, done) => {
        // Not within the peer's own call.
        setImmediate(() => {
          this.step({ from, bytes });
          done();
        });
      },
      final: (done) => {
        setImmediate(() => {
          this.step({ from, bytes: "end" });
          done();
        });
      },
    });
  }
}
