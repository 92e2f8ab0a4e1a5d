/**
 * The cluster's own objects on an API server: agents number labels by CiliumIdentities, publish their pods as CiliumEndpoints, and obey
 * CiliumNetworkPolicies.
 */
import test from "ava";
import { connectKube, kinds } from "../../src/kube/index.ts";
import { customKinds, customResourceDefinition } from "../../src/kube-objects/index.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { labApiServer } from "../support/api-server-process.ts";
import { fetchFrom, pod, podAddress, withLab } from "../support/lab.ts";

const onlyClient = {
  apiVersion: "cilium.io/v2",
  kind: "CiliumNetworkPolicy",
  metadata: { name: "only-client", namespace: "default" },
  spec: {
    endpointSelector: { matchLabels: { app: "server" } },
    ingress: [{ fromEndpoints: [{ matchLabels: { app: "client" } }] }],
  },
};

test("identities and endpoints are objects of the cluster, and policies of cilium.io hold", async (t) => {
  const objects = [
    ...customKinds.map(customResourceDefinition),
    pod("server", { node: "node-1" }),
    pod("client", { node: "node-2", ports: [] }),
    pod("other", { node: "node-2", ports: [] }),
    onlyClient,
  ];
  await withLab(t, { nodes: 2, api: labApiServer, objects, agent: { identities: "cluster" } }, async (lab) => {
    const client = connectKube({
      kubeconfig: `${lab.plan.folder}/api/kubeconfig`,
      env: {},
      clock: systemClock,
      userAgent: "tandem-test",
    });
    t.teardown(() => client.close());
    const labelsOf = async () => {
      const identities = await client.listAll(kinds.ciliumIdentities);
      return new Map(identities.map(({ metadata, "security-labels": labels }) => [metadata.name, labels]));
    };
    await lab.until(
      "each pod has an endpoint with an identity that is an object",
      async () => {
        const endpoints = await client.listAll(kinds.ciliumEndpoints);
        const known = await labelsOf();
        const named = endpoints.flatMap(({ metadata, status }) => {
          const { identity, state } = status as { identity: { id: number }; state: string };
          const labels = known.get(String(identity.id)) as Readonly<Record<string, string>> | undefined;
          return state === "ready" && labels?.["k8s:app"] === metadata.name ? [metadata.name] : [];
        });
        return named.sort().join() === "client,other,server";
      },
      90_000,
    );
    const address = await podAddress(lab, "default/server");
    await lab.until(
      "the policy holds",
      async () => (await fetchFrom(lab, "default/other", address, 8080, 1)) === null,
      90_000,
    );
    t.regex((await fetchFrom(lab, "default/client", address, 8080, 20)) ?? "none", /^default\/server /);
    // Both nodes speak of the same numbers.
    const numbers = new Set([...(await labelsOf()).keys()]);
    for (const node of ["node-1", "node-2"]) {
      const { stdout } = await lab.agent(node, ["identity", "list", "--json"]);
      const own = (JSON.parse(stdout) as readonly { readonly id: number; readonly reserved: boolean }[])
        .filter(({ reserved }) => !reserved)
        .map(({ id }) => String(id));
      t.true(own.length >= 3);
      for (const id of own) t.true(numbers.has(id), `${node} ${id}`);
    }
  });
});
