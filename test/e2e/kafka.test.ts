/** Kafka rules as users of Kafka meet them: kafkajs in pods, a broker in another, between them tandem-proxy of both nodes. */
import test from "ava";
import type { EventDto } from "../../src/api/dto.ts";
import { monitored, pod, podAddress, settled, visibility, withLab } from "../support/lab.ts";

const program = (name: string, ...words: readonly string[]) => [
  process.execPath,
  `--import=${import.meta.resolve("tsx")}`,
  new URL(`../support/${name}.ts`, import.meta.url).pathname,
  ...words,
];

const kafka = (rules: readonly object[]) => [{ ports: [{ port: "9092", protocol: "TCP" }], rules: { kafka: rules } }];

const policy = {
  apiVersion: "cilium.io/v2",
  kind: "CiliumNetworkPolicy",
  metadata: { name: "broker", namespace: "default" },
  spec: {
    endpointSelector: { matchLabels: { app: "broker" } },
    ingress: [
      { fromEndpoints: [{ matchLabels: { app: "cart" } }], toPorts: kafka([{ role: "produce", topic: "orders" }]) },
      {
        fromEndpoints: [{ matchLabels: { app: "archive" } }],
        toPorts: kafka([{ role: "consume", topic: "orders", clientID: "archiver" }]),
      },
    ],
  },
};

test("who may write and read which topics, under which name", (t) =>
  withLab(
    t,
    {
      proxies: true,
      objects: [
        pod("broker", { node: "node-1", ports: [9092], command: program("kafka-broker", "9092") }),
        // No rule is about it.
        pod("seen", {
          node: "node-1",
          ports: [9092],
          command: program("kafka-broker", "9092"),
          annotations: visibility("<Ingress/9092/TCP/Kafka>"),
        }),
        pod("cart", { node: "node-2" }),
        pod("archive", { node: "node-1" }),
        pod("stranger", { node: "node-2" }),
        policy,
      ],
    },
    async (lab) => {
      await settled(lab);
      const broker = `${await podAddress(lab, "default/broker")}:9092`;
      const run = async (from: string, word: "produce" | "consume", client: string, topic: string, to = broker) =>
        (
          await lab.exec(`default/${from}`, program("kafka-client", word, to, client, topic), { timeoutMs: 60_000 })
        ).stdout.trim();
      await lab.until("the broker is there", async () => (await run("cart", "produce", "cart", "orders")) === "sent");
      const isDenied = ({ l7 }: EventDto) => l7?.kafka?.topics.includes("audit") === true;
      const ask = async () => {
        t.regex(await run("cart", "produce", "cart", "audit"), /Not authorized to access topics/);
      };
      const events = await monitored<EventDto>(lab, "node-1", ask, (events) => events.some(isDenied));
      t.like(events.find(isDenied), { verdict: "denied", direction: "ingress", type: "l7" });
      t.is(await run("archive", "consume", "archiver", "orders"), "by cart");
      t.not(await run("archive", "consume", "other", "orders"), "by cart");
      t.not(await run("archive", "produce", "archiver", "orders"), "sent");
      t.not(await run("cart", "consume", "cart", "orders"), "by cart");
      t.not(await run("stranger", "produce", "cart", "orders"), "sent");

      const open = `${await podAddress(lab, "default/seen")}:9092`;
      const produce = () => run("stranger", "produce", "anybody", "audit", open);
      await lab.until("the other broker is there", async () => (await produce()) === "sent");
      const isProduced = ({ l7 }: EventDto) => l7?.kafka?.apiKey === 0 && l7.kafka.topics.includes("audit");
      const write = async () => {
        t.is(await produce(), "sent", "what an annotation shows is refused to nobody");
      };
      const shown = await monitored<EventDto>(lab, "node-1", write, (events) => events.some(isProduced));
      t.like(shown.find(isProduced), {
        verdict: "allowed",
        destination: { name: "default/seen" },
        l7: { protocol: "kafka", kafka: { clientId: "anybody", topics: ["audit"], error: 0 } },
      });
      t.is(await run("stranger", "consume", "anybody", "audit", open), "by anybody");
    },
  ));
