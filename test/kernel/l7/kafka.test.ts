/** Kafka through the engine with real sockets: kafkajs against a broker of the tests' own. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import test, { type ExecutionContext } from "ava";
import { Kafka, logLevel } from "kafkajs";
import type { L7KafkaRule } from "../../../src/native/l7-contract.ts";
import { KafkaBroker } from "../../support/kafka-broker.ts";
import { startEngine } from "../../support/l7-engine.ts";

const produceKeys = [0, 3, 18];
const consumeKeys = [1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 18];

function rule(apiKeys: readonly number[], topic: string | null, clientId: string | null = null): L7KafkaRule {
  return { apiKeys, apiVersion: null, clientId, topic };
}

async function lab(t: ExecutionContext, ...rules: readonly L7KafkaRule[]) {
  let port = 0;
  const broker = new KafkaBroker(() => ({ host: "127.0.0.1", port }));
  broker.server.listen(0, "127.0.0.1");
  await once(broker.server, "listening");
  t.teardown(() => void broker.server.close());
  const engine = await startEngine(t, (broker.server.address() as AddressInfo).port, [
    { id: 1, protocol: "kafka", rules },
  ]);
  port = engine.port;
  const client = (clientId: string) =>
    new Kafka({ clientId, brokers: [`127.0.0.1:${port}`], logLevel: logLevel.NOTHING, retry: { retries: 0 } });
  const produce = async (clientId: string, ...topics: readonly string[]) => {
    const producer = client(clientId).producer();
    await producer.connect();
    try {
      await producer.sendBatch({
        topicMessages: topics.map((topic) => ({ topic, messages: [{ value: `to ${topic}` }] })),
      });
      return "sent";
    } catch (error) {
      return (error as { readonly type?: string }).type ?? String(error);
    } finally {
      await producer.disconnect();
    }
  };
  return { broker, engine, client, produce };
}

test("a producer may write to the topics of its rules, and hears of others what a broker would say", async (t) => {
  const { broker, engine, produce } = await lab(t, rule(produceKeys, "orders"), rule(produceKeys, "returns"));
  t.is(await produce("shop", "orders"), "sent");
  t.is(await produce("shop", "orders", "returns"), "sent");
  t.regex(await produce("shop", "audit"), /Not authorized to access topics/);
  t.regex(await produce("shop", "orders", "audit"), /Not authorized to access topics/);
  t.false(
    broker.seen.some(({ topics }) => topics.includes("audit")),
    "nothing about it reached the broker",
  );
  await engine.until("records", () => engine.records.filter(({ verdict }) => verdict === "denied").length >= 2);
  // Each thread of the engine tells of its own connections.
  const denied = engine.records.find(({ verdict, kafka }) => verdict === "denied" && kafka?.topics.join() === "audit");
  t.like(denied, {
    protocol: "kafka",
    direction: "egress",
    kafka: { clientId: "shop", topics: ["audit"], error: 29 },
  });
});

test("a client that may ask for all topics is told of each that it may not write to", async (t) => {
  const { broker, produce } = await lab(t, rule([3, 18], null), rule([0], "orders"));
  t.is(await produce("shop", "orders"), "sent");
  t.is(await produce("shop", "audit"), "TOPIC_AUTHORIZATION_FAILED");
  t.is(await produce("shop", "audit", "orders"), "TOPIC_AUTHORIZATION_FAILED");
  t.is(broker.seen.filter(({ apiKey }) => apiKey === 0).length, 1);
});

test("a consumer reads its topic in its group, under its client's name only", async (t) => {
  const { broker, client, produce } = await lab(
    t,
    rule(produceKeys, "orders"),
    rule(consumeKeys, "orders", "archiver"),
  );
  t.is(await produce("shop", "orders"), "sent");
  const consumer = client("archiver").consumer({ groupId: "g", maxWaitTimeInMs: 100 });
  t.teardown(() => consumer.disconnect());
  await consumer.connect();
  await consumer.subscribe({ topic: "orders", fromBeginning: true });
  const message = await new Promise<string>((resolve, reject) => {
    consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
    void consumer.run({ eachMessage: async ({ message }) => resolve(String(message.value)) });
  });
  t.is(message, "to orders");
  const other = client("other").consumer({ groupId: "h", retry: { retries: 0 } });
  t.teardown(() => other.disconnect());
  await other.connect();
  await other.subscribe({ topic: "orders" });
  const crash = await new Promise<{ readonly error: Error }>((resolve) => {
    other.on(other.events.CRASH, ({ payload }) => resolve(payload));
    void other.run({ eachMessage: async () => t.fail("it got a message") }).catch(() => undefined);
  });
  t.truthy(crash.error);
  t.false(broker.seen.some(({ apiKey, clientId }) => apiKey === 1 && clientId === "other"));
});

/** Heartbeat of version 0: a group, a generation, a member. */
function heartbeat(correlationId: number): Buffer {
  const body = Buffer.from("000c0000" + "00000000" + "0001" + "63" + "0001" + "67" + "00000001" + "0001" + "6d", "hex");
  body.writeInt32BE(correlationId, 4);
  const size = Buffer.alloc(4);
  size.writeInt32BE(body.length);
  return Buffer.concat([size, body]);
}

test("a client that always waits for some answer is not cut off by the time of one, and is when an answer does not come", async (t) => {
  const pause = 400;
  const answers = 8;
  const broker = createServer((socket) => {
    let sent = 0;
    socket.on("error", () => {});
    socket.once("data", () => {
      const timer = setInterval(() => {
        sent++;
        socket.write(Buffer.from(`0000000600000000${"0000"}`, "hex").fill(sent, 7, 8));
        if (sent === answers) clearInterval(timer);
      }, pause);
      socket.once("close", () => clearInterval(timer));
    });
  });
  broker.listen(0, "127.0.0.1");
  await once(broker, "listening");
  t.teardown(() => void broker.close());
  const rules = [{ id: 1, protocol: "kafka" as const, rules: [rule([12], null)] }];
  const engine = await startEngine(t, (broker.address() as AddressInfo).port, rules, { requestTimeout: 2000 });
  const socket = connect(engine.port, "127.0.0.1");
  t.teardown(() => void socket.destroy());
  const ended = once(socket, "end");
  let told = 0;
  let asked = 0;
  const ask = () => socket.write(heartbeat(++asked));
  socket.on("data", (bytes) => {
    told += bytes.length / 10;
    // Two are always on their way.
    while (asked < told + 2) ask();
  });
  const begun = performance.now();
  ask();
  ask();
  await ended;
  t.is(told, answers);
  // Of the two that are left, one was asked when the answer before the last came.
  const took = performance.now() - begun;
  t.true(took > (answers - 1) * pause + 1900, `${took}`);
});
