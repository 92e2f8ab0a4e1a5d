/** The engine with real sockets: bodies of any size, clients and servers that are slow, silent or many, and the end of the process. */
import { once } from "node:events";
import { Agent, createServer, get, type IncomingMessage, request } from "node:http";
import { createServer as createTcp } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import test from "ava";
import { WebSocket, WebSocketServer } from "ws";
import { ask, hello, listen, open, read } from "../../support/l7-clients.ts";
import { startEngine } from "../../support/l7-engine.ts";
import { httpRules } from "../../support/l7-runner.ts";

const rules = httpRules({ path: "/ok.*" });

test("requests by rule over connections that go on, a record for each, and rules that change under them", async (t) => {
  const engine = await startEngine(t, await listen(t, hello()), rules);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.teardown(() => agent.destroy());
  t.is(await ask(engine, "/ok", agent), "200 hello");
  t.is(await ask(engine, "/no", agent), "403 Access denied");
  engine.configure(httpRules({ path: "/no" }));
  t.is(await ask(engine, "/no", agent), "200 hello");
  t.is(await ask(engine, "/ok", agent), "403 Access denied");
  await engine.until("records", () => engine.records.length === 4);
  t.is(engine.stats().connectionsTotal, 1);
  t.like(engine.records[0], {
    protocol: "http/1.1",
    verdict: "forwarded",
    http: { method: "GET", path: "/ok", status: 200 },
  });
  t.true((engine.records[0]?.latency ?? -1) >= 0);
  t.like(engine.records[1], { verdict: "denied", direction: "egress", latency: null, http: { status: 403 } });
  t.deepEqual(engine.records[1]?.asked, [1], "whose rules did not allow it is told");
  t.is(engine.records[0]?.asked, undefined);
});

test("large bodies both ways, by length and in chunks, arrive whole, and hold little memory", async (t) => {
  const size = 64 << 20;
  const piece = Buffer.alloc(1 << 16, "x");
  const server = createServer(async (message, response) => {
    if (message.method === "POST") {
      response.end(String((await read(message)).bytes));
      return;
    }
    if (message.url === "/ok-length") response.setHeader("content-length", size);
    for (let sent = 0; sent < size; sent += piece.length) if (!response.write(piece)) await once(response, "drain");
    response.end();
  });
  const engine = await startEngine(t, await listen(t, server), rules);
  let most = 0;
  const watch = setInterval(() => {
    most = Math.max(most, engine.stats().memory);
  }, 5);
  t.teardown(() => clearInterval(watch));
  for (const path of ["/ok-length", "/ok-chunks"]) {
    const [answer] = (await once(get({ host: "127.0.0.1", port: engine.port, path }), "response")) as [IncomingMessage];
    t.is((await read(answer)).bytes, size, path);
  }
  for (const headers of [{ "content-length": size }, {}]) {
    const sent = request({ host: "127.0.0.1", port: engine.port, path: "/ok", method: "POST", headers });
    const answered = once(sent, "response");
    for (let done = 0; done < size; done += piece.length) if (!sent.write(piece)) await once(sent, "drain");
    sent.end();
    const [answer] = (await answered) as [IncomingMessage];
    t.is((await read(answer)).text, String(size));
  }
  t.true(most < 4 << 20, `${most} bytes at most`);
});

test("a client that reads nothing holds the server back, and nobody else", async (t) => {
  let written = 0;
  const server = createServer((message, response) => {
    if (message.url === "/ok") {
      response.end("quick");
      return;
    }
    const more = () => {
      while (response.write(Buffer.alloc(1 << 16))) written += 1 << 16;
    };
    response.on("drain", more);
    more();
  });
  const engine = await startEngine(t, await listen(t, server), rules);
  const lazy = await open(engine);
  t.teardown(() => lazy.destroy());
  lazy.pause();
  lazy.write("GET /ok-endless HTTP/1.1\r\nHost: a\r\n\r\n");
  let before = -1;
  for (let quiet = 0; quiet < 10; quiet = written === before ? quiet + 1 : 0) {
    before = written;
    await sleep(50);
    t.is(await ask(engine, "/ok"), "200 quick");
  }
  t.true(engine.stats().memory < 2 << 20);
});

test("slow heads, silent clients and silent servers end in their time; others go on", async (t) => {
  const server = createServer((message, response) => {
    if (message.url === "/ok") response.end("hello");
  });
  const limits = { headTimeout: 300, idleTimeout: 300, requestTimeout: 600 };
  const engine = await startEngine(t, await listen(t, server), rules, limits);
  const slow = await open(engine);
  let text = "";
  slow.on("data", (bytes) => {
    text += bytes;
  });
  slow.write("GET /ok HTTP/1.1\r\n");
  const drip = setInterval(() => slow.write("X: y\r\n"), 50);
  t.teardown(() => clearInterval(drip));
  slow.on("error", () => clearInterval(drip));
  await once(slow, "end");
  clearInterval(drip);
  t.regex(text, /^HTTP\/1\.1 408 /);
  const silent = await open(engine);
  silent.resume();
  await once(silent, "end");
  t.is(await ask(engine, "/ok-never"), "504 no answer in time");
  t.is(await ask(engine, "/ok"), "200 hello");
  await engine.until("all are gone", () => engine.stats().connections === 0);
  t.deepEqual(engine.records.map(({ verdict, reason }) => `${verdict} ${reason}`).sort(), [
    "failed no answer in time",
    "forwarded null",
    "refused a head that did not come in time",
  ]);
});

test("a connection that asks now and then outlives its idle time and its requests' time, and ends when it is silent", async (t) => {
  const limits = { headTimeout: 1500, idleTimeout: 2000, requestTimeout: 1500 };
  const engine = await startEngine(t, await listen(t, hello()), rules, limits);
  const socket = await open(engine);
  let text = "";
  socket.on("data", (bytes) => {
    text += bytes;
  });
  const ended = once(socket, "end");
  const begun = performance.now();
  // Its time cannot begin before: what is measured here may be late, never early.
  let lastAsked = begun;
  for (let asked = 1; asked <= 10; asked++) {
    lastAsked = performance.now();
    socket.write("GET /ok HTTP/1.1\r\nhost: a\r\n\r\n");
    await engine.until("an answer", () => text.split("hello").length > asked);
    await sleep(300);
  }
  await ended;
  t.true(lastAsked - begun > 2600);
  const took = performance.now() - lastAsked;
  t.true(took > 1900 && took < 10_000, `${took}`);
  t.is(engine.stats().connectionsTotal, 1);
});

test("a server that takes no connection, or ends in the middle", async (t) => {
  const gone = createTcp();
  const port = await listen(t, gone);
  gone.close();
  const engine = await startEngine(t, port, rules);
  t.is(await ask(engine, "/ok"), "503 the server takes no connection");
  const rude = createTcp((socket) => {
    socket.on("error", () => undefined);
    socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"));
  });
  const other = await startEngine(t, await listen(t, rude), rules);
  const half = get({ host: "127.0.0.1", port: other.port, path: "/ok" });
  // The request is told, too, where the reset comes while its answer is read.
  half.on("error", () => undefined);
  const [answer] = (await once(half, "response")) as [IncomingMessage];
  await t.throwsAsync(read(answer), { code: "ECONNRESET" });
});

test("WebSocket through an allowed request", async (t) => {
  const server = createServer();
  const sockets = new WebSocketServer({ server, path: "/ok" });
  sockets.on("connection", (socket) => {
    socket.on("message", (data) => socket.send(`echo ${data}`));
    // The client breaks off at the end of the test, and the engine tells the server so.
    socket.on("error", () => undefined);
  });
  const engine = await startEngine(t, await listen(t, server), rules);
  const client = new WebSocket(`ws://127.0.0.1:${engine.port}/ok`);
  t.teardown(() => {
    client.terminate();
    sockets.close();
  });
  await once(client, "open");
  client.send("hi");
  const [data] = await once(client, "message");
  t.is(String(data), "echo hi");
  const denied = new WebSocket(`ws://127.0.0.1:${engine.port}/no`);
  const [error] = await once(denied, "error");
  t.regex(String(error), /403/);
});

test("draining: idle connections end, a request under way is answered, nothing new is taken", async (t) => {
  let came: (answer: () => void) => void = () => undefined;
  const atServer = new Promise<() => void>((resolve) => {
    came = resolve;
  });
  const server = createServer((_message, response) => came(() => response.end("late")));
  const engine = await startEngine(t, await listen(t, server), rules);
  const idle = await open(engine);
  idle.resume();
  const idleEnded = once(idle, "end");
  const busy = ask(engine, "/ok");
  const answer = await atServer;
  const drained = engine.drain(60_000);
  await idleEnded;
  await t.throwsAsync(open(engine), { code: "ECONNREFUSED" });
  answer();
  t.is(await busy, "200 late");
  await drained;
  t.is(engine.stats().connections, 0);
});
