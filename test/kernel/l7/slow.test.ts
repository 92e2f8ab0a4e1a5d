/** Slow clients by the hundred, and servers that take no connection at all: each ends in its time, and nobody beside them waits. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { Agent, createServer } from "node:http";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import test, { type ExecutionContext } from "ava";
import { ask, listen, open } from "../../support/l7-clients.ts";
import { startEngine, type TestEngine } from "../../support/l7-engine.ts";
import { httpRules } from "../../support/l7-runner.ts";

const rules = httpRules({ path: "/ok.*" });
const many = 100;

interface Dripping {
  readonly socket: Socket;
  text: string;
  /** ms of its life; null: it lives. */
  took: number | null;
}

/** Sends `first`, and then `drop` again and again. */
async function drip(t: ExecutionContext, engine: TestEngine, first: string, drop: string): Promise<Dripping> {
  const socket = await open(engine);
  const begun = performance.now();
  const dripping: Dripping = { socket, text: "", took: null };
  socket.write(first);
  const timer = setInterval(() => socket.write(drop), 50);
  socket.on("data", (bytes) => {
    dripping.text += bytes;
  });
  socket.on("error", () => socket.destroy());
  socket.on("close", () => {
    clearInterval(timer);
    dripping.took = performance.now() - begun;
  });
  t.teardown(() => socket.destroy());
  return dripping;
}

test("a hundred dripping heads and a hundred dripping bodies end in their time, and a client beside them is answered all along", async (t) => {
  const server = createServer((message, response) => {
    message.on("error", () => undefined).resume();
    message.on("end", () => response.end("hello"));
  });
  const headTimeout = 2_000;
  const requestTimeout = 4_000;
  const engine = await startEngine(t, await listen(t, server), rules, { headTimeout, requestTimeout });
  const post = "POST /ok HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n";
  const each = Array.from({ length: many });
  const heads = await Promise.all(each.map(() => drip(t, engine, "GET /ok HTTP/1.1\r\n", "X: y\r\n")));
  const bodies = await Promise.all(each.map(() => drip(t, engine, post, "x")));

  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.teardown(() => agent.destroy());
  let slowest = 0;
  let most = 0;
  let asked = 0;
  const isOver = () => [...heads, ...bodies].every(({ took }) => took !== null);
  for (const begun = performance.now(); !isOver() && performance.now() - begun < 60_000; asked++) {
    const sent = performance.now();
    t.is(await ask(engine, "/ok", agent), "200 hello");
    slowest = Math.max(slowest, performance.now() - sent);
    most = Math.max(most, engine.stats().memory);
    await sleep(20);
  }
  t.true(isOver(), "all have ended");
  t.true(asked > 20 && slowest < headTimeout, `${asked} requests, the slowest took ${slowest} ms`);
  for (const { text, took } of heads) {
    t.regex(text, /^HTTP\/1\.1 408 /);
    t.true((took ?? 0) >= headTimeout - 100, `a head had only ${took} ms`);
  }
  for (const { text, took } of bodies) {
    t.regex(text, /^(HTTP\/1\.1 504 |$)/);
    t.true((took ?? 0) >= requestTimeout - 100, `a body had only ${took} ms`);
  }
  t.true(most < 4 << 20, `${most} bytes for ${2 * many} slow clients`);
  t.like(engine.stats().limits, { headTimeout: many, requestTimeout: many });
  agent.destroy();
  await engine.until("nothing is left", () => engine.stats().connections === 0);
});

/** A server that is stopped, with its queue full: the kernel answers no further SYN. @returns its port */
async function deaf(t: ExecutionContext): Promise<number> {
  const script = `require("node:net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, function () {
    console.log(this.address().port);
  });`;
  const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  t.teardown(() => child.kill("SIGKILL"));
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const port = Number(String(line));
  child.kill("SIGSTOP");
  for (let full = false; !full; ) {
    const socket = connect(port, "127.0.0.1");
    t.teardown(() => socket.destroy());
    socket.on("error", () => undefined);
    full = await Promise.race([once(socket, "connect").then(() => false), sleep(1_000).then(() => true)]);
  }
  return port;
}

test("a server that does not answer a SYN is given up after connectTimeout", async (t) => {
  const connectTimeout = 1_000;
  const engine = await startEngine(t, await deaf(t), rules, { connectTimeout });
  const begun = performance.now();
  t.is(await ask(engine, "/ok"), "503 the server takes no connection");
  const took = performance.now() - begun;
  t.true(took >= connectTimeout - 50, `after ${took} ms`);
  t.true(took < 20 * connectTimeout, `after ${took} ms`);
  t.is(engine.stats().limits?.connectTimeout, 1);
  t.is((await ask(engine, "/no")).slice(0, 3), "403", "what is denied needs no server");
});
