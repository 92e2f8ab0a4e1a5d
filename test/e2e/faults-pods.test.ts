/**
 * Pods that come and go in bad moments: very many at once, one that is deleted while it is being added, one that gets the address of another that
 * has just gone. The agent is killed and started in the middle of each.
 */
import { readFile, writeFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import type { EndpointDto } from "../../src/api/dto.ts";
import { type KubeObject, kinds } from "../../src/kube/index.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { podSchema } from "../../src/lab/objects.ts";
import { addressesAnnotation, createSandbox, destroySandbox, startProcesses } from "../../src/lab/pods.ts";
import { type FaultCluster, nameOf, podOn, statusOf, withFaultLab } from "../support/faults-cluster.ts";
import { FaultTraffic } from "../support/faults-traffic.ts";
import { answererOf } from "../support/lab.ts";

/** A cluster of the real size is told by the environment: 1000 pods take a machine that has room for their processes. */
const many = Number(process.env.TANDEM_FAULT_PODS ?? 80);
/** Pods that a node of the lab has addresses for, less some. */
const perNode = 240;
/** Bytes that an agent may have more when they are all gone: V8 keeps some of what it once needed, whatever the number of pods. */
const grownBytes = 96 * 2 ** 20;

interface Scene {
  readonly t: ExecutionContext;
  readonly lab: Lab;
  readonly cluster: FaultCluster;
  readonly traffic: FaultTraffic;
}

async function restartAgent({ lab }: Scene): Promise<void> {
  await lab.stopAgent("node-1", "SIGKILL");
  await lab.startAgent("node-1");
}

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
  const command = ["sleep", "infinity"];
  const pods = Array.from({ length: many }, (_, i) =>
    podOn(nodes[i % nodes.length] ?? "none", `many-${i}`, `many-${i % 10}`, { command }),
  );
  const before = await Promise.all(nodes.map((node) => sizesOf(scene, node)));
  t.true(before.every(({ maps = [] }) => maps.length >= 4));
  const memory = (await statusOf(lab, "node-2"))?.memory.rssBytes ?? 0;
  const began = Date.now();
  const restarted = restartAgent(scene);
  await Promise.all([cluster.runPods(pods), restarted]);
  const ms = Date.now() - began;
  t.log(`${many} pods run after ${ms} ms, ${Math.round((many / ms) * 60_000)} a minute`);
  await lab.until("each of them has its endpoint", async () => {
    const endpoints = await cluster.client.listAll(kinds.ciliumEndpoints);
    return endpoints.filter(({ metadata }) => metadata.name.startsWith("many-")).length === many;
  });
  const restartedAgain = restartAgent(scene);
  await Promise.all([cluster.endPods(lab, pods), restartedAgain]);
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

/** Makes a Pod whose kubelet is the test. */
async function createPod({ cluster }: Scene, object: KubeObject) {
  return podSchema.parse({ kind: "Pod", apiVersion: "v1", ...(await cluster.client.create(kinds.pods, object)) });
}

async function deletePod({ cluster }: Scene, { metadata }: KubeObject): Promise<void> {
  await cluster.client.delete(kinds.pods, nameOf(metadata), { gracePeriodSeconds: 0 });
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

/** @param agentDies between the two pods */
async function addressAgain(scene: Scene, round: number, agentDies: boolean): Promise<void> {
  const { t, lab, cluster } = scene;
  const oldObject = podOn("node-1", `old-${round}`, "open");
  const old = await createPod(scene, oldObject);
  const [address = "none"] = await createSandbox(lab.plan, old);
  const status = { phase: "Running", podIP: address, podIPs: [{ ip: address }] };
  await cluster.client.patch(kinds.pods, nameOf(oldObject.metadata), { status }, { subresource: "status" });
  const folder = await mkdtemp(join(tmpdir(), "tandem-faults-"));
  const [log, stop] = [join(folder, "log"), join(folder, "stop")];
  const ping = `ping -O -i 0.01 ${address} >${log} & while [ ! -e ${stop} ]; do sleep 0.1; done; kill -INT $!; wait`;
  const watching = lab.exec("default/stranger-2", ["sh", "-c", ping], { timeoutMs: 240_000 });
  const lines = async (pattern: RegExp) => [...(await readFile(log, "utf8").catch(() => "")).matchAll(pattern)];
  const answered = () => lines(/icmp_seq=(\d+) ttl/g);
  try {
    await lab.until("the old pod answers", async () => (await answered()).length > 10);
    const object = podOn("node-1", `new-${round}`, "server", { ports: [8080] });
    const annotations = { [addressesAnnotation]: address };
    const fresh = await createPod(scene, { ...object, metadata: { ...object.metadata, annotations } });
    if (agentDies) await lab.stopAgent("node-1", "SIGKILL");
    const began = Date.now();
    await destroySandbox(lab.plan, old);
    const gone = Date.now();
    // While there is no agent ADD fails, and kubelets try again.
    if (agentDies) await lab.startAgent("node-1");
    const [again] = await createSandbox(lab.plan, fresh);
    t.log(`DEL ${gone - began} ms, ADD ${Date.now() - gone} ms${agentDies ? ", with a new agent" : ""}`);
    t.is(again, address);
    // The object of the old one says for some time more that the address is its.
    const isUnanswered = /no answer yet for icmp_seq=/g;
    const unanswered = (await lines(isUnanswered)).length;
    await lab.until("the stranger asks the new pod", async () => (await lines(isUnanswered)).length > unanswered + 50);
    await startProcesses(lab.plan, fresh);
    t.is(await answererOf(lab, "default/client-1", address, 8080), `default/new-${round}`);
    await deletePod(scene, oldObject);
    await writeFile(stop, "");
    await watching;
    const seen = (await answered()).map(([, sequence]) => Number(sequence));
    t.deepEqual(
      seen,
      seen.map((_, i) => i + 1),
      "nobody answered after the old pod had gone",
    );
    await destroySandbox(lab.plan, fresh);
    await deletePod(scene, object);
  } finally {
    await writeFile(stop, "");
    await watching;
    await rm(folder, { recursive: true, force: true });
  }
}

test("pods that come and go in bad moments get their own policy or nothing, leave nothing, and disturb nobody", (t) =>
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
      await traffic.during(t, "an address is used again", async () => {
        for (const [round, agentDies] of [false, false, false, true].entries()) {
          await addressAgain(scene, round, agentDies);
        }
      });
    },
    Math.max(2, Math.ceil(many / perNode)),
  ));
