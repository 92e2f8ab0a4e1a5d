/**
 * Requests over undici. HTTP/1.1 on purpose: a watch has a connection of its own, so one that hangs holds up nothing but itself, and
 * a balancer in front of the API servers spreads them. TCP keep-alive finds a peer or a path that is gone within half a minute; what
 * keeps its TCP alive and says nothing is found by `Watchdog`s, and sooner by what other requests tell of it (`Pulse`). Both go by the injected clock.
 *
 * Connections belong to one set of certificates: when these change, new requests take new connections, and what runs on the old
 * ones ends by itself.
 */
import type { Readable } from "node:stream";
import { Pool } from "undici";
import type { Clock } from "../lib/clock.ts";
import type { Access, AccessReader } from "./access.ts";
import { connectionError, KubeConnectionError } from "./errors.ts";
import { type FollowedWatch, Pulse } from "./pulse.ts";
import { Watchdog } from "./watchdog.ts";

/** ms. The kernel then probes each second and gives up after ten. */
const keepAliveAfterMs = 15_000;
const connectTimeoutMs = 10_000;
/** ms that an idle connection is kept; API servers keep theirs longer. */
const idleConnectionMs = 30_000;

export interface Request {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | null;
  /** ms without a byte after which it has failed: before the answer begins, and between its pieces. */
  readonly silenceMs: { readonly start: number; readonly body: number };
  /** A watch: that its answer says nothing for long is no failure by itself. */
  readonly watch: boolean;
  readonly signal: AbortSignal | null;
}

export interface Answer {
  readonly status: number;
  header(name: string): string | null;
  /** @throws KubeConnectionError; the signal's reason */
  readonly pieces: AsyncIterable<Buffer>;
  /** What it was sent with. */
  readonly access: Access;
  /** Gives up what was not read. */
  discard(): void;
}

export class Transport {
  readonly #access: AccessReader;
  readonly #clock: Clock;
  readonly #pulse: Pulse;
  #current: { readonly id: string; readonly pool: Pool } | null = null;
  /** Of older certificates, until their watches have ended. */
  readonly #retired = new Set<Pool>();
  #closed = false;

  /** @param random 0..1 */
  constructor(access: AccessReader, clock: Clock, random: () => number) {
    this.#access = access;
    this.#clock = clock;
    this.#pulse = new Pulse(clock, random);
  }

  get access(): AccessReader {
    return this.#access;
  }

  get pulse(): Pulse {
    return this.#pulse;
  }

  /** @throws KubeConfigError, KubeConnectionError; the signal's reason */
  async send(request: Request): Promise<Answer> {
    request.signal?.throwIfAborted();
    const access = await this.#access.current();
    request.signal?.throwIfAborted();
    const server = new URL(access.server);
    const abort = new AbortController();
    const give = () => abort.abort(request.signal?.reason);
    request.signal?.addEventListener("abort", give, { once: true });
    const sentAt = this.#clock.monotonicMs();
    const { history } = this.#pulse;
    let answered = false;
    const dog = new Watchdog(this.#clock, request.silenceMs.start, () => {
      if (!answered) this.#pulse.unanswered(access.server, sentAt);
      const { start, body } = request.silenceMs;
      abort.abort(silence(request, access.server, answered ? body : start));
    });
    let followed: FollowedWatch | null = null;
    const heard = () => {
      dog.feed();
      followed?.heard();
    };
    const end = () => {
      dog.stop();
      followed?.ended();
      request.signal?.removeEventListener("abort", give);
    };
    const basePath = server.pathname === "/" ? "" : server.pathname;
    const query = new URLSearchParams(request.query).toString();
    try {
      const { statusCode, headers, body } = await this.#pool(access).request({
        method: request.method,
        path: `${basePath}${request.path}${query === "" ? "" : `?${query}`}`,
        headers: {
          ...request.headers,
          ...(access.authorization === null ? {} : { authorization: access.authorization }),
        },
        body: request.body,
        signal: abort.signal,
        // Ours go by the injected clock.
        headersTimeout: 0,
        bodyTimeout: 0,
      });
      answered = true;
      this.#pulse.answered(access.server);
      dog.expect(request.silenceMs.body);
      if (request.watch) followed = this.#pulse.follow((error) => abort.abort(error), history);
      return {
        status: statusCode,
        header: (name) => [headers[name] ?? null].flat()[0] ?? null,
        pieces: pieces(body, heard, end, (error) => this.#failure(error, abort.signal, access)),
        access,
        discard: () => {
          end();
          // What is under way breaks off; that it does is no failure.
          body.on("error", () => undefined);
          body.destroy();
        },
      };
    } catch (error) {
      end();
      throw this.#failure(error, abort.signal, access);
    }
  }

  /** Ends all that is under way. */
  async close(): Promise<void> {
    this.#closed = true;
    const pools = [...this.#retired, ...(this.#current === null ? [] : [this.#current.pool])];
    this.#current = null;
    await Promise.all(pools.map((pool) => pool.destroy()));
  }

  #failure(error: unknown, signal: AbortSignal, { server }: Access): unknown {
    if (signal.aborted) return signal.reason;
    return error instanceof KubeConnectionError ? error : connectionError(server, error);
  }

  #pool(access: Access): Pool {
    if (this.#current?.id === access.connectionId) return this.#current.pool;
    if (this.#closed) throw connectionError(access.server, new Error("this client was closed"));
    const { ca, certificate, key, serverName, insecure } = access.tls;
    const pool = new Pool(new URL(access.server).origin, {
      connections: null,
      keepAliveTimeout: idleConnectionMs,
      connect: {
        ...(ca === null ? {} : { ca }),
        ...(certificate === null ? {} : { cert: certificate }),
        ...(key === null ? {} : { key }),
        ...(serverName === null ? {} : { servername: serverName }),
        rejectUnauthorized: !insecure,
        timeout: connectTimeoutMs,
        keepAlive: true,
        keepAliveInitialDelay: keepAliveAfterMs,
      },
    });
    if (this.#current !== null) this.#retire(this.#current.pool);
    this.#current = { id: access.connectionId, pool };
    return pool;
  }

  #retire(pool: Pool): void {
    this.#retired.add(pool);
    const gone = () => this.#retired.delete(pool);
    // It rejects if `close` destroys it before its watches have ended.
    pool.close().then(gone, gone);
  }
}

async function* pieces(
  body: Readable,
  heard: () => void,
  end: () => void,
  failure: (error: unknown) => unknown,
): AsyncGenerator<Buffer> {
  try {
    for await (const piece of body as AsyncIterable<Buffer>) {
      heard();
      yield piece;
      // Our own work on it is no silence of the server.
      heard();
    }
  } catch (error) {
    throw failure(error);
  } finally {
    end();
  }
}

function silence({ method, path }: Request, server: string, ms: number): KubeConnectionError {
  return new KubeConnectionError({
    code: "KUBE_TIMEOUT",
    object: server,
    message: `${method} ${path}: nothing came for ${Math.round(ms / 1_000)} s`,
    remedy: "see whether the API server is overloaded, or a device on the path forgot the connection",
  });
}
