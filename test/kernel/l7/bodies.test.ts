/** Bodies that pass without being looked at, by the kernel's pipes where they are long: nothing is lost, added or taken for another message's. */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { Agent, createServer, type IncomingMessage, request } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import type { Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import test, { type ExecutionContext } from "ava";
import { startEngine } from "../../support/l7-engine.ts";
import { httpRules } from "../../support/l7-runner.ts";
import { longTest } from "../../support/long.ts";

const mebibyte = 1 << 20;
const piece = randomBytes(mebibyte + 7);

async function serve(t: ExecutionContext, handle: Parameters<typeof createServer>[1]) {
  const server = createServer(handle);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return startEngine(t, (server.address() as AddressInfo).port, httpRules({}));
}

/** Whether what comes is `piece` again and again; cheaper than a digest where there is much of it. */
class Repetition {
  bytes = 0;
  same = true;

  take(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) {
      const from = this.bytes % piece.length;
      const length = Math.min(chunk.length - at, piece.length - from);
      this.same &&= chunk.subarray(at, at + length).equals(piece.subarray(from, from + length));
      this.bytes += length;
      at += length;
    }
  }
}

async function write(to: Writable, pieces: number): Promise<void> {
  for (let each = 0; each < pieces; each++) if (!to.write(piece)) await once(to, "drain");
  to.end();
}

async function digest(message: IncomingMessage): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of message) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/** However it ended. */
async function closed(socket: Socket): Promise<void> {
  if (!socket.closed) await new Promise<void>((resolve) => socket.once("close", () => resolve()));
}

test("long and short bodies of both directions in turn, over one connection", async (t) => {
  const engine = await serve(t, async (message, response) => {
    const parts: Buffer[] = [];
    for await (const chunk of message) parts.push(chunk as Buffer);
    const body = Buffer.concat(parts);
    response.writeHead(200, { "content-length": body.length });
    response.end(body);
  });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.teardown(() => agent.destroy());
  for (const size of [5, 9 * mebibyte, 1, 300_000, 0, 131_072, 131_071, 20 * mebibyte, 3]) {
    const body = Buffer.concat(Array.from({ length: Math.ceil(size / piece.length) + 1 }, () => piece)).subarray(
      0,
      size,
    );
    const sent = request({ port: engine.port, method: "POST", agent, headers: { "content-length": size } });
    sent.end(body);
    const [answer] = (await once(sent, "response")) as [IncomingMessage];
    t.is(await digest(answer), createHash("sha256").update(body).digest("hex"), `${size}`);
  }
  t.is(engine.stats().connectionsTotal, 1);
});

test("a reader that pauses gets every byte, and the proxy holds a bounded part", async (t) => {
  const size = 48 * piece.length;
  const engine = await serve(t, async (_message, response) => {
    response.writeHead(200, { "content-length": size });
    for (let sent = 0; sent < size; sent += piece.length) if (!response.write(piece)) await once(response, "drain");
    response.end();
  });
  const sent = request({ port: engine.port });
  sent.end();
  const [answer] = (await once(sent, "response")) as [IncomingMessage];
  const hash = createHash("sha256");
  let pauses = 0;
  for await (const chunk of answer) {
    hash.update(chunk as Buffer);
    if (pauses++ % 100 !== 0 || pauses > 500) continue;
    await sleep(60);
    t.true(engine.stats().memory < 3 * mebibyte, `${engine.stats().memory}`);
  }
  const expected = createHash("sha256");
  for (let at = 0; at < 48; at++) expected.update(piece);
  t.is(hash.digest("hex"), expected.digest("hex"));
});

for (const framing of ["length", "chunks"] as const)
  longTest(`a GiB up and a GiB down by ${framing} arrive whole, and the proxy holds a bounded part`, async (t) => {
    const pieces = 1024;
    const size = pieces * piece.length;
    const headers = framing === "length" ? { "content-length": size } : { "transfer-encoding": "chunked" };
    const up = new Repetition();
    const engine = await serve(t, async (message, response) => {
      for await (const chunk of message) up.take(chunk as Buffer);
      response.writeHead(200, headers);
      await write(response, pieces);
    });
    const sent = request({ port: engine.port, method: "POST", headers });
    let most = 0;
    const look = setInterval(() => (most = Math.max(most, engine.stats().memory)), 20);
    t.teardown(() => clearInterval(look));
    const answered = once(sent, "response");
    await write(sent, pieces);
    const [answer] = (await answered) as [IncomingMessage];
    const down = new Repetition();
    for await (const chunk of answer) down.take(chunk as Buffer);
    t.deepEqual({ ...up }, { bytes: size, same: true });
    t.deepEqual({ ...down }, { bytes: size, same: true });
    t.true(most > 0 && most < 3 * mebibyte, `${most} bytes`);
  });

test("either side that breaks off in the middle of a long body ends the other, and nothing is held", async (t) => {
  const servers: Socket[] = [];
  const engine = await serve(t, (message, response) => {
    servers.push(message.socket);
    response.writeHead(200, { "content-length": 1 << 30 });
    const pour = () => {
      while (!response.destroyed && response.write(piece));
    };
    response.on("drain", pour);
    response.on("error", () => undefined);
    pour();
  });
  const open = async () => {
    const socket = connect(engine.port, "127.0.0.1");
    socket.on("error", () => undefined);
    await once(socket, "connect");
    socket.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    await once(socket, "data");
    return socket;
  };
  const first = await open();
  first.resetAndDestroy();
  await closed(servers[0] as Socket);
  const second = await open();
  servers[1]?.resetAndDestroy();
  second.resume();
  await closed(second);
  await engine.until("records", () => engine.records.length === 2);
  t.deepEqual(
    engine.records.map(({ verdict }) => verdict),
    ["failed", "failed"],
  );
  await engine.until("memory", () => engine.stats().memory < 10_000);
});
