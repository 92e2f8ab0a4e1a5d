/** What the cluster says of policies and nodes: written by an operator, by what the agents of two nodes say of their kernels. */
import test from "ava";
import type { PolicyStatus } from "../../src/kube-objects/index.ts";
import { connectKube, kinds, type KubeObject, type Lease } from "../../src/kube/index.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { labApiServer } from "../support/api-server-process.ts";
import { pod, withLab } from "../support/lab.ts";
import { startOperator } from "../support/operator-scenario.ts";

const kind = kinds.ciliumNetworkPolicies;
const taintKey = "tandem.io/agent-not-ready";
/** ms; a lease runs out after 40 s, a node is tainted after a minute more. */
const limitMs = 300_000;

const policy = (name: string, ingress: readonly unknown[]): KubeObject => ({
  metadata: { name, namespace: "default" },
  spec: { endpointSelector: { matchLabels: { app: "server" } }, ingress },
});

/** The API server takes it; only who reads it can tell that no host is in such a block. */
const wrong = policy("wrong", [{ fromCIDR: ["10.0.0.0/99"] }]);

test("a policy says whether it is valid and how many nodes enforce it, a node whether its agent is ready", async (t) => {
  const teardowns: (() => unknown)[] = [];
  const objects = [pod("server", { node: "node-1" })];
  await withLab(t, { nodes: 2, api: labApiServer, objects }, async (lab) => {
    const kubeconfig = `${lab.plan.folder}/api/kubeconfig`;
    const client = connectKube({ kubeconfig, env: {}, clock: systemClock, userAgent: "tandem-test" });
    try {
      await startOperator({ kubeconfig, teardown: (work) => void teardowns.push(work) }, "operator");
      const statusOf = async (name: string) => {
        const found = await client.get(kind, { namespace: "default", name });
        return (found.status ?? {}) as PolicyStatus;
      };
      /** As the columns of kubectl show it. */
      const says = async (name: string, type: string) => {
        const { conditions = [] } = await statusOf(name);
        const { status, message } = conditions.find((condition) => condition.type === type) ?? {};
        return `${status}: ${message}`;
      };
      await lab.until(
        "policies are taken",
        async () => {
          const made = await client.create(kind, policy("web", [{}])).catch(() => null);
          return made !== null;
        },
        limitMs,
      );
      await client.create(kind, wrong);
      const enforced = (text: string) =>
        lab.until(`enforced: ${text}`, async () => (await says("web", "Enforced")) === text, limitMs);
      await enforced("True: 2 of 2 nodes");
      t.is(await says("web", "Valid"), "True: it was understood");
      t.deepEqual((await statusOf("web")).enforcement, { wanted: 2, enforcing: 2, failing: 0 });

      await lab.until(
        "what is wrong is said, and that both nodes found so",
        async () => (await statusOf("wrong")).enforcement?.failing === 2,
        limitMs,
      );
      t.regex(await says("wrong", "Valid"), /^False: spec\.ingress\[0\]\.fromCIDR\[0\]: .*10\.0\.0\.0\/99.*; /);
      t.regex(await says("wrong", "Enforced"), /^False: it is not valid/);

      // The time that a restart takes is no time to write anything.
      const version = async () => (await client.get(kind, { namespace: "default", name: "web" })).metadata;
      const { resourceVersion } = await version();
      await lab.stopAgent("node-2");
      await lab.startAgent("node-2");
      await lab.until(
        "the agent of node-2 has its lease again, and is ready",
        async () => {
          const path = { namespace: "kube-system", name: "tandem-agent-node-2" };
          const { metadata, spec } = (await client.get(kinds.leases, path)) as Lease;
          const ready = metadata.annotations?.["tandem.io/agent"]?.includes('"ready":true') ?? false;
          return ready && spec?.holderIdentity !== "";
        },
        limitMs,
      );
      t.is((await version()).resourceVersion, resourceVersion);

      const node = async () => {
        const { spec, status } = await client.get(kinds.nodes, { name: "node-2" });
        const { taints = [] } = spec as { readonly taints?: readonly { readonly key: string }[] };
        const { conditions = [] } = status as { readonly conditions?: readonly Readonly<Record<string, string>>[] };
        const network = conditions.find(({ type }) => type === "NetworkUnavailable");
        return { tainted: taints.some(({ key }) => key === taintKey), network: network?.status };
      };
      await lab.until("the network of node-2 is available", async () => (await node()).network === "False", limitMs);
      await lab.stopAgent("node-2");
      await enforced("True: 1 of 1 nodes");
      await lab.until("node-2 is tainted", async () => (await node()).tainted, limitMs);
      await lab.startAgent("node-2");
      await lab.until("node-2 is not tainted any more", async () => !(await node()).tainted, limitMs);
    } finally {
      for (const work of teardowns.reverse()) await work();
      await client.close();
    }
  });
});
