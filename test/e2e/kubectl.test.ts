/**
 * The cluster as somebody sees it who has kubectl and nothing else: kinds, a pod, a policy that is right and one that is not, what the cluster
 * says of them, and everything gone again.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { stringify } from "yaml";
import { run } from "../../src/lab/run.ts";
import { labApiServer } from "../support/api-server-process.ts";
import { kubectlMissing } from "../support/kubectl.ts";
import { flatten } from "../support/kustomize.ts";
import { answererOf, pod, withLab } from "../support/lab.ts";
import { startOperator } from "../support/operator-scenario.ts";

const title = "kubectl shows policies, endpoints, identities and nodes as Cilium's users know them";
const manifests = new URL("../../manifests/", import.meta.url).pathname;
const parts = ["eks", "external-router", "ibgp-mesh", "route-reflectors"].map((name) => join("overlays", name));

const policy = (name: string, spec: unknown) => ({
  apiVersion: "cilium.io/v2",
  kind: "CiliumNetworkPolicy",
  metadata: { name, namespace: "default" },
  spec,
});

const objects = [
  pod("server", { node: "node-1" }),
  pod("client", { node: "node-2", ports: [] }),
  pod("other", { node: "node-2", ports: [] }),
  policy("only-client", {
    endpointSelector: { matchLabels: { app: "server" } },
    ingress: [{ fromEndpoints: [{ matchLabels: { app: "client" } }] }],
  }),
];

/** The API server takes it; only who reads it can tell that no host is in such a block. */
const wrong = policy("wrong", {
  endpointSelector: { matchLabels: { app: "server" } },
  ingress: [{ fromCIDR: ["10.0.0.0/99"] }],
});

const missing = kubectlMissing();
if (missing !== null) test.skip(`${title} (${missing})`, () => undefined);
else
  test(title, async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "tandem-kubectl-"));
    t.teardown(() => rm(folder, { recursive: true, force: true }));
    const teardowns: (() => unknown)[] = [];
    await withLab(t, { nodes: 2, api: labApiServer, agent: { identities: "cluster" } }, async (lab) => {
      const kubeconfig = `${lab.plan.folder}/api/kubeconfig`;
      const kubectl = async (...words: readonly string[]) => {
        const command = ["kubectl", "--kubeconfig", kubeconfig, "--cache-dir", join(folder, "cache"), ...words];
        const { code, stdout, stderr } = await run(command, { timeoutMs: 300_000 });
        t.is(code, 0, `${words.join(" ")}: ${stdout}${stderr}`);
        return stdout;
      };
      const file = async (name: string, documents: readonly unknown[]) => {
        const path = join(folder, name);
        await writeFile(path, documents.map((document) => stringify(document)).join("---\n"));
        return path;
      };
      const shows = (what: string, words: string, ...patterns: readonly RegExp[]) =>
        lab.until(
          what,
          async () => {
            const text = await kubectl(...words.split(" "));
            return patterns.every((pattern) => pattern.test(text));
          },
          120_000,
        );

      await kubectl("create", "-k", join(manifests, "crds"));
      for (const part of [...parts, "cleanup"]) {
        const kustomization = join(manifests, part);
        const taken = await kubectl("apply", "-k", kustomization, "--dry-run=server");
        const lines = taken.split("\n").filter((line) => line.endsWith("(server dry run)"));
        t.is(lines.length, flatten(kustomization).length, taken);
      }
      try {
        await startOperator({ kubeconfig, teardown: (work) => void teardowns.push(work) }, "operator");
        await kubectl("apply", "-f", await file("shop.yaml", objects));
        await kubectl("wait", "--for=condition=Ready", "pod/server", "pod/client", "pod/other", "--timeout=120s");
        await kubectl("wait", "--for=condition=Valid", "cnp/only-client", "--timeout=120s");
        await kubectl("wait", "--for=condition=Enforced", "cnp/only-client", "--timeout=120s");
        const server = (await kubectl("get", "pod", "server", "-o", "jsonpath={.status.podIP}")).trim();
        t.is(await answererOf(lab, "default/client", server, 8080), "default/server");
        t.is(await answererOf(lab, "default/other", server, 8080, 1), null);

        await shows("policies", "get cnp -o wide", /^NAME +AGE +VALID +ENFORCED/, /only-client +\S+ +True +True/);
        await shows("endpoints", "get cep", /^NAME +SECURITY IDENTITY +ENDPOINT STATE/, /server +[^\n]* ready /);
        await shows("identities", "get ciliumid", /^NAME +NAMESPACE/, /\n\d+ +default/);
        await shows(
          "nodes",
          "get ciliumnodes",
          /^NAME +CILIUMINTERNALIP +INTERNALIP/,
          /node-1 [^\n]*\n(?:.*\n)*node-2 /,
        );

        await kubectl("apply", "-f", await file("wrong.yaml", [wrong]));
        await kubectl("wait", "--for=condition=Valid=false", "cnp/wrong", "--timeout=120s");
        await shows("what is wrong with it", "describe cnp wrong", /ingress\[0\]\.fromCIDR\[0\]/, /10\.0\.0\.0\/99/);
        t.is(await answererOf(lab, "default/client", server, 8080), "default/server", "others are not weakened");

        await kubectl("delete", "-f", join(folder, "wrong.yaml"), "-f", join(folder, "shop.yaml"), "--timeout=120s");
        await shows("no endpoints", "get cep -o name", /^$/);
      } finally {
        for (const work of teardowns.reverse()) await work();
      }
    });
  });
