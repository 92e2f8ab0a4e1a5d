import test from "ava";
import type { Lab } from "../../src/lab/lab.ts";
import { agentStatus, answererOf, beginFlow, pod, podAddress, settled, sharedLab, withLab } from "../support/lab.ts";

function hostPolicy(name: string, spec: object): object {
  return {
    apiVersion: "cilium.io/v2",
    kind: "CiliumClusterwideNetworkPolicy",
    metadata: { name },
    spec: { nodeSelector: {}, ...spec },
  };
}

const denyAll = hostPolicy("deny-all", {
  ingressDeny: [{ fromEntities: ["all"] }],
  egressDeny: [{ toEntities: ["all"] }],
});

/** Sessions of a node, and those that are established. */
async function sessions(lab: Lab, node: string): Promise<readonly [number, number]> {
  const bgp = (await lab.status()).nodes.find(({ name }) => name === node)?.bgp ?? [];
  return [bgp.length, bgp.filter(({ state }) => state === "ESTABLISHED").length];
}

async function isApplied(lab: Lab, object: object): Promise<void> {
  await lab.applyObjects([object]);
  for (const { name } of lab.plan.nodes) {
    await lab.until(`${name} has the policy`, async () => (await agentStatus(lab, name)).counts.policies > 0);
    await lab.agent(name, ["policy", "wait"]);
  }
}

async function traceOf(lab: Lab, node: string, words: readonly string[]): Promise<string> {
  return (await lab.agent(node, ["policy", "trace", ...words])).stdout;
}

const addressOf = (lab: Lab, node: string): string => lab.plan.nodes.find(({ name }) => name === node)?.ipv4 ?? "";

/** Longer than the hold time of the lab's daemons: a session without packets would be down by now. */
const longerThanHoldMs = 14_000;

const inLab = sharedLab({
  objects: [
    pod("web", { node: "node-1" }),
    pod("far", { node: "node-2" }),
    pod("agent", { node: "node-1", hostNetwork: true, ports: [8090, 8091] }),
  ],
});

inLab(
  "the first policy of a node breaks no connection that it allows, whoever opened it, and ends those that it does not",
  async (t, lab) => {
    const far = await podAddress(lab, "default/far");
    const node = addressOf(lab, "node-1");
    const flow = (from: string, address: string, port: number) => beginFlow(lab, from, { kind: "tcp", address, port });
    const out = await flow("node/node-1", far, 8080);
    const inward = await flow("external/client", node, 8090);
    const closed = await flow("external/client", node, 8091);
    const tcp = (port: string) => [{ ports: [{ port, protocol: "TCP" }] }];
    const some = hostPolicy("some", {
      ingress: [{ fromEntities: ["world"], toPorts: tcp("8090") }],
      egress: [{ toEndpoints: [{}], toPorts: tcp("8080") }],
    });
    await isApplied(lab, some);
    await new Promise((done) => setTimeout(done, 1_000));
    for (const each of [await out.end(), await inward.end()]) t.is(each.answered, each.sent, "to the last one");
    const { sent, answered } = await closed.end();
    t.is(answered, sent - 1, "it waits for the next answer in vain");
    t.is(await answererOf(lab, "external/client", node, 8091, 1), null);
    t.truthy(await answererOf(lab, "external/client", node, 8090));
    t.is(await answererOf(lab, "node/node-1", far, 8080), "default/far");
    await lab.deleteObjects([some]);
    await settled(lab);
  },
);

inLab(
  "a policy that denies a node everything closes it, but for what it needs to stay in its cluster",
  async (t, lab) => {
    const target = await podAddress(lab, "default/web");
    const [configured, up] = await sessions(lab, "node-1");
    t.true(configured > 0);
    t.is(up, configured);
    t.is(await answererOf(lab, "node/node-1", target, 8080), "default/web", "before");
    await isApplied(lab, denyAll);
    t.is(await answererOf(lab, "node/node-1", target, 8080, 1), null, "the node to its own pod");
    t.is(await answererOf(lab, "node/node-2", target, 8080, 1), null, "the node to a pod of another");
    t.is(await answererOf(lab, "default/far", target, 8080), "default/web", "pods are others");
    t.is(await answererOf(lab, "external/client", target, 8080), "default/web", "and the outside reaches them");

    const { stdout } = await lab.agent("node-1", ["policy", "get", "--json"]);
    t.regex(stdout, /POLICY_LOCKOUT_GUARD/);
    t.regex(stdout, /BGP \(TCP 179\) in, BGP \(TCP 179\) out/);
    const { problems } = await agentStatus(lab, "node-1");
    t.true(problems.some(({ code, severity }) => code === "POLICY_LOCKOUT_GUARD" && severity === "warning"));

    const listed = await lab.agent("node-1", ["endpoint", "list"]);
    t.regex(listed.stdout, /0 +Enabled +Enabled +1 +reserved:host/);
    const far = await traceOf(lab, "node-1", ["--from", "node/node-1", "--to", "default/far", "--port", "8080"]);
    t.regex(far, /egress of node\/node-1: DENY\n(?: .*\n)*? +in the kernel: the same, by group \d+\n/);
    t.regex(far, /ingress of default\/far: ALLOW\n(?: .*\n)*? +judged on node-2/);
    const bgp = await traceOf(lab, "node-1", ["--from", "node/node-2", "--to", "node/node-1", "--port", "179"]);
    t.regex(bgp, /by the guard of the node: BGP\n +in the kernel: the same, by group \d+\n/);

    await new Promise((done) => setTimeout(done, longerThanHoldMs));
    t.deepEqual(await sessions(lab, "node-1"), [configured, configured], "sessions that were there");
    await lab.stopAgent("node-1", "SIGKILL");
    await lab.startAgent("node-1");
    t.is(await answererOf(lab, "node/node-1", target, 8080, 1), null, "a restarted agent changes nothing");
    t.deepEqual(await sessions(lab, "node-1"), [configured, configured]);

    await lab.deleteObjects([denyAll]);
    await lab.until("it is open again", async () => {
      return (await answererOf(lab, "node/node-1", target, 8080, 1)) === "default/web";
    });
  },
);

test("who says so may lock a node out: its BGP sessions end, and come back with the policy gone", (t) =>
  withLab(t, { agent: { allowLockout: true } }, async (lab) => {
    const [configured] = await sessions(lab, "node-1");
    await isApplied(lab, denyAll);
    await lab.until("no session is left", async () => (await sessions(lab, "node-1"))[1] === 0, 120_000);
    t.deepEqual(
      (await agentStatus(lab, "node-1")).problems.filter(({ code }) => code === "POLICY_LOCKOUT_GUARD"),
      [],
    );
    await lab.deleteObjects([denyAll]);
    await lab.until("all sessions are back", async () => (await sessions(lab, "node-1"))[1] === configured, 180_000);
  }));
