/** DNS over TCP as the engine's filter sees it: bytes of both sides in, bytes out. */
import test from "ava";
import { decodeResponse, encodeQuery, recordTypes, responseCodes } from "../../../src/dns/message.ts";
import { loadNative } from "../../../src/native/index.ts";
import type { L7Runner, L7Step } from "../../../src/native/l7-contract.ts";

const { runL7Filter } = loadNative() as unknown as L7Runner;

const options = {
  egress: [{ id: 7, protocol: "dns" as const, rules: [{ pattern: "(?:[-a-z0-9_]+\\.)+allowed\\.test\\." }] }],
  ingress: null,
  normalizePath: true,
  limits: {},
};

function framed(...messages: readonly Buffer[]): Buffer {
  return Buffer.concat(
    messages.flatMap((message) => {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(message.length);
      return [length, message];
    }),
  );
}

function unframed(bytes: Buffer): readonly Buffer[] {
  const messages: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 2 + bytes.readUInt16BE(at);
    messages.push(bytes.subarray(at + 2, end));
    at = end;
  }
  return messages;
}

const query = (id: number, name: string) => encodeQuery(id, { name, type: recordTypes.A }, false);

/** The question with one address. */
function response(to: Buffer, change: (bytes: Buffer) => void = () => undefined): Buffer {
  const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 9]);
  const bytes = Buffer.concat([to, record]);
  bytes.writeUInt16BE(0x8180, 2);
  bytes.writeUInt16BE(1, 6);
  change(bytes);
  return bytes;
}

const one = query(1, "a.allowed.test");
const two = query(2, "b.allowed.test");
const denied = query(3, "c.denied.test");

const run = (...steps: readonly (readonly [L7Step["from"], L7Step["bytes"]])[]) =>
  runL7Filter(
    options,
    steps.map(([from, bytes]) => ({ from, bytes })),
  );

test("questions behind each other go on as they came, answers come in any order, and what is denied is answered here", (t) => {
  const { client, server, records } = run(
    ["client", framed(one, denied, two)],
    ["server", framed(response(two), response(one))],
  );
  t.deepEqual(server.bytes, framed(one, two));
  const answers = unframed(client.bytes).map(decodeResponse);
  t.deepEqual(
    answers.map(({ id, code }) => [id, code]),
    [
      [3, responseCodes.refused],
      [2, responseCodes.ok],
      [1, responseCodes.ok],
    ],
  );
  t.deepEqual(
    records.map(({ verdict, ruleSet, direction }) => [verdict, ruleSet, direction]),
    [
      ["denied", 0, "egress"],
      ["forwarded", 7, null],
      ["forwarded", 7, null],
    ],
  );
  t.deepEqual(JSON.parse(records[1]?.detail ?? ""), {
    dns: { name: "b.allowed.test", type: 1, code: 0, addresses: ["203.0.113.9"], ttl: 60 },
  });
});

test("however the bytes are cut, the same comes out", (t) => {
  const asked = framed(one, denied, two);
  const told = framed(response(two), response(one));
  const whole = run(["client", asked], ["server", told]);
  const bytes = (from: "client" | "server", all: Buffer) => [...all].map((byte) => [from, Buffer.of(byte)] as const);
  const cut = run(...bytes("client", asked), ...bytes("server", told));
  t.deepEqual([cut.client.bytes, cut.server.bytes], [whole.client.bytes, whole.server.bytes]);
});

test("answers to nothing that was asked do not pass", (t) => {
  const { client } = run(
    ["client", framed(one)],
    [
      "server",
      framed(
        response(query(9, "a.allowed.test")),
        response(query(1, "b.allowed.test")),
        Buffer.alloc(20, 0xff),
        response(one),
        response(one),
      ),
    ],
  );
  t.deepEqual(client.bytes, framed(response(one)), "the one that fits, once");
});

test("a long answer passes whole, and a server's end is passed on behind it", (t) => {
  const long = Buffer.concat([response(one), Buffer.alloc(65_535 - response(one).length)]);
  const pieces = framed(long);
  const { client } = run(
    ["client", framed(one)],
    ["server", pieces.subarray(0, 30_000)],
    ["server", pieces.subarray(30_000)],
    ["server", "end"],
  );
  t.is(client.bytes.length, 65_537);
  t.true(client.finished);
});

test("what cannot be a message ends the connection, and a question that makes no sense is answered", (t) => {
  t.true(run(["client", Buffer.of(0, 3, 1, 2, 3)]).client.reset);
  t.true(run(["client", Buffer.of(0xff, 0xff)]).client.reset, "a question of 65,535 bytes");
  const twice = Buffer.from(one);
  twice.writeUInt16BE(2, 4);
  const { client, server, records } = run(["client", framed(twice)]);
  t.is(client.bytes.readUInt16BE(4) & 15, responseCodes.badFormat);
  t.is(server.connections, 0);
  t.is(records[0]?.reason, "not one question");
});

test("records of other names give the name nothing; aliases do, with the shortest time of all", (t) => {
  const name = (labels: readonly string[]) =>
    Buffer.concat([...labels.map((label) => Buffer.from([label.length, ...Buffer.from(label)])), Buffer.of(0)]);
  const record = (owner: Buffer, type: number, ttl: number, data: Buffer) => {
    const fixed = Buffer.alloc(10);
    fixed.writeUInt16BE(type, 0);
    fixed.writeUInt16BE(1, 2);
    fixed.writeUInt32BE(ttl, 4);
    fixed.writeUInt16BE(data.length, 8);
    return Buffer.concat([owner, fixed, data]);
  };
  const edge = name(["edge", "test"]);
  const answer = Buffer.concat([
    one,
    record(name(["a", "allowed", "test"]), 5, 20, edge),
    record(edge, 1, 300, Buffer.of(203, 0, 113, 1)),
    record(edge, 1, 90, Buffer.of(203, 0, 113, 2)),
    record(name(["bank", "test"]), 1, 300, Buffer.of(203, 0, 113, 66)),
  ]);
  answer.writeUInt16BE(0x8180, 2);
  answer.writeUInt16BE(4, 6);
  const { records } = run(["client", framed(one)], ["server", framed(answer)]);
  t.like((JSON.parse(records[0]?.detail ?? "") as { dns: object }).dns, {
    addresses: ["203.0.113.1", "203.0.113.2"],
    ttl: 20,
  });
});
