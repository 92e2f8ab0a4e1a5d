/** Policies and labels that change faster than anybody means them to: what both states allow loses nothing, what both deny never passes. */
import { setTimeout as sleep } from "node:timers/promises";
import { rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Lab } from "../../src/lab/lab.ts";
import { agentStatus, beginFlow, pod, podAddress, withLab } from "../support/lab.ts";
import { longTest } from "../support/long.ts";

const stormMs = 3_000;
/** ms in which a busy agent still answers, on a machine that others use too. */
const answerMs = 30_000;
/** Bytes that a storm may leave behind: heaps grow in steps, but not by the number of changes. */
const growthBytes = 150e6;

const fromApp = (...apps: readonly string[]) => apps.map((app) => ({ podSelector: { matchLabels: { app } } }));

function networkPolicy(name: string, app: string, ...friends: readonly string[]): object {
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name, namespace: "default" },
    spec: { podSelector: { matchLabels: { app } }, ingress: [{ from: fromApp(...friends) }] },
  };
}

/** As `kubectl apply` of somebody in a hurry: the file is another one at once, whether the agent has seen the last one or not. */
async function put(lab: Lab, name: string, items: readonly object[]): Promise<void> {
  const path = join(lab.plan.manifests, name);
  await writeFile(`${path}.next`, JSON.stringify({ apiVersion: "v1", kind: "List", items }));
  await rename(`${path}.next`, path);
}

const ports = [{ containerPort: 9000, protocol: "UDP" as const }];

const people = [
  pod("server", { node: "node-1", ports }),
  pod("friend", { node: "node-2", ports: [] }),
  pod("near", { node: "node-1", labels: { app: "friend" }, ports: [] }),
  pod("stranger", { node: "node-2", ports: [] }),
  networkPolicy("base", "server", "friend"),
];

/** Flows before, during and after `storm`: those of friends lose nothing, the stranger's never get through; the agent answers. */
async function weather(lab: Lab, storm: () => Promise<void>) {
  const address = await podAddress(lab, "default/server");
  const begin = (from: string) => beginFlow(lab, from, { kind: "udp", address, port: 9000 });
  const friends = [await begin("default/friend"), await begin("default/near")];
  const stranger = await begin("default/stranger");
  let over = false;
  const waits: number[] = [];
  const asking = (async () => {
    while (!over) {
      const before = performance.now();
      await agentStatus(lab, "node-1");
      waits.push(performance.now() - before);
      await sleep(200);
    }
  })();
  try {
    await storm();
  } finally {
    over = true;
  }
  await asking;
  await lab.agent("node-1", ["policy", "wait"]);
  const counts = { friends: await Promise.all(friends.map((flow) => flow.end())), stranger: await stranger.end() };
  return { ...counts, slowest: Math.max(...waits), asked: waits.length };
}

longTest(
  "a policy that changes 100 times a second, labels that flap, one deleted while it is applied, 1,000 at once",
  (t) =>
    withLab(t, { objects: people }, async (lab) => {
      const check = async (what: string, storm: () => Promise<void>): Promise<void> => {
        const before = (await agentStatus(lab, "node-1")).memory.rssBytes;
        const { friends, stranger, slowest, asked } = await weather(lab, storm);
        for (const { sent, answered } of friends) t.is(answered, sent, `${what}: what both allow`);
        t.is(stranger.answered, 0, `${what}: what both deny`);
        t.true(asked > 0 && slowest < answerMs, `${what}: status took ${slowest} ms`);
        const { memory, reconcilers } = await agentStatus(lab, "node-1");
        t.true(memory.rssBytes - before < growthBytes, `${what}: ${before} to ${memory.rssBytes} bytes`);
        t.deepEqual(
          reconcilers.filter(({ lastError }) => lastError !== null),
          [],
          what,
        );
      };

      await check("100 changes a second", async () => {
        const start = performance.now();
        let changes = 0;
        for (; performance.now() < start + stormMs || changes < 100; changes++) {
          const friend = changes % 2 === 0 ? "friend" : `other-${changes}`;
          await put(lab, "storm.json", [networkPolicy("storm", "server", friend)]);
          await sleep(Math.max(0, start + changes * 10 - performance.now()));
        }
        t.log(`${changes} changes in ${(performance.now() - start).toFixed(0)} ms`);
      });

      await check("labels that flap", async () => {
        const end = performance.now() + stormMs;
        const passerBy = (i: number) =>
          pod("passer-by", {
            node: "elsewhere",
            labels: { app: i % 2 === 0 ? "friend" : "stranger", round: String(i) },
            ports: [],
            addresses: ["10.250.0.9"],
          });
        for (let i = 0; performance.now() < end; i++) {
          await put(lab, "flapping.json", [passerBy(i)]);
          await sleep(10);
        }
      });

      await check("deleted while it is applied", async () => {
        const end = performance.now() + stormMs;
        for (let i = 0; performance.now() < end; i++) {
          await put(lab, "fleeting.json", [networkPolicy("fleeting", "server", "friend", `other-${i}`)]);
          // From before the agent reads it to after it wrote it.
          await sleep((i * 3) % 40);
          await rm(join(lab.plan.manifests, "fleeting.json"));
          await sleep((i * 7) % 20);
        }
      });

      await check("1,000 policies at once", async () => {
        const many = Array.from({ length: 1_000 }, (_, i) => networkPolicy(`many-${i}`, "server", `other-${i}`));
        await put(lab, "many.json", many);
        await lab.until("they are counted", async () => (await agentStatus(lab, "node-1")).counts.policies >= 1_000);
      });
      await rm(join(lab.plan.manifests, "many.json"));
      await rm(join(lab.plan.manifests, "storm.json"));
      await lab.until("only the first is left", async () => (await agentStatus(lab, "node-1")).counts.policies === 1);
    }),
);
