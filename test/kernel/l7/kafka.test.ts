/** Kafka through the engine with real sockets: kafkajs against a broker of the tests' own. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
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
  const denied = engine.records.filter(({ verdict }) => verdict === "denied");
  t.like(denied[0], {
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
