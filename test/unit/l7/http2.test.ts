import http2 from "node:http2";
import test, { type ExecutionContext } from "ava";
import type { L7HttpRule, L7RunOptions } from "../../../src/native/l7-contract.ts";
import { httpRules } from "../../support/l7-runner.ts";
import { Replay } from "../../support/l7-replay.ts";

interface Answer {
  readonly headers: http2.IncomingHttpHeaders & { readonly ":status"?: number | undefined };
  readonly informational: readonly number[];
  readonly trailers: http2.IncomingHttpHeaders | null;
  readonly body: string;
  readonly error: string | null;
}

type Serve = (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => void;

const hello: Serve = (stream) => {
  stream.respond({ ":status": 200 });
  stream.end("hello");
};

function lab(t: ExecutionContext, options: Partial<L7RunOptions>, serve: Serve = hello) {
  const seen: http2.IncomingHttpHeaders[] = [];
  const server = http2.createServer();
  const sessions: http2.ServerHttp2Session[] = [];
  server.on("session", (session) => sessions.push(session));
  server.on("sessionError", () => undefined);
  server.on("stream", (stream, headers) => {
    seen.push(headers);
    stream.on("error", () => undefined);
    serve(stream, headers);
  });
  const replay = new Replay(
    { egress: httpRules({}), ingress: null, normalizePath: true, limits: {}, ...options },
    (connection) => server.emit("connection", connection),
  );
  const client = http2.connect("http://web", { createConnection: () => replay.client });
  client.on("error", () => undefined);
  t.teardown(() => {
    client.destroy();
    for (const session of sessions) session.destroy();
  });
  const ask = (
    headers: http2.OutgoingHttpHeaders,
    body?: string | readonly string[],
    trailers?: http2.OutgoingHttpHeaders,
  ) =>
    new Promise<Answer>((resolve) => {
      const stream = client.request(headers, {
        endStream: body === undefined,
        waitForTrailers: trailers !== undefined,
      });
      if (trailers !== undefined) stream.on("wantTrailers", () => stream.sendTrailers(trailers));
      let answered: Answer["headers"] = {};
      let trailed: Answer["trailers"] = null;
      let error: string | null = null;
      const informational: number[] = [];
      const chunks: Buffer[] = [];
      stream.on("response", (headers) => {
        answered = headers;
      });
      stream.on("headers", (headers) => informational.push(headers[":status"] as number));
      stream.on("trailers", (headers) => {
        trailed = headers;
      });
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("error", ({ message }) => {
        error = message;
      });
      const over = () => {
        const bytes = Buffer.concat(chunks).toString();
        resolve({ headers: answered, informational, trailers: trailed, body: bytes, error });
      };
      // A request whose body nobody wants ends without closing.
      stream.on("end", over);
      stream.on("close", over);
      const parts = typeof body === "string" ? [body] : (body ?? []);
      for (const part of parts) stream.write(part);
      if (body !== undefined) stream.end();
    });
  const records = () => replay.result.records.map(({ detail, ...rest }) => ({ ...rest, ...JSON.parse(detail) }));
  return { ask, seen, replay, records, client, sessions };
}

function rules(...given: readonly Partial<L7HttpRule>[]): Partial<L7RunOptions> {
  return { egress: httpRules(...given) };
}

test("each stream of one connection is judged for itself", async (t) => {
  const { ask, seen, records, replay } = lab(t, rules({ method: "GET", path: "/open/.*" }));
  const answers = await Promise.all([
    ask({ ":path": "/open/a" }),
    ask({ ":path": "/shut" }),
    ask({ ":path": "/open/b" }),
  ]);
  t.deepEqual(
    answers.map(({ headers, body, error }) => [headers[":status"], body, error]),
    [
      [200, "hello", null],
      [403, "Access denied\r\n", null],
      [200, "hello", null],
    ],
  );
  t.deepEqual(seen.map((headers) => headers[":path"]).sort(), ["/open/a", "/open/b"]);
  t.is(replay.result.server.connections, 1);
  t.deepEqual(
    records()
      .map(({ verdict, protocol, http }) => [verdict, protocol, http.method, http.host, http.path, http.status])
      .sort(),
    [
      ["denied", "http/2", "GET", "web:80", "/shut", 403],
      ["forwarded", "http/2", "GET", "web:80", "/open/a", 200],
      ["forwarded", "http/2", "GET", "web:80", "/open/b", 200],
    ],
  );
});

test("bodies and trailers of both directions arrive whole, informational answers before the answer", async (t) => {
  const { ask } = lab(t, {}, (stream, headers) => {
    const chunks: Buffer[] = [];
    let trailers: http2.IncomingHttpHeaders = {};
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("trailers", (given) => {
      trailers = given;
    });
    stream.on("end", () => {
      stream.additionalHeaders({ ":status": 103, link: "</style.css>" });
      stream.respond({ ":status": 201, "x-expect": headers["x-sent"] ?? "" }, { waitForTrailers: true });
      stream.on("wantTrailers", () =>
        stream.sendTrailers({ "x-sum": `${Buffer.concat(chunks).length} ${trailers["x-end"]}` }),
      );
      stream.end(Buffer.concat(chunks));
    });
  });
  const body = "b".repeat(100_000);
  const answer = await ask({ ":path": "/", ":method": "POST", "x-sent": "yes" }, [body, body, body], {
    "x-end": "over",
  });
  t.is(answer.headers[":status"], 201);
  t.is(answer.headers["x-expect"], "yes");
  t.deepEqual(answer.informational, [103]);
  t.is(answer.body, body.repeat(3));
  t.is(answer.trailers?.["x-sum"], "300000 over");
});

test("gRPC gets its denial as a status, with nothing of the call passed on", async (t) => {
  const { ask, seen, records } = lab(t, rules({ path: "/shop.Cart/Get" }));
  const call = { ":method": "POST", "content-type": "application/grpc+proto", te: "trailers" };
  const denied = await ask({ ...call, ":path": "/shop.Cart/Empty" }, "\0\0\0\0\0");
  t.is(denied.headers[":status"], 200);
  t.is(denied.headers["grpc-status"], "7");
  t.is(denied.headers["grpc-message"], "Access denied");
  t.is(denied.body, "");
  t.is(seen.length, 0);
  t.like(records()[0], {
    verdict: "denied",
    direction: "egress",
    http: { path: "/shop.Cart/Empty", status: 200, grpcStatus: 7 },
  });
});

test("the status of a gRPC call is read from its trailers", async (t) => {
  const { ask, records } = lab(t, {}, (stream) => {
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "5", "grpc-message": "no such cart" }));
    stream.end("\0\0\0\0\0");
  });
  const answer = await ask(
    { ":method": "POST", ":path": "/shop.Cart/Get", "content-type": "application/grpc" },
    "\0\0\0\0\0",
  );
  t.is(answer.trailers?.["grpc-status"], "5");
  t.like(records()[0], { verdict: "forwarded", http: { grpcStatus: 5 } });
});

test("both ends' rules have to allow it; the one that does not is named", async (t) => {
  const { ask, records } = lab(t, { egress: httpRules({ method: "GET" }), ingress: httpRules({ path: "/a" }) });
  t.is((await ask({ ":path": "/b" })).headers[":status"], 403);
  t.is((await ask({ ":path": "/a", ":method": "PUT" }, "x")).headers[":status"], 403);
  t.is((await ask({ ":path": "/a" })).headers[":status"], 200);
  t.deepEqual(
    records().map(({ verdict, direction }) => `${verdict} ${direction}`),
    ["denied ingress", "denied egress", "forwarded null"],
  );
});

test("paths are normalised before they are judged and passed on; escaped slashes are redirected", async (t) => {
  const { ask, seen } = lab(t, rules({ path: "/open/[a-z]*" }));
  t.is((await ask({ ":path": "/shut/..//open/%61" })).headers[":status"], 200);
  t.is(seen[0]?.[":path"], "/open/a");
  t.is((await ask({ ":path": "/open/../shut" })).headers[":status"], 403);
  t.is((await ask({ ":path": "/shut/..;/open/a" })).headers[":status"], 403);
  const redirected = await ask({ ":path": "/open%2fa" });
  t.is(redirected.headers[":status"], 307);
  t.is(redirected.headers.location, "/open/a");
  t.is((await ask({ ":path": "/open/a#b" })).headers[":status"], 400);
  t.is(seen.length, 1);
});

test("headers are matched over all their values, cookies as one, and mismatches edit the request", async (t) => {
  const { ask, seen, records } = lab(
    t,
    rules(
      { path: "/strict", headers: [{ name: "x-team", value: "a", mismatch: "refuse" }] },
      { path: "/cookie", headers: [{ name: "cookie", value: "a=1; b=2", mismatch: "refuse" }] },
      {
        path: "/edit",
        headers: [
          { name: "x-add", value: "made", mismatch: "add" },
          { name: "x-replace", value: "right", mismatch: "replace" },
          { name: "x-remove", value: "never", mismatch: "remove" },
          { name: "x-log", value: "there", mismatch: "log" },
        ],
      },
    ),
  );
  const status = async (headers: http2.OutgoingHttpHeaders) => (await ask(headers)).headers[":status"];
  t.is(await status({ ":path": "/strict", "x-team": "a" }), 200);
  t.is(await status({ ":path": "/strict", "x-team": ["a", "b"] }), 403);
  t.is(await status({ ":path": "/strict" }), 403);
  t.is(await status({ ":path": "/cookie", cookie: ["a=1", "b=2"] }), 200);
  t.is(await status({ ":path": "/cookie", cookie: ["a=1", "b=2", "c=3"] }), 403);
  seen.length = 0;
  t.is(await status({ ":path": "/edit", "x-replace": "wrong", "x-remove": "this" }), 200);
  t.like(seen[0], { "x-add": "made", "x-replace": "right" });
  t.false("x-remove" in (seen[0] ?? {}));
  t.deepEqual(records().at(-1)?.http.mismatches, ["x-log"]);
});

test("a large body that is denied is not read on, and the connection lives", async (t) => {
  const { ask, seen } = lab(t, rules({ path: "/open" }));
  const denied = await ask({ ":path": "/shut", ":method": "POST" }, "x".repeat(600_000));
  t.is(denied.headers[":status"], 403);
  t.is((await ask({ ":path": "/open" })).headers[":status"], 200);
  t.is(seen.length, 1);
});

test("an early answer with a reset of no error leaves the answer whole", async (t) => {
  const { ask } = lab(t, {}, (stream) => {
    stream.respond({ ":status": 413 });
    stream.end("too much");
    stream.on("finish", () => stream.close(http2.constants.NGHTTP2_NO_ERROR));
  });
  const answer = await ask({ ":path": "/", ":method": "POST" }, "x".repeat(900_000));
  t.is(answer.headers[":status"], 413);
  t.is(answer.body, "too much");
});

test("resets are handed through, in both directions, and told", async (t) => {
  const closed: number[] = [];
  const { ask, client, records } = lab(t, {}, (stream, headers) => {
    stream.on("close", () => closed.push(stream.rstCode));
    if (headers[":path"] === "/refuse") stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
    else stream.respond({ ":status": 200 });
  });
  const answer = await ask({ ":path": "/refuse" });
  t.regex(answer.error ?? "", /REFUSED_STREAM/);
  const stream = client.request({ ":path": "/hang" });
  stream.on("error", () => undefined);
  await new Promise((resolve) => stream.once("response", resolve));
  stream.close(http2.constants.NGHTTP2_CANCEL);
  while (closed.length < 2) await new Promise((resolve) => setImmediate(resolve));
  t.deepEqual(closed, [http2.constants.NGHTTP2_REFUSED_STREAM, http2.constants.NGHTTP2_CANCEL]);
  t.deepEqual(
    records().map(({ verdict, reason }) => [verdict, reason]),
    [
      ["failed", "reset by the server: REFUSED_STREAM"],
      ["failed", "reset by the client: CANCEL"],
    ],
  );
});

test("a server's farewell reaches the client after the answers that are under way", async (t) => {
  const { ask, client, sessions } = lab(t, {}, (stream, headers) => {
    if (headers[":path"] === "/last") sessions[0]?.goaway(http2.constants.NGHTTP2_NO_ERROR, stream.id as number);
    hello(stream, headers);
  });
  const goaway = new Promise((resolve) => client.once("goaway", resolve));
  t.is((await ask({ ":path": "/first" })).body, "hello");
  t.is((await ask({ ":path": "/last" })).body, "hello");
  t.is(await goaway, http2.constants.NGHTTP2_NO_ERROR);
});

test("a server that breaks off is told as 502, or as UNAVAILABLE to gRPC; the client's connection goes on with another one", async (t) => {
  let asked = 0;
  const { ask, replay, records } = lab(t, {}, (stream, headers) => {
    if (++asked <= 2) setImmediate(() => asked === 2 && replay.step({ from: "server", bytes: "broke" }));
    else hello(stream, headers);
  });
  const [plain, grpc] = await Promise.all([
    ask({ ":path": "/a" }),
    ask({ ":path": "/b", ":method": "POST", "content-type": "application/grpc" }, "x"),
  ]);
  t.is(plain.headers[":status"], 502);
  t.is(grpc.headers["grpc-status"], "14");
  t.is((await ask({ ":path": "/c" })).body, "hello");
  t.is(replay.result.server.connections, 2);
  t.deepEqual(
    records().map(({ verdict, reason }) => [verdict, reason]),
    [
      ["failed", "the server broke off"],
      ["failed", "the server broke off"],
      ["forwarded", null],
    ],
  );
});
