/**
 * A gRPC server that answers as gobgpd of any version would, from messages that tests write field by field: the form on the wire is what
 * is tested, so nothing of the client's is used.
 */
import { createServer, type Http2Server, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { ExecutionContext } from "ava";

/** Field number and value: text and bytes are length-delimited, numbers and flags varints. */
export type Fields = readonly (readonly [field: number, value: string | Uint8Array | number | boolean])[];

export function message(fields: Fields): Uint8Array {
  const writer = new BinaryWriter();
  for (const [field, value] of fields) {
    if (typeof value === "string") writer.tag(field, WireType.LengthDelimited).string(value);
    else if (typeof value === "number") writer.tag(field, WireType.Varint).int64(value);
    else if (typeof value === "boolean") writer.tag(field, WireType.Varint).bool(value);
    else writer.tag(field, WireType.LengthDelimited).bytes(value);
  }
  return writer.finish();
}

export const any = (name: string, value: Uint8Array): Uint8Array =>
  message([[1, `type.googleapis.com/${name}`], ...(value.length > 0 ? ([[2, value]] as const) : [])]);

export interface CallContext {
  /** Body of the request, without its gRPC frame. */
  readonly request: Uint8Array;
  /** Sends one message of the stream. */
  send(body: Uint8Array): void;
  /** Sends bytes as they are, framed by nobody. */
  raw(bytes: Uint8Array): void;
  /** Resolves when the client is gone. */
  readonly closed: Promise<void>;
}

/** Resolves with the gRPC status, 0 for success. */
export type Handler = (call: CallContext) => Promise<number>;

export class GobgpServer {
  readonly #server: Http2Server = createServer();
  readonly #streams = new Set<ServerHttp2Stream>();
  /** "api.GoBgpService/GetBgp" -> what it does; all else is UNIMPLEMENTED. */
  readonly handlers: Record<string, Handler>;
  readonly calls: string[] = [];
  address = "";

  constructor(handlers: Record<string, Handler>) {
    this.handlers = handlers;
    this.#server.on("stream", (stream, headers) => void this.#serve(stream, String(headers[":path"]).slice(1)));
    this.#server.on("session", (session) => session.on("error", () => undefined));
  }

  async start(t: ExecutionContext, port = 0): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(port, "127.0.0.1", resolve));
    this.address = `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    t.teardown(() => this.stop());
    return this;
  }

  async stop(): Promise<void> {
    this.cut();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  /** Ends all connections, as a daemon that is killed. */
  cut(): void {
    for (const stream of this.#streams) stream.session?.destroy();
  }

  async #serve(stream: ServerHttp2Stream, path: string): Promise<void> {
    this.#streams.add(stream);
    stream.on("error", () => undefined);
    const closed = new Promise<void>((resolve) => {
      stream.once("close", () => {
        this.#streams.delete(stream);
        resolve();
      });
    });
    this.calls.push(path);
    const chunks: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    await Promise.race([new Promise((resolve) => stream.once("end", resolve)), closed]);
    const handler = this.handlers[path];
    const content = { ":status": 200, "content-type": "application/grpc" };
    if (handler === undefined) {
      stream.respond({ ...content, "grpc-status": "12", "grpc-message": "unknown method" }, { endStream: true });
      return;
    }
    let status = 0;
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": String(status) }));
    stream.respond(content, { waitForTrailers: true });
    const raw = (bytes: Uint8Array) => void (stream.destroyed || stream.write(bytes));
    const send = (body: Uint8Array) => {
      const head = Buffer.alloc(5);
      head.writeUInt32BE(body.length, 1);
      raw(Buffer.concat([head, body]));
    };
    status = await handler({ request: Buffer.concat(chunks).subarray(5), send, raw, closed });
    if (!stream.destroyed) stream.end();
  }
}
