/**
 * kafkajs in a pod: `kafka-client.ts produce|consume HOST:PORT CLIENT TOPIC`; prints the error's type, or "sent", or the first message of the
 * topic, or "nothing" after five seconds.
 */
import { Kafka, logLevel } from "kafkajs";

const [word = "", broker = "", clientId = "", topic = ""] = process.argv.slice(2);
const kafka = new Kafka({ clientId, brokers: [broker], logLevel: logLevel.NOTHING, retry: { retries: 0 } });

async function produce(): Promise<string> {
  const producer = kafka.producer();
  await producer.connect();
  await producer.send({ topic, messages: [{ value: `by ${clientId}` }] });
  return "sent";
}

async function consume(): Promise<string> {
  const consumer = kafka.consumer({ groupId: clientId, maxWaitTimeInMs: 100 });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  return new Promise((resolve, reject) => {
    setTimeout(() => resolve("nothing"), 5000);
    consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
    void consumer.run({ eachMessage: async ({ message }) => resolve(String(message.value)) });
  });
}

const said = await (word === "produce" ? produce() : consume()).catch(
  (error: Error & { readonly type?: string }) => error.type ?? error.message,
);
console.log(said);
process.exit(0);
