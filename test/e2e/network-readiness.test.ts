/** A node that boots gets no pods until kube-router has brought it into the network, or the time for that is over; afterwards nothing closes it again. */
import { rm } from "node:fs/promises";
import test from "ava";
import { bootFile } from "../../src/api/boot-file.ts";
import type { StatusDto } from "../../src/api/dto.ts";
import { connectKube, kinds } from "../../src/kube/index.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { mustRun } from "../../src/lab/run.ts";
import { labApiServer } from "../support/api-server-process.ts";
import { fetchFrom, pod, podAddress, withLab } from "../support/lab.ts";
import { startOperator } from "../support/operator-scenario.ts";

const taintKey = "tandem.io/agent-not-ready";
const limitMs = 300_000;

/** A pod for node-1, by the scheduler. */
function forNode1(name: string) {
  const { spec, ...rest } = pod(name);
  return { ...rest, spec: { ...(spec as object), nodeSelector: { "kubernetes.io/hostname": "node-1" } } };
}

test("pods come to a node that has booted when its routes are there, or after the time limit, and a restart changes nothing", async (t) => {
  const teardowns: (() => unknown)[] = [];
  const objects = [pod("server", { node: "node-2" })];
  await withLab(t, { nodes: 2, api: labApiServer, agent: { networkTimeout: 1_200 }, objects }, async (lab) => {
    const kubeconfig = `${lab.plan.folder}/api/kubeconfig`;
    const client = connectKube({ kubeconfig, env: {}, clock: systemClock, userAgent: "tandem-test" });
    const one = lab.node("node-1");
    try {
      await startOperator({ kubeconfig, teardown: (work) => void teardowns.push(work) }, "operator");
      const node = async () => {
        const { spec, status } = await client.get(kinds.nodes, { name: "node-1" });
        const { taints = [] } = spec as { readonly taints?: readonly { readonly key: string }[] };
        const { conditions = [] } = status as { readonly conditions?: readonly Readonly<Record<string, string>>[] };
        const { status: unavailable, message } = conditions.find(({ type }) => type === "NetworkUnavailable") ?? {};
        return { tainted: taints.some(({ key }) => key === taintKey), unavailable, message };
      };
      const status = async () => (await lab.agentStatus("node-1")) as StatusDto;
      const phase = async (name: string) => {
        const { status: found } = await client.get(kinds.pods, { namespace: "default", name });
        return (found as { readonly phase?: string } | undefined)?.phase;
      };
      const isOpen = async () => {
        const { tainted, unavailable } = await node();
        return !tainted && unavailable === "False";
      };
      /** As the machine would come back: nothing holds of what held before, and kube-router has not started. */
      const boot = async (networkTimeout: number) => {
        await lab.stopAgent("node-1");
        await lab.stopBgp("node-1");
        for (const family of ["-4", "-6"])
          await mustRun(["ip", "-n", one.netns, family, "route", "flush", "table", "main", "proto", "17"]);
        await rm(bootFile(one.socket));
        await lab.startAgent("node-1", { networkTimeout });
      };
      await lab.until("node-1 is open at first", isOpen, limitMs);

      await boot(1_200);
      await lab.until(
        "node-1 waits",
        async () => (await node()).unavailable === "True" && (await node()).tainted,
        limitMs,
      );
      t.regex((await node()).message ?? "", /kube-router's BGP daemon does not answer/);
      // The agent itself is ready: pods that tolerate the taint are wired, and kube-router need not wait.
      t.like(await status(), { ready: true, network: { state: "waiting" } });
      const { code } = await lab.agent("node-1", ["wait", "datapath", "--timeout", "0"]);
      t.is(code, 0);
      t.is((await lab.agent("node-1", ["wait", "network", "--timeout", "0"])).code, 1);
      await lab.until("that is told", async () =>
        (await status()).problems.some((each) => each.code === "NETWORK_WAITING"),
      );
      // Resolves when the pod runs.
      const applied = lab.applyObjects([forNode1("late")]);
      applied.catch(() => undefined);
      await lab.until("the pod may go nowhere", async () => {
        const found = await client.get(kinds.pods, { namespace: "default", name: "late" }).catch(() => null);
        // Of ours, or of the node lifecycle controller, where there is one, by the condition.
        return /node-1 had taint/.test(JSON.stringify(found?.status ?? {}));
      });
      t.is(await phase("late"), "Pending");

      await lab.startBgp("node-1");
      await lab.until("node-1 is open again", isOpen, limitMs);
      t.is((await lab.agent("node-1", ["wait", "network", "--timeout", "0"])).code, 0);
      await applied;
      t.is(await phase("late"), "Running");
      t.not(await fetchFrom(lab, "default/late", await podAddress(lab, "default/server"), 8080), null);

      // kube-router goes, and then the agent is replaced: neither is a reason to close the node.
      await lab.stopBgp("node-1");
      await lab.stopAgent("node-1");
      await lab.startAgent("node-1", { networkTimeout: 1_200 });
      await lab.until("the agent is ready", async () => (await status()).ready, limitMs);
      t.like((await status()).network, { state: "ready", secondsLeft: null });
      // Longer than the operator takes to write what a Lease says.
      await systemClock.sleep(8_000);
      t.true(await isOpen());

      // Nobody brings BGP up: pods come all the same.
      await boot(25);
      await lab.until("node-1 waits", async () => (await node()).unavailable === "True", limitMs);
      await lab.until("node-1 waits no longer", isOpen, limitMs);
      t.regex((await node()).message ?? "", /did not wait longer .*BGP daemon does not answer/);
      t.is((await status()).network.state, "degraded");
      t.true((await status()).problems.some(({ code: each }) => each === "NETWORK_INCOMPLETE"));
      // And of what else the two nodes find wrong with the network: each says it of itself.
      await lab.until("the Nodes have Events of it", async () => {
        const events = (await client.listAll(kinds.events)).map(({ reason, involvedObject }) => {
          const { kind, name } = involvedObject as { readonly kind: string; readonly name: string };
          return `${reason} ${kind} ${name}`;
        });
        return ["NetworkIncomplete Node node-1", "RouteMissing Node node-1", "BgpPeerDown Node node-2"].every((each) =>
          events.includes(each),
        );
      });
      await lab.startBgp("node-1");
      await lab.until("it is whole", async () => (await status()).network.state === "ready", limitMs);
      t.false((await status()).problems.some(({ code: each }) => each.startsWith("NETWORK_")));
    } finally {
      for (const work of teardowns.reverse()) await work();
      await client.close();
    }
  });
});
