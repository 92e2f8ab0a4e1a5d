/**
 * A call with a stream of answers, read in batches: whatever came in one turn of the event loop. gobgpd tells of each prefix in a message of its own,
 * and what a transport with a promise or more for each message takes is more than all of reading them. Calls with one answer are Connect's.
 */
import type { ClientHttp2Stream, IncomingHttpHeaders, IncomingHttpStatusHeader } from "node:http2";
import { constants } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Connection } from "./connection.ts";
import { Frames } from "./frames.ts";

/** Bytes of one message: an event may hold a whole table. */
const messageLimit = 64 << 20;
/** Messages that wait for their reader before no more are taken from the connection. */
const mostWaiting = 1_024;

export interface StreamCall {
  /** "/apipb.GobgpApi/ListPath" */
  readonly path: string;
  /** The request's message. */
  readonly body: Uint8Array;
  /** ms for all of it; null: for ever. */
  readonly limitMs: number | null;
}

/**
 * Messages as views into what was received.
 * @throws ConnectError, or the signal's reason
 */
export async function* serverStream(
  connection: Connection,
  call: StreamCall,
  signal: AbortSignal,
): AsyncGenerator<readonly Buffer[]> {
  signal.throwIfAborted();
  const stream = await connection.request("POST", call.path, headersOf(call), {});
  const answer = new Answer(stream);
  const abort = () => answer.end(signal.reason);
  const late = () => answer.end(new ConnectError(`no end within ${call.limitMs} ms`, Code.DeadlineExceeded));
  const timer = call.limitMs === null ? null : setTimeout(late, call.limitMs);
  signal.addEventListener("abort", abort);
  try {
    signal.throwIfAborted();
    stream.end(framed(call.body));
    for (;;) {
      const batch = await answer.next();
      if (batch === null) return;
      yield batch;
    }
  } finally {
    if (timer !== null) clearTimeout(timer);
    signal.removeEventListener("abort", abort);
    stream.close(constants.NGHTTP2_CANCEL);
  }
}

/** What comes by a stream, from its first header to its status. */
class Answer {
  readonly #stream: ClientHttp2Stream;
  readonly #frames = new Frames(messageLimit);
  #waiting: Buffer[] = [];
  #status: ConnectError | "ok" | null = null;
  #failure: unknown = null;
  #ended = false;
  #isTurnAsked = false;
  #wake: () => void = () => undefined;

  constructor(stream: ClientHttp2Stream) {
    this.#stream = stream;
    stream.on("response", (headers) => this.#headers(headers));
    stream.on("trailers", (trailers) => this.#readStatus(trailers));
    stream.on("data", (chunk: Buffer) => this.#data(chunk));
    stream.on("error", (error) => {
      this.#failure ??= new ConnectError(error.message, codeOfReset(stream.rstCode), undefined, undefined, error);
    });
    stream.once("close", () => {
      this.#ended = true;
      this.#told();
    });
  }

  /** Of what came since it was asked before. null: that was all. @throws what went wrong, after all that came before it */
  async next(): Promise<readonly Buffer[] | null> {
    for (;;) {
      if (this.#waiting.length > 0) {
        const batch = this.#waiting;
        this.#waiting = [];
        this.#stream.resume();
        return batch;
      }
      if (this.#failure !== null) throw this.#failure;
      if (this.#ended) {
        this.#check();
        return null;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Fails, and hears no more. */
  end(failure: unknown): void {
    this.#failure ??= failure;
    this.#stream.close(constants.NGHTTP2_CANCEL);
    this.#told();
  }

  #data(chunk: Buffer): void {
    if (this.#failure !== null) return;
    try {
      for (const message of this.#frames.take(chunk)) this.#waiting.push(message);
    } catch (error) {
      this.end(error);
      return;
    }
    if (this.#waiting.length > mostWaiting) this.#stream.pause();
    if (this.#waiting.length > 0) this.#told();
  }

  /** Each frame of HTTP/2 is told by itself: those that came together are read together. */
  #told(): void {
    if (this.#isTurnAsked) return;
    this.#isTurnAsked = true;
    setImmediate(() => {
      this.#isTurnAsked = false;
      this.#wake();
    });
  }

  #headers(headers: IncomingHttpHeaders & IncomingHttpStatusHeader): void {
    const { ":status": status = 0, "content-type": type = "none" } = headers;
    if (status !== 200) this.end(new ConnectError(`HTTP ${status}`, codeOfHttp[status] ?? Code.Unknown));
    else if (!type.startsWith("application/grpc"))
      this.end(new ConnectError(`an answer of type ${type}`, Code.Unknown));
    else this.#readStatus(headers);
  }

  /** In the headers where there is nothing else, in the trailers otherwise. */
  #readStatus({ "grpc-status": status, "grpc-message": message }: IncomingHttpHeaders): void {
    if (status === undefined || this.#status !== null) return;
    const code = Number(status);
    const text = decoded(String(message ?? "")) || `status ${status}`;
    this.#status = code === 0 ? "ok" : new ConnectError(text, Code[code] ? code : Code.Unknown);
  }

  /** @throws ConnectError */
  #check(): void {
    if (this.#status instanceof ConnectError) throw this.#status;
    const { rstCode } = this.#stream;
    if (this.#status === null && rstCode !== constants.NGHTTP2_NO_ERROR)
      throw new ConnectError(`the stream was reset (${rstCode})`, codeOfReset(rstCode));
    if (!this.#frames.isWhole) throw new ConnectError("it ended within a message", Code.DataLoss);
    if (this.#status === null) throw new ConnectError("it ended without a status", Code.Internal);
  }
}

function headersOf({ limitMs }: StreamCall): Readonly<Record<string, string>> {
  return {
    "content-type": "application/grpc+proto",
    te: "trailers",
    ...(limitMs !== null && { "grpc-timeout": `${limitMs}m` }),
  };
}

function framed(body: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}

/** Percent-encoded UTF-8; as it is where it is not. */
function decoded(message: string): string {
  try {
    return decodeURIComponent(message);
  } catch {
    return message;
  }
}

/** gRPC over HTTP2, "Errors". */
function codeOfReset(rstCode: number | undefined): Code {
  switch (rstCode) {
    case undefined:
    case constants.NGHTTP2_NO_ERROR:
    case constants.NGHTTP2_REFUSED_STREAM:
      return Code.Unavailable;
    case constants.NGHTTP2_CANCEL:
      return Code.Canceled;
    default:
      return Code.Internal;
  }
}

/** gRPC's "HTTP to gRPC Status Code Mapping". */
const codeOfHttp: Readonly<Record<number, Code>> = {
  400: Code.Internal,
  401: Code.Unauthenticated,
  403: Code.PermissionDenied,
  404: Code.Unimplemented,
  429: Code.Unavailable,
  502: Code.Unavailable,
  503: Code.Unavailable,
  504: Code.Unavailable,
};
