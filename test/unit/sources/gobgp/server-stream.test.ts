import { createServer, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { Code, ConnectError } from "@connectrpc/connect";
import test, { type ExecutionContext } from "ava";
import { Connection } from "../../../../src/sources/gobgp/connection.ts";
import { Frames } from "../../../../src/sources/gobgp/frames.ts";
import { serverStream } from "../../../../src/sources/gobgp/server-stream.ts";

function framed(text: string, flags = 0): Buffer {
  const head = Buffer.alloc(5);
  head[0] = flags;
  head.writeUInt32BE(text.length, 1);
  return Buffer.concat([head, Buffer.from(text)]);
}

const content = { ":status": 200, "content-type": "application/grpc" };

/** A server whose one method does this, and a connection to it. */
async function connected(t: ExecutionContext, answer: (stream: ServerHttp2Stream) => void): Promise<Connection> {
  const server = createServer();
  server.on("stream", (stream) => {
    stream.on("error", () => undefined);
    answer(stream);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const connection = new Connection(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  t.teardown(() => {
    connection.close();
    server.close();
  });
  return connection;
}

async function read(connection: Connection, limitMs: number | null = 5_000, signal = new AbortController().signal) {
  const found: string[] = [];
  const call = { path: "/test.Service/Method", body: Buffer.from("question"), limitMs };
  for await (const batch of serverStream(connection, call, signal)) found.push(...batch.map((each) => each.toString()));
  return found;
}

test("messages are whole whatever the pieces that they come in", (t) => {
  const texts = ["", "one", "x".repeat(300), "", "last"];
  const bytes = Buffer.concat(texts.map((text) => framed(text)));
  for (const size of [1, 2, 3, 5, 7, 64, 299, bytes.length]) {
    const frames = new Frames(1_000);
    const found: string[] = [];
    for (let at = 0; at < bytes.length; at += size)
      found.push(...frames.take(bytes.subarray(at, at + size)).map((message) => message.toString()));
    t.deepEqual(found, texts, `pieces of ${size} bytes`);
    t.true(frames.isWhole);
  }
  const cut = new Frames(1_000);
  t.deepEqual(cut.take(framed("one").subarray(0, 6)), []);
  t.false(cut.isWhole);
});

test("a message that is compressed or too large is refused before it is there", (t) => {
  t.throws(() => new Frames(10).take(framed("12345678901").subarray(0, 5)), { message: /11 bytes, and 10 are taken/ });
  t.throws(() => new Frames(10).take(framed("one", 1)), { message: /flags 1/ });
});

test("answers come in their order, and the request is there as it was sent", async (t) => {
  const texts = Array.from({ length: 3_000 }, (_, at) => `answer ${at}`);
  let asked = "";
  const connection = await connected(t, (stream) => {
    stream.on("data", (chunk: Buffer) => {
      asked += chunk.toString();
    });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.respond(content, { waitForTrailers: true });
    for (const text of texts) stream.write(framed(text));
    stream.end();
  });
  t.deepEqual(await read(connection), texts);
  t.is(asked, framed("question").toString());
});

test("what goes wrong has the code that gRPC gives it, and comes after the answers before it", async (t) => {
  const trailers = (status: string, message: string) => (stream: ServerHttp2Stream) => {
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": status, "grpc-message": message }));
    stream.respond(content, { waitForTrailers: true });
    stream.end(framed("one"));
  };
  const cases: readonly (readonly [(stream: ServerHttp2Stream) => void, Code, RegExp])[] = [
    [trailers("5", "no%20such%20peer"), Code.NotFound, /no such peer/],
    [trailers("99", "%zz"), Code.Unknown, /%zz/],
    [(stream) => stream.respond({ ...content, "grpc-status": "12" }, { endStream: true }), Code.Unimplemented, /./],
    [(stream) => stream.respond({ ":status": 404 }, { endStream: true }), Code.Unimplemented, /HTTP 404/],
    [
      (stream) => stream.respond({ ":status": 200, "content-type": "text/html" }, { endStream: true }),
      Code.Unknown,
      /type text\/html/,
    ],
    [
      (stream) => {
        stream.respond(content);
        stream.end(framed("one"));
      },
      Code.Internal,
      /without a status/,
    ],
    [
      (stream) => {
        stream.respond(content);
        stream.end(framed("one").subarray(0, 7));
      },
      Code.DataLoss,
      /within a message/,
    ],
    [(stream) => stream.close(7), Code.Unavailable, /./],
  ];
  for (const [answer, code, message] of cases) {
    const error = await t.throwsAsync(read(await connected(t, answer)), { instanceOf: ConnectError });
    t.is(error?.code, code, error?.message ?? "");
    t.regex(error?.rawMessage ?? "", message);
  }
});

test("a call that takes too long ends, and so does one that is not wanted any more", async (t) => {
  const silent = (stream: ServerHttp2Stream) => stream.respond(content);
  const late = await t.throwsAsync(read(await connected(t, silent), 50), { instanceOf: ConnectError });
  t.is(late?.code, Code.DeadlineExceeded);
  const ending = new AbortController();
  const unwanted = read(await connected(t, silent), null, ending.signal);
  setTimeout(() => ending.abort(new Error("not wanted")), 50);
  await t.throwsAsync(unwanted, { message: "not wanted" });
});
