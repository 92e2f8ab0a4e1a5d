import { createRequire } from "node:module";
import { inspect } from "node:util";
import test from "ava";
import { loadNative } from "../../../src/native/index.ts";
import type { L7KafkaRule, L7Runner, L7Step } from "../../../src/native/l7-contract.ts";

const native = loadNative() as unknown as L7Runner;
const require = createRequire(import.meta.url);

/** kafkajs's own encoders and decoders: a second reading of Kafka's protocol. */
interface Exchange {
  readonly request: { readonly apiKey: number; readonly apiVersion: number };
  readonly response: { decode(bytes: Buffer): Promise<unknown>; parse(decoded: unknown): Promise<unknown> };
}
type Api = { readonly versions: readonly string[]; protocol(of: { version: number }): (given: object) => Exchange };
const api = (name: string) => require(`kafkajs/src/protocol/requests/${name}`) as Api;
const encode = require("kafkajs/src/protocol/request") as (of: object) => Promise<{ readonly buffer: Buffer }>;

async function frame({ request }: Exchange, correlationId = 7, clientId = "shop"): Promise<Buffer> {
  return (await encode({ correlationId, clientId, request })).buffer;
}

const any: L7KafkaRule = { apiKeys: [], apiVersion: null, clientId: null, topic: null };

function run(rules: readonly Partial<L7KafkaRule>[], ...steps: readonly (readonly ["client" | "server", Buffer])[]) {
  const egress = [{ id: 1, protocol: "kafka" as const, rules: rules.map((rule) => ({ ...any, ...rule })) }];
  const given = steps.map(([from, bytes]): L7Step => ({ from, bytes }));
  const { client, server, records } = native.runL7Filter(
    { egress, ingress: null, normalizePath: true, limits: {} },
    given,
  );
  const told = records.map(({ verdict, reason, detail }) => ({ verdict, reason, kafka: JSON.parse(detail).kafka }));
  return { client, server: server.bytes, records: told };
}

const partition = { partition: 3, offset: 9, metadata: null, fetchOffset: 9, maxBytes: 100, timestamp: -1 };
const byPartition = (topics: readonly string[]) => topics.map((topic) => ({ topic, partitions: [partition] }));
const messages = [{ key: null, value: Buffer.from("v"), headers: {}, timestamp: "1" }];
const transaction = { transactionalId: "t", producerId: 1, producerEpoch: 0, groupId: "g" };

const topical: Readonly<Record<string, (topics: readonly string[]) => object>> = {
  produce: (topics) => ({
    ...{ acks: -1, timeout: 1, transactionalId: null, producerId: -1, producerEpoch: 0, compression: 0 },
    topicData: topics.map((topic) => ({ topic, partitions: [{ partition: 3, messages, firstSequence: 0 }] })),
  }),
  fetch: (topics) => ({
    ...{ replicaId: -1, isolationLevel: 1, maxWaitTime: 1, minBytes: 1, maxBytes: 1, rackId: "r" },
    topics: byPartition(topics),
  }),
  listOffsets: (topics) => ({ replicaId: -1, isolationLevel: 1, topics: byPartition(topics) }),
  metadata: (topics) => ({ topics, allowAutoTopicCreation: false }),
  offsetCommit: (topics) => ({
    ...{ groupId: "g", groupGenerationId: 1, memberId: "m", retentionTime: 1, groupInstanceId: null },
    topics: byPartition(topics),
  }),
  offsetFetch: (topics) => ({ groupId: "g", topics: byPartition(topics) }),
  createTopics: (topics) => ({
    topics: topics.map((topic) => ({ topic, configEntries: [{ name: "a", value: "b" }], replicaAssignment: [] })),
    ...{ validateOnly: true, timeout: 1 },
  }),
  deleteTopics: (topics) => ({ topics, timeout: 1 }),
  deleteRecords: (topics) => ({ topics: byPartition(topics), timeout: 1 }),
  addPartitionsToTxn: (topics) => ({ ...transaction, topics: topics.map((topic) => ({ topic, partitions: [3] })) }),
  txnOffsetCommit: (topics) => ({ ...transaction, topics: byPartition(topics) }),
};

for (const [name, given] of Object.entries(topical)) {
  test(`topics of ${name} are read, and its denial is understood, in each version that kafkajs has`, async (t) => {
    const { versions, protocol } = api(name);
    for (const version of versions.map(Number)) {
      const good = await frame(protocol({ version })(given(["good"])));
      const passed = run([{ topic: "good" }], ["client", good]);
      t.deepEqual(passed.server, good, `v${version}`);
      t.is(passed.client.bytes.length, 0);
      const exchange = protocol({ version })(given(["good", "bad"]));
      const bad = await frame(exchange);
      t.deepEqual(run([{ topic: "good" }, { topic: "bad" }], ["client", bad]).server, bad, `v${version}`);
      const { server, client, records } = run([{ topic: "good" }], ["client", bad]);
      t.is(server.length, 0, `v${version}`);
      t.deepEqual(records[0]?.kafka.topics, ["good", "bad"]);
      t.is(client.bytes.readInt32BE(0), client.bytes.length - 4);
      t.is(client.bytes.readInt32BE(4), 7);
      const decoded = await exchange.response.decode(client.bytes.subarray(8));
      const error = await t.throwsAsync(exchange.response.parse(decoded), undefined, `v${version}`);
      t.regex(inspect(error, { depth: 6 }), /TOPIC_AUTHORIZATION_FAILED/, `v${version}`);
    }
  });
}

const others: Readonly<Record<string, object>> = {
  findCoordinator: { coordinatorKey: "g", groupId: "g", coordinatorType: 0 },
  heartbeat: { groupId: "g", groupGenerationId: 1, memberId: "m", groupInstanceId: null },
  joinGroup: {
    groupId: "g",
    sessionTimeout: 1,
    rebalanceTimeout: 1,
    memberId: "",
    protocolType: "c",
    groupProtocols: [],
  },
  leaveGroup: { groupId: "g", memberId: "m", members: [{ memberId: "m", groupInstanceId: null }] },
  syncGroup: { groupId: "g", generationId: 1, memberId: "m", groupInstanceId: null, groupAssignment: [] },
  listGroups: {},
  saslHandshake: { mechanism: "plain" },
  initProducerId: { transactionalId: "t", transactionTimeout: 1 },
  addOffsetsToTxn: transaction,
  endTxn: { ...transaction, transactionResult: true },
  apiVersions: {},
};

for (const [name, given] of Object.entries(others)) {
  test(`${name} is about no topic: rules that name one allow it, and its denial is understood`, async (t) => {
    const { versions, protocol } = api(name);
    for (const version of versions.map(Number)) {
      const exchange = protocol({ version })(given);
      const bytes = await frame(exchange);
      t.deepEqual(run([{ topic: "good" }], ["client", bytes]).server, bytes, `v${version}`);
      const { server, client } = run([{ topic: "good", clientId: "other" }], ["client", bytes]);
      t.is(server.length, 0);
      t.is(client.bytes.readInt32BE(0), client.bytes.length - 4);
      const decoded = (await exchange.response.decode(client.bytes.subarray(8))) as { readonly errorCode: number };
      t.is(decoded.errorCode, 29, `v${version}`);
    }
  });
}

const int16 = (value: number) => Buffer.from([(value >> 8) & 255, value & 255]);
const int32 = (value: number) => Buffer.concat([int16(value >> 16), int16(value)]);
const sized = (...parts: readonly Buffer[]) => {
  const bytes = Buffer.concat(parts);
  return Buffer.concat([int32(bytes.length), bytes]);
};
const head = (key: number, version: number, correlation = 7) =>
  Buffer.concat([int16(key), int16(version), int32(correlation), int16(1), Buffer.from("c")]);
const compact = (text: string) => Buffer.concat([Buffer.from([text.length + 1]), Buffer.from(text)]);
const none = Buffer.from([0]);
const hex = (text: string) => Buffer.from(text.replaceAll(" ", ""), "hex");

test("flexible versions (KIP-482): compact sizes and tagged fields", (t) => {
  const tagged = hex("01 05 02 ab cd");
  const produce = (topic: string) =>
    sized(
      head(0, 9),
      tagged,
      none,
      hex("ffff 00000001"),
      hex("02"),
      compact(topic),
      hex("02 00000003 03 aabb"),
      tagged,
      none,
      none,
    );
  t.deepEqual(run([{ topic: "good" }], ["client", produce("good")]).server, produce("good"));
  const denied = run([{ topic: "good" }], ["client", produce("bad")]);
  t.is(denied.server.length, 0);
  // No tags; one topic, one partition, error 29, three times -1, no errors of records, no message; no throttling.
  const partition = hex("02 00000003 001d ffffffffffffffff ffffffffffffffff ffffffffffffffff 01 00 00");
  t.deepEqual(denied.client.bytes, sized(int32(7), none, hex("02"), compact("bad"), partition, none, int32(0), none));
  const fetch = (topic: string) =>
    sized(
      ...[
        head(1, 12),
        none,
        hex("ffffffff 00000001 00000001 00000001 00 00000000 ffffffff"),
        hex("02"),
        compact(topic),
      ],
      ...[
        hex("02 00000003 ffffffff 0000000000000009 ffffffff 0000000000000000 00000064"),
        none,
        none,
        hex("01"),
        compact(""),
        none,
      ],
    );
  t.deepEqual(run([{ topic: "good" }], ["client", fetch("good")]).server, fetch("good"));
  t.is(run([{ topic: "good" }], ["client", fetch("bad")]).server.length, 0);
});

test("topics by id, unknown versions and bytes behind the end are matched by no rule that names a topic, and end the connection", (t) => {
  const byId = sized(head(3, 12), none, hex("02"), Buffer.alloc(16, 1), none, none, hex("00 00"), none);
  const byName = sized(head(3, 12), none, hex("02"), Buffer.alloc(16), compact("good"), none, hex("00 00"), none);
  const longer = sized(byName.subarray(4), none);
  const later = sized(head(1, 15), none, Buffer.alloc(30));
  const unheard = sized(head(99, 0), none, Buffer.alloc(30));
  t.deepEqual(run([{ topic: "good" }], ["client", byName]).server, byName);
  for (const bytes of [byId, longer, later, unheard]) {
    const { server, client, records } = run([{ topic: "good" }], ["client", bytes]);
    t.is(server.length, 0);
    t.true(client.finished);
    t.is(records[0]?.verdict, "denied");
    t.deepEqual(run([{}], ["client", bytes]).server, bytes, "a rule about no topic does not ask");
  }
});

test("records name topics where no rule does, too, except those of a request that is too long to be kept", async (t) => {
  const produce = (bytes: number) =>
    frame(
      api("produce").protocol({ version: 3 })({
        ...topical.produce?.([]),
        acks: 0,
        topicData: [
          {
            topic: "orders",
            partitions: [
              { partition: 0, messages: [{ ...messages[0], value: Buffer.alloc(bytes) }], firstSequence: 0 },
            ],
          },
        ],
      }),
    );
  for (const [bytes, topics] of [
    [40_000, ["orders"]],
    [80_000, []],
  ] as const) {
    const request = await produce(bytes);
    const { server, records } = run([{}], ["client", request.subarray(0, 30)], ["client", request.subarray(30)]);
    t.true(server.equals(request), `${bytes}`);
    t.deepEqual(
      records.map(({ verdict, kafka }) => [verdict, kafka.topics]),
      [["forwarded", topics]],
    );
  }
});

test("what is denied is answered when all requests before it are", async (t) => {
  const { protocol } = api("heartbeat");
  const beat = async (id: number) => frame(protocol({ version: 0 })(others.heartbeat as object), id);
  const bad = await frame(api("metadata").protocol({ version: 1 })(topical.metadata?.(["bad"]) as object), 2);
  const answer = (id: number, rest: Buffer) => sized(int32(id), rest);
  const large = answer(1, Buffer.alloc(100_000, "x"));
  const asked = Buffer.concat([await beat(1), bad, await beat(3)]);
  const rules = [{ topic: "good" }];
  const first = run(rules, ["client", asked]);
  t.deepEqual(first.server, Buffer.concat([await beat(1), await beat(3)]));
  t.is(first.client.bytes.length, 0);
  const half = run(rules, ["client", asked], ["server", large.subarray(0, 50_000)]);
  t.deepEqual(half.client.bytes, large.subarray(0, 50_000));
  const { client } = run(
    rules,
    ["client", asked],
    ["server", large.subarray(0, 50_000)],
    ["server", large.subarray(50_000)],
  );
  t.is(client.bytes.readInt32BE(large.length + 4), 2);
  const all = run(rules, ["client", asked], ["server", Buffer.concat([large, answer(3, int16(0))])]);
  t.deepEqual(all.client.bytes.subarray(-10), answer(3, int16(0)));
  t.deepEqual(
    all.records.map(({ verdict, kafka }) => `${verdict} ${kafka.correlationId}`),
    ["forwarded 1", "denied 2", "forwarded 3"],
  );
});

test("produce requests without acknowledgement have no answer: a denied one ends the connection, as brokers do", async (t) => {
  const given = (topics: readonly string[]) => ({ ...topical.produce?.(topics), acks: 0 });
  for (const version of [2, 7]) {
    const { protocol } = api("produce");
    const good = await frame(protocol({ version })(given(["good"])), 1);
    const beat = await frame(api("heartbeat").protocol({ version: 0 })(others.heartbeat as object), 2);
    const answer = sized(int32(2), int16(0));
    const passed = run([{ topic: "good" }], ["client", Buffer.concat([good, beat])], ["server", answer]);
    t.deepEqual(passed.client.bytes, answer);
    t.false(passed.client.finished);
    const denied = run([{ topic: "good" }], ["client", await frame(protocol({ version })(given(["bad"])))]);
    t.is(denied.server.length, 0);
    t.true(denied.client.finished);
  }
});

test("versions whose topics could not be read are taken off what a server offers, where a rule names a topic", (t) => {
  const offered = [
    [0, 3, 13],
    [1, 4, 17],
    [2, 1, 3],
    [1, 14, 17],
    [12, 0, 4],
    [98, 0, 9],
  ] as const;
  const limited = [
    [0, 3, 12],
    [1, 4, 12],
    [2, 1, 3],
    [1, 14, 17],
    [12, 0, 4],
    [98, 0, 9],
  ] as const;
  const plain = (keys: readonly (readonly [number, number, number])[]) =>
    sized(int32(7), int16(0), int32(keys.length), ...keys.map((key) => Buffer.concat(key.map(int16))));
  const flexible = (keys: readonly (readonly [number, number, number])[]) =>
    sized(
      ...[int32(7), int16(0), Buffer.from([keys.length + 1])],
      ...keys.map((key) => Buffer.concat([...key.map(int16), none])),
      int32(0),
      none,
    );
  const ask = (version: number) =>
    sized(head(18, version), ...(version < 3 ? [] : [none, compact("x"), compact("1"), none]));
  for (const [version, form] of [
    [0, plain],
    [3, flexible],
  ] as const) {
    const asked = ["client", ask(version)] as const;
    t.deepEqual(run([{ topic: "a" }], asked, ["server", form(offered)]).client.bytes, form(limited), `v${version}`);
    t.deepEqual(run([{ clientId: "c" }], asked, ["server", form(offered)]).client.bytes, form(offered), `v${version}`);
    for (let cut = 1; cut < form(offered).length; cut += 5) {
      const parts = [form(offered).subarray(0, cut), form(offered).subarray(cut)];
      t.deepEqual(
        run([{ topic: "a" }], asked, ...parts.map((part) => ["server", part] as const)).client.bytes,
        form(limited),
      );
    }
  }
  const old = Buffer.concat([int32(7), int16(35), int32(1), int16(0), int16(3), int16(13)]);
  const { client } = run([{ topic: "a" }], ["client", ask(3)], ["server", sized(old)]);
  t.is(client.bytes.readInt16BE(client.bytes.length - 2), 12, "a server without that version answers as to version 0");
});

test("what is no Kafka, or answers nobody, ends the connection", async (t) => {
  const beat = await frame(api("heartbeat").protocol({ version: 0 })(others.heartbeat as object), 1);
  for (const bytes of [
    Buffer.from("GET / HTTP/1.1\r\n\r\n"),
    sized(Buffer.alloc(4)),
    sized(hex("ffff 0000 00000001 0000")),
    sized(hex("0001 0000 00000001 7fff")),
  ]) {
    const { server, client, records } = run([{}], ["client", bytes]);
    t.is(server.length, 0);
    t.true(client.finished);
    t.is(records[0]?.verdict, "refused");
  }
  const stray = run([{}], ["client", beat], ["server", sized(int32(99), int16(0))]);
  t.true(stray.client.reset);
  t.is(stray.records[0]?.reason, "an answer to no request");
});

test("requests in any pieces are the same requests", async (t) => {
  const parts = await Promise.all(
    ["good", "bad", "good"].map((topic, at) =>
      frame(api("produce").protocol({ version: 3 })(topical.produce?.([topic]) as object), at),
    ),
  );
  const bytes = Buffer.concat(parts);
  const whole = run([{ topic: "good" }], ["client", bytes]);
  for (const size of [1, 3, 50]) {
    const steps: (readonly ["client", Buffer])[] = [];
    for (let at = 0; at < bytes.length; at += size) steps.push(["client", bytes.subarray(at, at + size)]);
    const split = run([{ topic: "good" }], ...steps);
    t.deepEqual(split.server, whole.server);
    t.deepEqual(split.client, whole.client);
  }
  t.deepEqual(whole.server, Buffer.concat([parts[0] as Buffer, parts[2] as Buffer]));
});
