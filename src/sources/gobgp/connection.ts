/**
 * One HTTP/2 connection, opened once: who loses it opens another. The library's own manager leaves the connection without a listener for errors
 * between two of its states, and an error that comes there ends the process; here there is one from the first to the last moment.
 */
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import type { createGrpcTransport } from "@connectrpc/connect-node";

/** Bytes that gobgpd may send before they are read: lists come as fast as they are decoded, and are held back otherwise. */
const windowBytes = 1 << 20;

/** What the transport takes in the place of the library's manager. */
type SessionManager = NonNullable<Parameters<typeof createGrpcTransport>[0]["sessionManager"]>;

export class Connection implements SessionManager {
  readonly authority: string;
  #session: ClientHttp2Session | null = null;
  #opened: Promise<ClientHttp2Session> | null = null;
  #failure: Error | null = null;
  #closed = false;

  /** @param authority "http://127.0.0.1:50051" */
  constructor(authority: string) {
    this.authority = authority;
  }

  async request(
    ...[method, path, headers, options]: Parameters<SessionManager["request"]>
  ): Promise<ClientHttp2Stream> {
    this.#opened ??= this.#open();
    const session = await this.#opened;
    if (session.closed || session.destroyed) throw this.#lost();
    const stream = session.request({ ...headers, ":method": method, ":path": path }, options);
    // Its reader hears it, too; whoever stopped reading does not, and is not to end the process for it.
    stream.on("error", () => undefined);
    return stream;
  }

  /** Part of the library's interface, for pings that are not sent: the peer is on the loopback. */
  notifyResponseByteRead(): void {}

  /** It broke off, other than by bytes that are no HTTP/2. */
  get isLost(): boolean {
    const gone = this.#session?.destroyed === true || this.#session?.closed === true;
    return gone && (this.#failure === null || !("code" in this.#failure) || this.#failure.code !== "ERR_HTTP2_ERROR");
  }

  /** Ends everything under way. */
  close(): void {
    this.#closed = true;
    this.#session?.destroy();
  }

  #open(): Promise<ClientHttp2Session> {
    return new Promise((resolve, reject) => {
      if (this.#closed) {
        reject(this.#lost());
        return;
      }
      const session = connect(this.authority, { settings: { initialWindowSize: windowBytes } });
      this.#session = session;
      session.on("error", (error) => {
        this.#failure = error;
        reject(this.#lost());
      });
      session.once("close", () => reject(this.#lost()));
      session.once("goaway", () => session.close());
      session.once("connect", () => resolve(session));
    });
  }

  #lost(): ConnectError {
    const why = this.#failure === null ? "the connection is closed" : this.#failure.message;
    return new ConnectError(why, Code.Unavailable, undefined, undefined, this.#failure ?? undefined);
  }
}
