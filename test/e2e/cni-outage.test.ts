/**
 * A node whose agent is away, or has lost what it knew: kubelet's calls are replayed until all pods are as they should be, nothing of the
 * node's addresses leaks, and pods that Tandem does not hold any more are told of.
 */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import type { EndpointDto } from "../../src/api/dto.ts";
import { connectKube, type KubeClient, kinds } from "../../src/kube/index.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { labApiServer } from "../support/api-server-process.ts";
import { agentStatus, fetchFrom, pod, podAddress, withLab } from "../support/lab.ts";

/** ms: kubelets wait longer and longer between their tries. */
const longMs = 240_000;

function clientOf(t: ExecutionContext, lab: Lab): KubeClient {
  const kubeconfig = `${lab.plan.folder}/api/kubeconfig`;
  const client = connectKube({ kubeconfig, env: {}, clock: systemClock, userAgent: "tandem-test" });
  t.teardown(() => client.close());
  return client;
}

async function endpoints(lab: Lab): Promise<readonly EndpointDto[]> {
  const { stdout } = await lab.agent("node-1", ["endpoint", "list", "--json"]);
  return (JSON.parse(stdout) as readonly EndpointDto[]).filter(({ pod: name }) => !name.startsWith("node/"));
}

async function running(lab: Lab): Promise<readonly string[]> {
  const { pods } = await lab.status();
  return pods.flatMap(({ phase, namespace, name }) => (phase === "Running" ? `${namespace}/${name}` : [])).sort();
}

const web = (name: string) => pod(name, { node: "node-1" });
const named = (...names: readonly string[]) => names.map((name) => `default/${name}`);

test("pods come and go while the agent is away: afterwards all are as they should be, and no address is lost", async (t) => {
  const objects = [web("stays"), web("goes"), web("goes-too")];
  await withLab(t, { nodes: 1, api: labApiServer, objects }, async (lab) => {
    const { stateDir } = lab.node("node-1");
    const kept = async () => (await readdir(join(stateDir, "cni-deletes")).catch(() => [])).length;
    await lab.stopAgent("node-1", "SIGKILL");
    const gone = lab.deleteObjects([web("goes"), web("goes-too")]);
    // Not until they run: they cannot yet.
    const api = clientOf(t, lab);
    for (const name of ["new-1", "new-2", "new-3"]) {
      const { apiVersion: _version, kind: _kind, ...object } = web(name);
      await api.create(kinds.pods, object as never);
    }
    await gone;
    await lab.until("the deletions wait for the agent", async () => (await kept()) >= 2, longMs);
    await lab.until(
      "kubelet has tried to add the new ones",
      async () => {
        const pods = await api.listAll(kinds.pods);
        return (
          pods.filter(({ status }) => JSON.stringify(status ?? {}).includes("failed to create pod sandbox")).length ===
          3
        );
      },
      longMs,
    );
    t.deepEqual(await running(lab), named("stays"));

    await lab.startAgent("node-1");
    const wanted = named("new-1", "new-2", "new-3", "stays");
    await lab.until("all pods run", async () => (await running(lab)).join() === wanted.join(), longMs);
    const list = await endpoints(lab);
    t.deepEqual(list.map((each) => each.pod).sort(), wanted);
    t.true(
      list.every(({ state }) => state === "ready"),
      JSON.stringify(list),
    );
    t.is(await kept(), 0);
    for (const { family, used } of (await agentStatus(lab, "node-1")).addresses) t.is(used, 4, `IPv${family}`);
    for (const name of ["new-1", "new-2", "new-3"]) {
      const address = await podAddress(lab, `default/${name}`);
      t.regex((await fetchFrom(lab, "default/stays", address, 8080)) ?? "none", new RegExp(`^default/${name} `));
    }
  });
});

test("pods of an agent that lost its state are cut off and told of, and are Tandem's again when they are made anew", async (t) => {
  const limited = web("limited");
  const annotations = { "kubernetes.io/egress-bandwidth": "1M" };
  const objects = [web("web"), { ...limited, metadata: { ...limited.metadata, annotations } }];
  await withLab(t, { nodes: 1, api: labApiServer, objects }, async (lab) => {
    const api = clientOf(t, lab);
    const told = async () =>
      (await api.listAll(kinds.events)).map(({ reason, involvedObject }) => {
        const { namespace, name } = involvedObject as { readonly namespace: string; readonly name: string };
        return `${reason} ${namespace}/${name}`;
      });
    await lab.until(
      "the pod's owner is told that its annotation does nothing",
      async () => (await told()).includes("BandwidthIgnored default/limited"),
      longMs,
    );
    t.false((await told()).includes("BandwidthIgnored default/web"));

    await lab.stopAgent("node-1", "SIGKILL");
    await rm(join(lab.node("node-1").stateDir, "cni"), { recursive: true });
    await lab.startAgent("node-1");
    const states = async () => (await endpoints(lab)).map((each) => `${each.state} ${each.pod}`).sort();
    await lab.until(
      "both are unmanaged",
      async () => (await states()).join() === "unmanaged default/limited,unmanaged default/web",
      longMs,
    );
    const { problems, addresses } = await agentStatus(lab, "node-1");
    t.like(
      problems.find(({ code }) => code === "POD_UNMANAGED"),
      { severity: "warning", object: "Node node-1" },
    );
    for (const { family, used } of addresses) t.is(used, 0, `IPv${family}`);
    await lab.until(
      "it is told on both pods",
      async () => {
        const events = await told();
        return ["limited", "web"].every((name) => events.includes(`Unmanaged default/${name}`));
      },
      longMs,
    );
    t.is((await told()).filter((each) => each === "BandwidthIgnored default/limited").length, 1, "once for a pod");

    await lab.deleteObjects([web("web"), web("limited")]);
    await lab.applyObjects([web("web")]);
    await lab.until("it is Tandem's", async () => (await states()).join() === "ready default/web", longMs);
    await lab.until(
      "nothing is unmanaged any more",
      async () => (await agentStatus(lab, "node-1")).problems.every(({ code }) => code !== "POD_UNMANAGED"),
      longMs,
    );
  });
});
