/** What a user gets wrong: one clear message that names the object, and nothing else stops working. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import type { Problem } from "../../src/model/status.ts";
import { writeAtomically } from "../../src/lab/files.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { netnsPath } from "../../src/lab/plan.ts";
import { inside, mustRun, run } from "../../src/lab/run.ts";
import { cniBinary } from "../../src/lab/runtime.ts";
import { systemCgroup } from "../../src/lab/topology.ts";
import { agentStatus, answererOf, pod, podAddress, sharedLab, withLab } from "../support/lab.ts";

const twoPods = [pod("server", { node: "node-1" }), pod("client", { node: "node-2" })];
const inLab = sharedLab({ objects: twoPods });

function ingressPolicy(name: string, from: string): object {
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name, namespace: "default" },
    spec: {
      podSelector: { matchLabels: { app: "server" } },
      ingress: [{ from: [{ podSelector: { matchLabels: { app: from } } }] }],
    },
  };
}

/** The problems of node-1's agent, once `wanted` is among them. */
async function problemsWith(lab: Lab, wanted: (problem: Problem) => boolean): Promise<readonly Problem[]> {
  let problems: readonly Problem[] = [];
  await lab.until("the problem is reported", async () => {
    problems = (await agentStatus(lab, "node-1")).problems;
    return problems.some(wanted);
  });
  return problems;
}

/** It is mended, and told so: the lab is as it was. */
function nothingIsLeft(lab: Lab): Promise<void> {
  return lab.until(
    "nothing is reported any more",
    async () => (await agentStatus(lab, "node-1")).problems.length === 0,
  );
}

/** Connections go on, and a policy that is applied now takes effect: the rest of the system works. */
async function theRestWorks(t: { is(a: unknown, b: unknown): unknown }, lab: Lab): Promise<void> {
  const server = await podAddress(lab, "default/server");
  const server6 = await podAddress(lab, "default/server", 6);
  t.is(await answererOf(lab, "default/client", server, 8080), "default/server");
  await lab.applyObjects([ingressPolicy("probe", "nobody")]);
  await lab.until("the new policy holds", async () => {
    return (await answererOf(lab, "default/client", server6, 8080, 1)) === null;
  });
  await lab.deleteObjects([ingressPolicy("probe", "nobody")]);
  await lab.until("the policy is gone", async () => {
    return (await answererOf(lab, "default/client", server, 8080, 1)) === "default/server";
  });
}

inLab(
  "a broken manifest is reported with file and line until it is mended, and what it said before stays in force",
  async (t, lab) => {
    const server = await podAddress(lab, "default/server");
    const file = join(lab.plan.manifests, "by-hand.yaml");
    await writeAtomically(file, JSON.stringify(ingressPolicy("by-hand", "friend")));
    const closed = async () => (await answererOf(lab, "default/client", server, 8080, 1)) === null;
    await lab.until("the policy holds", closed);

    await writeAtomically(file, "kind: NetworkPolicy\nmetadata: {name: by-hand\nspec: [\n");
    const problems = await problemsWith(lab, ({ object }) => object.includes("by-hand.yaml"));
    t.is(problems.length, 1, JSON.stringify(problems));
    t.is(problems[0]?.severity, "error");
    t.regex(`${problems[0]?.field} ${problems[0]?.message}`, /\d/, "a line is named");
    t.not(problems[0]?.remedy, "");
    t.true(await closed(), "the last good version holds");
    t.is((await lab.agent("node-1", ["status"])).code, 1, "degraded");

    await rm(file);
    await nothingIsLeft(lab);
    await theRestWorks(t, lab);
  },
);

inLab(
  "an unknown field is named with its path; the policy does not apply by half, and other policies do",
  async (t, lab) => {
    const server = await podAddress(lab, "default/server");
    const wrong = {
      ...ingressPolicy("wrong", "nobody"),
      spec: { podSelector: {}, ingress: [{ form: [{ podSelector: {} }] }] },
    };
    await lab.applyObjects([wrong]);
    const problems = await problemsWith(lab, ({ object }) => object === "NetworkPolicy default/wrong");
    t.like(
      problems.map(({ field, severity }) => ({ field, severity })),
      [{ field: "spec.ingress[0].form", severity: "error" }],
    );
    t.regex(problems[0]?.remedy ?? "", /from/);
    t.is(await answererOf(lab, "default/client", server, 8080), "default/server", "it isolates nobody");
    const { stdout } = await lab.agent("node-1", ["policy", "get", "--json"]);
    t.like(JSON.parse(stdout), [{ name: "wrong", valid: false }]);
    await theRestWorks(t, lab);
    await lab.deleteObjects([wrong]);
    await nothingIsLeft(lab);
  },
);

inLab("a pod CIDR that overlaps another node's is reported with both names, and pods go on", async (t, lab) => {
  const node = {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name: "intruder" },
    spec: { podCIDRs: [lab.node("node-2").podCidr4] },
    status: { addresses: [{ type: "InternalIP", address: "172.31.255.1" }] },
  };
  const file = join(lab.plan.manifests, "intruder.json");
  await writeAtomically(file, JSON.stringify(node));
  const mentions = ({ object, message }: Problem) => `${object} ${message}`.includes("intruder");
  const problems = await problemsWith(lab, mentions);
  const about = problems.filter(mentions).map(({ object, message, remedy }) => `${object} ${message} ${remedy}`);
  t.true(
    about.some((text) => text.includes("node-2") && text.includes(lab.node("node-2").podCidr4)),
    about.join("\n"),
  );
  await theRestWorks(t, lab);
  await rm(file);
  await nothingIsLeft(lab);
});

inLab("a pod address already in use is refused by ADD with the name of its holder", async (t, lab) => {
  const server = await podAddress(lab, "default/server");
  const node = lab.node("node-1");
  const netns = `tandem-${lab.name}-p-default-thief`;
  await mustRun(["ip", "netns", "add", netns]);
  t.teardown(() => run(["ip", "netns", "del", netns]));
  const config = { cniVersion: "1.1.0", name: "tandem", type: "tandem-cni", socket: node.socket };
  const { code, stdout } = await run(inside({ netns: node.netns, cgroup: systemCgroup(node) }, [cniBinary()]), {
    input: JSON.stringify({ ...config, stateDir: node.stateDir }),
    env: {
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: "thief",
      CNI_NETNS: netnsPath(netns),
      CNI_IFNAME: "eth0",
      CNI_PATH: "/",
      CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=thief;IP=${server}`,
    },
  });
  t.is(code, 1);
  const { msg, details } = JSON.parse(stdout) as { readonly msg: string; readonly details?: string };
  t.true(`${msg} ${details}`.includes(server), stdout);
  t.true(`${msg} ${details}`.includes("default/server"), stdout);
  await theRestWorks(t, lab);
});

inLab("two live pods of one address: the problem names both, the first keeps the address", async (t, lab) => {
  const server = await podAddress(lab, "default/server");
  const twin = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "twin", namespace: "default", labels: { app: "client" } },
    spec: { nodeName: "node-2", containers: [{ name: "main", image: "lab" }] },
    status: { phase: "Running", podIP: server, podIPs: [{ ip: server }] },
  };
  const file = join(lab.plan.manifests, "twin.json");
  await writeAtomically(file, JSON.stringify(twin));
  const mentions = ({ object, message }: Problem) => `${object} ${message}`.includes("default/twin");
  const problems = (await problemsWith(lab, mentions)).filter(mentions);
  t.true(
    problems.some(({ object, message }) => `${object} ${message}`.includes("default/server")),
    JSON.stringify(problems),
  );
  await theRestWorks(t, lab);
  await rm(file);
  await nothingIsLeft(lab);
});

test("a full map is reported with its name and setting; pods and policies that fit go on", (t) =>
  withLab(t, { objects: twoPods, agent: { mapSizes: { service4: 2 } } }, async (lab) => {
    const service = (n: number) => ({
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: `s${n}`, namespace: "default" },
      spec: { selector: { app: "server" }, ports: [{ port: 80, targetPort: 8080 }] },
    });
    await lab.applyObjects([1, 2, 3, 4].map(service));
    const problems = await problemsWith(lab, ({ message, object }) => `${object} ${message}`.includes("service4"));
    t.regex(problems[0]?.remedy ?? "", /mapSizes/);
    const { services } = await lab.status();
    const answered = await Promise.all(
      services.map(({ addresses }) =>
        answererOf(lab, "default/client", addresses.find((a) => a.includes(".")) ?? "", 80, 3),
      ),
    );
    t.is(answered.filter((name) => name === "default/server").length, 2, "as many as there is room for");
    await theRestWorks(t, lab);
    await lab.deleteObjects([1, 2].map(service));
    await lab.until("there is room again", async () => (await agentStatus(lab, "node-1")).problems.length === 0);
  }));
