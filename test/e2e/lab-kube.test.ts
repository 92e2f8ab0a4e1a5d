/**
 * The lab on an API server: its own controllers make pods of Deployments and slices of Services, the lab's scheduler and kubelets
 * run them, the agents follow it all by their source `kube`.
 */
import test from "ava";
import { remains } from "../../src/lab/teardown.ts";
import { Lab } from "../../src/lab/lab.ts";
import { labApiServer } from "../support/api-server-process.ts";
import { answererOf, fetchFrom, pod, withLab } from "../support/lab.ts";

const web = (version: string) => ({
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name: "web", namespace: "shop" },
  spec: {
    replicas: 2,
    selector: { matchLabels: { app: "web" } },
    template: {
      metadata: { labels: { app: "web" } },
      spec: {
        terminationGracePeriodSeconds: 2,
        containers: [
          {
            name: "web",
            image: `lab:${version}`,
            ports: [{ name: "http", containerPort: 8080 }],
            readinessProbe: { httpGet: { path: "/", port: "http" }, periodSeconds: 1 },
            livenessProbe: { tcpSocket: { port: "http" }, periodSeconds: 1 },
          },
        ],
      },
    },
  },
});

const service = {
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "web", namespace: "shop" },
  spec: { selector: { app: "web" }, ports: [{ port: 80, targetPort: "http" }] },
};

const onlyClient = {
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name: "only-client", namespace: "shop" },
  spec: {
    podSelector: { matchLabels: { app: "web" } },
    policyTypes: ["Ingress"],
    ingress: [{ from: [{ podSelector: { matchLabels: { app: "client" } } }] }],
  },
};

const client = (name: string) => ({ ...pod(name, { namespace: "shop", ports: [] }) });

async function webPods(lab: Lab) {
  const { pods } = await lab.status();
  return pods.filter(({ name }) => name.startsWith("web-"));
}

test("a deployment, a service and a policy on an API server; a pod that is deleted is replaced", async (t) => {
  const objects = [web("1"), service];
  await withLab(t, { nodes: 2, api: labApiServer, objects }, async (lab) => {
    // Later, so that the pods before them were the only ones to be spread.
    await lab.applyObjects([client("client"), client("other")]);
    const { nodes, services } = await lab.status();
    t.true(nodes.every(({ agent }) => agent.ready));
    const before = await webPods(lab);
    t.deepEqual(before.map(({ node }) => node).sort(), ["node-1", "node-2"]);
    const vip = services.find(({ name }) => name === "web")?.addresses[0] ?? "none";

    // Ready only by the probes of their kubelets, and only then backends of the service.
    const seen = new Set<string>();
    await lab.until(
      "both pods answer by the service",
      async () => {
        seen.add((await answererOf(lab, "shop/client", vip, 80)) ?? "none");
        return before.every(({ name }) => seen.has(`shop/${name}`));
      },
      90_000,
    );

    // Pods reach the API server itself as a service, too.
    const kubernetes = services.find(({ namespace }) => namespace === "default")?.addresses[0];
    await lab.until(
      "the service default/kubernetes answers",
      async () => {
        const asked = ["curl", "-sk", "-m", "5", `https://${kubernetes}/version`];
        return (await lab.exec("shop/client", asked)).stdout.includes('"major"');
      },
      90_000,
    );

    await lab.applyObjects([onlyClient]);
    const [first, second] = before.map(({ addresses }) => addresses[0] ?? "none");
    for (const address of [first ?? "none", second ?? "none"]) {
      await lab.until(
        "the policy holds",
        async () => (await fetchFrom(lab, "shop/other", address, 8080, 1)) === null,
        90_000,
      );
      t.regex((await fetchFrom(lab, "shop/client", address, 8080, 10)) ?? "none", /^shop\/web-/);
    }

    const [gone, stays] = before;
    await lab.deleteObjects([pod(gone?.name ?? "none", { namespace: "shop" })]);
    await lab.until(
      "another pod takes its place, and is ready although the policy allows no node by name",
      async () => {
        const now = await webPods(lab);
        return now.length === 2 && now.every(({ ready, name }) => ready && name !== gone?.name);
      },
      90_000,
    );
    const replaced = (await webPods(lab)).find(({ name }) => name !== stays?.name);
    t.truthy(replaced);
    await lab.until(
      "its successor answers by the service",
      async () => (await answererOf(lab, "shop/client", vip, 80)) === `shop/${replaced?.name}`,
      90_000,
    );
    t.is(await fetchFrom(lab, "shop/other", replaced?.addresses[0] ?? "none", 8080, 1), null);

    // Neither needs the API server or a kubelet to go on.
    await lab.stopKubelet("node-1", "SIGKILL");
    await lab.stopApiServer();
    t.regex((await fetchFrom(lab, "shop/client", vip, 80, 10)) ?? "none", /^shop\/web-/);
    await lab.startApiServer();
    await lab.startKubelet("node-1");
    t.deepEqual((await webPods(lab)).map(({ name }) => name).sort(), [stays?.name, replaced?.name].sort());

    await lab.deleteObjects([web("1")]);
    t.deepEqual(await webPods(lab), []);
    t.deepEqual((await lab.status()).pods.map(({ name }) => name).sort(), ["client", "other"]);

    await Lab.down(lab.name);
    t.deepEqual(await remains(lab.name), []);
  });
});
