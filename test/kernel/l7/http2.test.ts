/** HTTP/2 and gRPC through the engine with real sockets: many streams, large and unread bodies, servers that go, and clients that people use. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import http2 from "node:http2";
import { type AddressInfo, connect, type Socket } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import grpc from "@grpc/grpc-js";
import test, { type ExecutionContext } from "ava";
import { endStream, frame, framesOf, get, number, preface, types } from "../../support/h2-frames.ts";
import { startEngine, type TestEngine } from "../../support/l7-engine.ts";
import { httpRules } from "../../support/l7-runner.ts";

const execute = promisify(execFile);
/** Without what addon/test-sanitized puts in front of every program: curl hangs with it. */
const run = (program: string, words: readonly string[]) =>
  execute(program, words, { env: { ...process.env, LD_PRELOAD: "" } });
const rules = httpRules({ path: "/ok.*" });
const mebibyte = 1 << 20;

type Serve = (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => void;

async function serve(t: ExecutionContext, handle: Serve): Promise<{ readonly port: number; end(): void }> {
  const server = http2.createServer({ settings: { maxConcurrentStreams: 1000 }, maxSessionMemory: 1000 });
  const sockets: Socket[] = [];
  server.on("connection", (socket: Socket) => sockets.push(socket));
  server.on("sessionError", () => undefined);
  server.on("stream", (stream, headers) => {
    stream.on("error", () => undefined);
    handle(stream, headers);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const end = () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  t.teardown(end);
  return { port: (server.address() as AddressInfo).port, end };
}

function open(t: ExecutionContext, engine: TestEngine): http2.ClientHttp2Session {
  const session = http2.connect(`http://127.0.0.1:${engine.port}`, { maxSessionMemory: 1000 });
  session.on("error", () => undefined);
  t.teardown(() => session.destroy());
  return session;
}

async function ask(session: http2.ClientHttp2Session, path: string, body?: Buffer): Promise<string> {
  const stream = session.request({ ":path": path, ":method": body === undefined ? "GET" : "POST" });
  stream.end(body);
  const [headers] = (await once(stream, "response")) as [http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader];
  let bytes = 0;
  let text = "";
  for await (const chunk of stream) {
    bytes += (chunk as Buffer).length;
    if (bytes < 100) text += String(chunk);
  }
  return `${headers[":status"]} ${bytes < 100 ? text.trim() : bytes}`;
}

const echo: Serve = (stream) => {
  stream.respond({ ":status": 200 });
  stream.pipe(stream);
};

/** So many bytes, as fast as they are taken. */
async function pour(stream: http2.ServerHttp2Stream, size: number): Promise<void> {
  const piece = Buffer.alloc(1 << 16, "x");
  stream.respond({ ":status": 200 });
  await pipeline(
    Readable.from(
      (function* () {
        for (let sent = 0; sent < size; sent += piece.length) yield piece;
      })(),
    ),
    stream,
  ).catch(() => undefined);
}

test("a hundred streams at once echo a mebibyte each, with denied ones among them", async (t) => {
  const { port } = await serve(t, echo);
  const engine = await startEngine(t, port, rules);
  const session = open(t, engine);
  await once(session, "remoteSettings");
  const body = Buffer.alloc(mebibyte, "b");
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, at) =>
      at % 2 === 0 ? ask(session, `/ok/${at}`, body) : ask(session, `/no/${at}`),
    ),
  );
  t.true(answers.every((answer, at) => answer === (at % 2 === 0 ? `200 ${mebibyte}` : "403 Access denied")));
  await engine.until("records", () => engine.records.length === 200);
  t.is(engine.records.filter(({ verdict }) => verdict === "forwarded").length, 100);
  t.is(engine.stats().connectionsTotal, 1);
});

test("an answer that nobody reads waits in its server, not in the proxy, and holds up no other stream", async (t) => {
  const { port } = await serve(t, (stream, headers) => {
    if (headers[":path"] === "/ok/large") void pour(stream, 64 * mebibyte);
    else echo(stream, headers);
  });
  const engine = await startEngine(t, port, rules);
  const session = open(t, engine);
  const unread = Array.from({ length: 8 }, () => session.request({ ":path": "/ok/large" }));
  await Promise.all(unread.map((stream) => once(stream, "response")));
  await sleep(300);
  for (let round = 0; round < 20; round++) t.is(await ask(session, "/ok/small", Buffer.from("hi")), "200 hi");
  t.true(engine.stats().memory < 12 * mebibyte, `${engine.stats().memory}`);
  let bytes = 0;
  for await (const chunk of unread[0] as http2.ClientHttp2Stream) bytes += (chunk as Buffer).length;
  t.is(bytes, 64 * mebibyte);
  for (const stream of unread) stream.close(http2.constants.NGHTTP2_CANCEL);
});

test("a client with open windows that does not read its socket stops its server, and gets all when it reads on", async (t) => {
  const { port } = await serve(t, (stream) => void pour(stream, 32 * mebibyte));
  const engine = await startEngine(t, port, rules);
  const socket = connect(engine.port, "127.0.0.1");
  t.teardown(() => socket.destroy());
  await once(socket, "connect");
  const windows = Buffer.concat([Buffer.from([0, 4]), number(2 ** 31 - 1)]);
  socket.write(
    Buffer.concat([
      preface,
      frame(types.settings, 0, 0, windows),
      frame(types.windowUpdate, 0, 0, number(2 ** 30)),
      get(1, "/ok"),
    ]),
  );
  const [first] = (await once(socket, "data")) as [Buffer];
  socket.pause();
  await sleep(300);
  t.true(engine.stats().memory < 12 * mebibyte, `${engine.stats().memory}`);
  const parts = [first];
  socket.on("data", (part: Buffer) => parts.push(part));
  socket.resume();
  await engine.until("the record", () => engine.records.length === 1);
  await engine.until("the end", () =>
    framesOf(Buffer.concat(parts)).some(({ type, flags }) => type === types.data && flags === endStream),
  );
  const data = framesOf(Buffer.concat(parts)).filter(({ type }) => type === types.data);
  t.is(
    data.reduce((sum, { payload }) => sum + payload.length, 0),
    32 * mebibyte,
  );
});

test("a server that is not there, or goes in the middle, is told on each stream; the client's connection lives on", async (t) => {
  let release = () => {};
  const asked = new Promise<void>((resolve) => {
    release = resolve;
  });
  const first = await serve(t, () => release());
  const engine = await startEngine(t, first.port, rules);
  const session = open(t, engine);
  const hanging = ask(session, "/ok/hang");
  await asked;
  first.end();
  t.regex(await hanging, /^502 the server (broke off|ended the connection)$/);
  t.is(await ask(session, "/ok/next"), "503 the server takes no connection");
  t.is(await ask(session, "/no"), "403 Access denied");
  await engine.until("records", () => engine.records.length === 3);
  t.deepEqual(
    engine.records.map(({ verdict }) => verdict),
    ["failed", "failed", "denied"],
  );
});

test("an engine that drains says farewell, and lets streams come to their end", async (t) => {
  const waiting: http2.ServerHttp2Stream[] = [];
  const { port } = await serve(t, (stream) => void waiting.push(stream));
  const engine = await startEngine(t, port, rules);
  const session = open(t, engine);
  const farewell = once(session, "goaway");
  const answer = ask(session, "/ok");
  while (waiting.length === 0) await sleep(5);
  const drained = engine.drain(20_000);
  await farewell;
  waiting[0]?.respond({ ":status": 200 });
  waiting[0]?.end("late");
  t.is(await answer, "200 late");
  await drained;
});

const bytes = (message: Buffer) => message;
const method = (path: string, requestStream: boolean, responseStream: boolean) => ({
  path,
  requestStream,
  responseStream,
  requestSerialize: bytes,
  requestDeserialize: bytes,
  responseSerialize: bytes,
  responseDeserialize: bytes,
});
const shop = {
  get: method("/ok.Shop/Get", false, false),
  watch: method("/ok.Shop/Watch", false, true),
  talk: method("/ok.Shop/Talk", true, true),
  empty: method("/no.Shop/Empty", false, false),
};

test("gRPC: calls of all kinds, its denial, deadlines and cancelled calls, by @grpc/grpc-js", async (t) => {
  const server = new grpc.Server();
  let cancelled = 0;
  server.addService(shop, {
    get: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
      const word = String(call.request);
      if (word === "hang") call.on("cancelled", () => cancelled++);
      else if (word === "missing") done({ code: grpc.status.NOT_FOUND, details: "no such thing" });
      else done(null, Buffer.from(`got ${word}`), undefined);
    },
    watch: (call: grpc.ServerWritableStream<Buffer, Buffer>) => {
      for (let at = 0; at < 100; at++) call.write(Buffer.from(`${call.request} ${at}`));
      call.end();
    },
    talk: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
      call.on("data", (message: Buffer) => call.write(Buffer.from(`heard ${message}`)));
      call.on("end", () => call.end());
    },
    empty: () => t.fail("a denied call reached its server"),
  });
  const port = await promisify(server.bindAsync.bind(server))("127.0.0.1:0", grpc.ServerCredentials.createInsecure());
  t.teardown(() => server.forceShutdown());
  const engine = await startEngine(t, port as number, rules);
  const Client = grpc.makeGenericClientConstructor(shop, "Shop");
  const client = new Client(`127.0.0.1:${engine.port}`, grpc.credentials.createInsecure());
  t.teardown(() => client.close());
  const call = (name: "get" | "empty", word: string, options: grpc.CallOptions = {}) =>
    new Promise<string>((resolve) => {
      // biome-ignore lint/suspicious/noExplicitAny: the generic client has no types for its methods.
      (client as any)[name](Buffer.from(word), options, (error: grpc.ServiceError | null, answer?: Buffer) =>
        resolve(error === null ? String(answer) : `${error.code} ${error.details}`),
      );
    });

  t.is(await call("get", "a"), "got a");
  t.is(await call("get", "missing"), "5 no such thing");
  t.is(await call("empty", "cart"), "7 Access denied");
  t.regex(await call("get", "hang", { deadline: Date.now() + 200 }), /^4 /);
  await engine.until("the server hears of the deadline", () => cancelled === 1);

  const watched: string[] = [];
  for await (const message of client.makeServerStreamRequest(shop.watch.path, bytes, bytes, Buffer.from("w")))
    watched.push(String(message));
  t.deepEqual([watched.length, watched[99]], [100, "w 99"]);

  const talk = client.makeBidiStreamRequest(shop.talk.path, bytes, bytes);
  for (const word of ["a", "b", "c"]) {
    talk.write(Buffer.from(word));
    const [answer] = await once(talk, "data");
    t.is(String(answer), `heard ${word}`);
  }
  talk.end();
  await once(talk, "status");

  await engine.until("records", () => engine.records.length === 6);
  t.deepEqual(
    engine.records.map(({ verdict, http }) => `${verdict} ${http?.path} ${http?.grpcStatus ?? ""}`.trim()).sort(),
    [
      "denied /no.Shop/Empty 7",
      "failed /ok.Shop/Get",
      "forwarded /ok.Shop/Get 0",
      "forwarded /ok.Shop/Get 5",
      "forwarded /ok.Shop/Talk 0",
      "forwarded /ok.Shop/Watch 0",
    ],
  );
});

test("curl, nghttp and h2load are served as by the server itself", async (t) => {
  const { port } = await serve(t, (stream) => {
    stream.respond({ ":status": 200 });
    stream.end("hello");
  });
  const engine = await startEngine(t, port, rules);
  const at = (path: string) => `http://127.0.0.1:${engine.port}${path}`;
  const curl = async (path: string) => {
    const { stdout } = await run("curl", [
      "-s",
      "--http2-prior-knowledge",
      "-w",
      " %{http_code} %{http_version}",
      at(path),
    ]);
    return stdout;
  };
  t.is(await curl("/ok"), "hello 200 2");
  t.is(await curl("/no"), "Access denied\r\n 403 2");
  const { stdout: seen } = await run("nghttp", ["-nv", at("/ok"), at("/no")]);
  t.regex(seen, /:status: 200/);
  t.regex(seen, /:status: 403/);
  const { stdout: load } = await run("h2load", ["-n", "5000", "-c", "10", "-m", "50", at("/ok")]);
  t.regex(load, /5000 done, 5000 succeeded, 0 failed, 0 errored, 0 timeout/);
});
