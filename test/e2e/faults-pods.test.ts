/**
 * Pods that come and go in bad moments: very many at once, each of which has its policy from its first packet, one that is deleted while it is
 * being added, one that gets the address of another that has just gone. The agent is killed and started in the middle of each.
 */
import type { EndpointDto } from "../../src/api/dto.ts";
import { kinds } from "../../src/kube/index.ts";
import { createSandbox, destroySandbox } from "../../src/lab/pods.ts";
import { addressAgain } from "../support/faults-address-again.ts";
import { podOn, statusOf, withFaultLab } from "../support/faults-cluster.ts";
import { ManyPods } from "../support/faults-many-pods.ts";
import { createPod, deletePod, restartAgent, type Scene } from "../support/faults-scene.ts";
import { FaultTraffic } from "../support/faults-traffic.ts";
import { longTest } from "../support/long.ts";

/** A cluster of the real size is told by the environment: 1000 pods take a machine that has room for their processes. */
const many = Number(process.env.TANDEM_FAULT_PODS ?? 80);
/** Pods that a node of the lab has addresses for, less some. */
const perNode = 240;
/** ms after which another pod has the address of one that has gone. */
const againMs = 100;
/** Bytes that an agent may have more when they are all gone: V8 keeps some of what it once needed, whatever the number of pods. */
const grownBytes = 96 * 2 ** 20;

async function endpointsOf({ lab }: Scene, node: string): Promise<readonly EndpointDto[]> {
  const { stdout } = await lab.agent(node, ["endpoint", "list", "--json"]);
  return stdout === "" ? [] : (JSON.parse(stdout) as readonly EndpointDto[]);
}

/** What grows with pods. */
async function sizesOf({ lab }: Scene, node: string) {
  const status = await statusOf(lab, node);
  return {
    endpoints: status?.counts.endpoints,
    addresses: status?.addresses.map(({ used }) => used),
    maps: status?.maps.filter(({ name }) => /^(ipcache|policy_|endpoints)/.test(name)),
    problems: status?.problems,
  };
}

async function manyPods(scene: Scene): Promise<void> {
  const { t, lab, cluster } = scene;
  const nodes = lab.plan.nodes.map(({ name }) => name);
  const pods = new ManyPods(scene, many);
  await pods.putPolicy();
  const before = await Promise.all(nodes.map((node) => sizesOf(scene, node)));
  t.true(before.every(({ maps = [] }) => maps.length >= 4));
  const memory = (await statusOf(lab, "node-2"))?.memory.rssBytes ?? 0;
  const judge = await pods.knock();
  const began = Date.now();
  const restarted = restartAgent(scene);
  await Promise.all([cluster.runPods(pods.objects), restarted]);
  const ms = Date.now() - began;
  t.log(`${many} pods run after ${ms} ms, ${Math.round((many / ms) * 60_000)} a minute`);
  await judge();
  await lab.until("each of them has its endpoint", async () => {
    const endpoints = await cluster.client.listAll(kinds.ciliumEndpoints);
    return endpoints.filter(({ metadata }) => metadata.name.startsWith("many-")).length === many;
  });
  const restartedAgain = restartAgent(scene);
  await Promise.all([cluster.endPods(lab, pods.objects), restartedAgain]);
  for (const [i, node] of nodes.entries()) {
    // The identities of their labels stay known for some time; nothing in the kernel does.
    const sizes = async () => JSON.stringify(await sizesOf(scene, node));
    await lab
      .until(`${node} is as before`, async () => (await sizes()) === JSON.stringify(before[i]), 120_000)
      .catch(async () => t.deepEqual(await sizesOf(scene, node), before[i], node));
  }
  await lab.until("none has an endpoint", async () => {
    const endpoints = await cluster.client.listAll(kinds.ciliumEndpoints);
    return !endpoints.some(({ metadata }) => metadata.name.startsWith("many-"));
  });
  const after = (await statusOf(lab, "node-2"))?.memory.rssBytes ?? 0;
  t.log(`the agent of node-2: ${memory >> 20} MB before, ${after >> 20} MB after`);
  t.true(after < memory + grownBytes, `${memory} bytes before, ${after} after`);
}

/** @param agentDies while ADD runs; else DEL comes while it does */
async function deletedWhileAdded(scene: Scene, agentDies: boolean): Promise<void> {
  const { t, lab, cluster } = scene;
  const what = agentDies ? "the agent dies" : "the agent lives";
  const before = await sizesOf(scene, "node-1");
  // Its labels are new and get no number: ADD waits.
  const isNumber = (request: { readonly verb: string; readonly storage: string }) =>
    request.verb === "create" && request.storage === "ciliumidentities.cilium.io";
  cluster.server.faults.add({ kind: "answer", code: 500, reason: "InternalError" }, isNumber, Number.POSITIVE_INFINITY);
  const object = podOn("node-1", `brief-${agentDies}`, `brief-${agentDies}`);
  const pod = await createPod(scene, object);
  const adding = createSandbox(lab.plan, pod).then(
    () => "added",
    (error: unknown) => String(error),
  );
  const isBrief = (endpoint: EndpointDto) => endpoint.pod === `default/${object.metadata.name}`;
  await lab.until("its ADD waits", async () => (await endpointsOf(scene, "node-1")).some(isBrief));
  t.not((await endpointsOf(scene, "node-1")).find(isBrief)?.state, "ready", what);
  if (agentDies) await lab.stopAgent("node-1", "SIGKILL");
  await deletePod(scene, object);
  await destroySandbox(lab.plan, pod);
  t.regex(await adding, /ADD on node-1/, what);
  if (agentDies) await lab.startAgent("node-1");
  await lab.until(`nothing of it is left, ${what}`, async () => {
    return JSON.stringify(await sizesOf(scene, "node-1")) === JSON.stringify(before);
  });
  cluster.server.faults.clear();

  const again = await createPod(scene, object);
  const ips = await createSandbox(lab.plan, again);
  t.is(ips.length, 2, `one of its name can be added at once, ${what}`);
  await destroySandbox(lab.plan, again);
  await deletePod(scene, object);
}

/** Until one of some tries was as quick as it must be to count, and once with an agent that dies. */
async function addressesAgain(scene: Scene): Promise<void> {
  const gaps: number[] = [];
  for (let round = 0; round < 2 || (round < 8 && Math.min(...gaps) > againMs); round++) {
    gaps.push(await addressAgain(scene, round, false));
  }
  scene.t.true(Math.min(...gaps) <= againMs, `used again after ${gaps.join(", ")} ms`);
  await addressAgain(scene, gaps.length, true);
}

longTest(
  "pods that come and go in bad moments get their own policy or nothing, leave nothing, and disturb nobody",
  (t) =>
    withFaultLab(
      t,
      async (lab, cluster) => {
        const traffic = await FaultTraffic.prepare(lab, cluster);
        const scene = { t, lab, cluster, traffic };
        await traffic.during(t, "very many pods", () => manyPods(scene));
        // From now on the test is the kubelet of node-1.
        await lab.stopKubelet("node-1");
        await traffic.during(t, "a pod is deleted while it is added", async () => {
          for (const agentDies of [false, true]) await deletedWhileAdded(scene, agentDies);
        });
        await traffic.during(t, "an address is used again", () => addressesAgain(scene));
      },
      { nodes: Math.max(2, Math.ceil(many / perNode)) },
    ),
);
