/** Questions to servers on loopback that behave in every way but the right one. */
import { createSocket, type Socket } from "node:dgram";
import { createServer } from "node:net";
import test, { type ExecutionContext } from "ava";
import { exchange, ExchangeError, type Server } from "../../../src/dns/exchange.ts";
import { Resolver } from "../../../src/dns/resolver.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { TandemError } from "../../../src/lib/errors.ts";
import { parseAddress } from "../../../src/model/ip.ts";
import { A, written } from "./wire.ts";

const loopback = parseAddress("127.0.0.1");
const question = { name: "api.test", type: A };
const right = { name: "api.test", type: A, data: [192, 0, 2, 1] } as const;
const poison = { name: "api.test", type: A, data: [192, 0, 2, 66] } as const;

/** Long for what comes; who waits for nothing waits as long. */
const patientMs = 20_000;

type Answering = (query: Buffer, id: number) => readonly Buffer[];

/** @param stream whole answers over TCP; left out: nobody listens there */
async function serve(t: ExecutionContext, datagram: Answering, stream?: Answering): Promise<Server> {
  const socket: Socket = createSocket("udp4");
  socket.on("message", (query, { port, address }) => {
    for (const answer of datagram(query, query.readUInt16BE(0))) socket.send(answer, port, address);
  });
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  t.teardown(() => socket.close());
  const { port } = socket.address();
  if (stream !== undefined) {
    const server = createServer((connection) => {
      connection.on("error", () => connection.destroy());
      connection.on("data", (bytes) => {
        for (const answer of stream(bytes.subarray(2), bytes.readUInt16BE(2))) {
          const length = Buffer.alloc(2);
          length.writeUInt16BE(answer.length);
          // In two pieces, as a network may deliver them.
          connection.write(Buffer.concat([length, answer.subarray(0, 5)]), () => connection.write(answer.subarray(5)));
        }
      });
    });
    await new Promise<void>((resolve, reject) => server.on("error", reject).listen(port, "127.0.0.1", resolve));
    t.teardown(() => new Promise<void>((resolve) => server.close(() => resolve())));
  }
  if (loopback === null) throw new Error("no loopback");
  return { address: loopback, port };
}

const ask = (server: Server, timeoutMs = patientMs) =>
  exchange(question, {
    server,
    timeoutMs,
    randomId: () => 4711,
    clock: systemClock,
    signal: new AbortController().signal,
  });

test("datagrams with another number, another question or no message at all are as if they had not come", async (t) => {
  const server = await serve(t, (query, id) => [
    written({ id: id + 1, answers: [poison] }),
    written({ id, question: { name: "bank.test", type: A }, answers: [poison] }),
    written({ id, question: { name: "api.test", type: 28 }, answers: [poison] }),
    query,
    Buffer.from("nonsense"),
    written({ id, answers: [right] }),
  ]);
  const { answers } = await ask(server);
  t.deepEqual(
    answers.map(({ data }) => data.kind === "address" && data.address.text),
    ["192.0.2.1"],
  );
});

test("a datagram from somebody else does not count", async (t) => {
  const stranger = createSocket("udp4");
  t.teardown(() => stranger.close());
  const socket = createSocket("udp4");
  t.teardown(() => socket.close());
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  socket.on("message", (query, { port, address }) => {
    const id = query.readUInt16BE(0);
    // The server answers when the stranger has.
    stranger.send(written({ id, answers: [poison] }), port, address, () =>
      socket.send(written({ id, answers: [right] }), port, address),
    );
  });
  if (loopback === null) throw new Error("no loopback");
  const { answers } = await ask({ address: loopback, port: socket.address().port });
  t.deepEqual(
    answers.map(({ data }) => data.kind === "address" && data.address.text),
    ["192.0.2.1"],
  );
});

test("what does not fit into a datagram comes over TCP, whole", async (t) => {
  const many = Array.from({ length: 1000 }, (_, at) => ({ ...right, data: [10, 1, at >> 8, at & 255] }));
  const server = await serve(
    t,
    (_, id) => [written({ id, flags: 0x8380 })],
    (_, id) => [written({ id, answers: many })],
  );
  t.is((await ask(server)).answers.length, 1000);
});

test("a server from before EDNS is asked without it", async (t) => {
  const server = await serve(t, (query, id) =>
    query.readUInt16BE(10) > 0 ? [written({ id, flags: 0x8181 })] : [written({ id, answers: [right] })],
  );
  t.is((await ask(server)).answers.length, 1);
});

test("a server that says nothing is given up in time; one over TCP that answers something else at once", async (t) => {
  const silent = await serve(t, () => []);
  await t.throwsAsync(ask(silent, 50), { instanceOf: ExchangeError, message: /within 0.05 s/ });
  const wrong = await serve(
    t,
    (_, id) => [written({ id, flags: 0x8380 })],
    (_, id) => [written({ id: id + 1, answers: [poison] })],
  );
  await t.throwsAsync(ask(wrong), { instanceOf: ExchangeError, message: /another number/ });
  const endless = await serve(
    t,
    (_, id) => [written({ id, flags: 0x8380 })],
    (_, id) => [written({ id, flags: 0x8380 })],
  );
  await t.throwsAsync(ask(endless), { instanceOf: ExchangeError, message: /over TCP too/ });
});

test("who stops waiting gets the signal's reason", async (t) => {
  const stop = new AbortController();
  const server = await serve(t, () => {
    stop.abort(new Error("enough"));
    return [];
  });
  const asking = exchange(question, {
    server,
    timeoutMs: patientMs,
    randomId: () => 1,
    clock: systemClock,
    signal: stop.signal,
  });
  await t.throwsAsync(asking, { message: "enough" });
});

test("a server with a trouble of its own is passed over; a name that does not exist is an answer", async (t) => {
  const failing = await serve(t, (_, id) => [written({ id, flags: 0x8182 })]);
  const good = await serve(t, (_, id) => [written({ id, answers: [right, { ...right, data: [127, 0, 0, 1] }] })]);
  const nobody = await serve(t, (_, id) => [written({ id, flags: 0x8183 })]);
  const { signal } = new AbortController();
  const resolver = (...servers: readonly Server[]) =>
    new Resolver({ servers: async () => servers, randomId: () => 9, clock: systemClock, timeoutMs: patientMs });
  const found = await resolver(failing, good).resolve("api.test", 4, signal);
  t.deepEqual(
    found.map(({ address, ttl }) => [address.text, ttl]),
    [["192.0.2.1", 60]],
    "addresses that nobody outside has are not taken",
  );
  t.deepEqual(await resolver(nobody, good).resolve("api.test", 4, signal), []);
  const error = await t.throwsAsync(resolver(failing).resolve("api.test", 4, signal), { instanceOf: TandemError });
  t.is(error?.code, "NAME_UNANSWERED");
  t.is(error?.object, "name api.test");
  t.regex(error?.message ?? "", /127\.0\.0\.1: answered with SERVFAIL/);
  const without = await t.throwsAsync(resolver().resolve("api.test", 4, signal), { instanceOf: TandemError });
  t.regex(without?.message ?? "", /no DNS server to ask/);
  const invalid = await t.throwsAsync(resolver(good).resolve(`${"a".repeat(64)}.test`, 4, signal), {
    instanceOf: TandemError,
  });
  t.is(invalid?.code, "NAME_INVALID");
});
