/** The manifests on a real API server: all is taken, as `kubectl apply -k --dry-run=server` would find, and the agent's rights are enough and few. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { Agent, request } from "undici";
import { parse } from "yaml";
import type { KubeKind, KubeObject } from "../../src/kube/index.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { flatten, objectId, readObjects } from "../support/kustomize.ts";
import { apiServerScript, withoutApiServer, withRealApiServer } from "../support/real-api-server.ts";

const root = join(import.meta.dirname, "../../manifests");
const folders = ["crds", ...readdirSync(join(root, "overlays")).map((name) => join("overlays", name))];
const title = "an API server takes every object of every overlay, and every definition";

function kindOf({ apiVersion = "", kind = "", metadata }: KubeObject): KubeKind {
  const slash = apiVersion.indexOf("/");
  return {
    group: slash < 0 ? "" : apiVersion.slice(0, slash),
    version: apiVersion.slice(slash + 1),
    plural: `${kind.toLowerCase()}s`,
    kind,
    namespaced: metadata.namespace !== undefined,
  };
}

const rightsTitle = "the agent may what it does, and nothing more";

/** Verb, group, resource with subresource, and whether the agent may do that in some namespace. */
const rights: readonly (readonly [string, string, string, boolean])[] = [
  ["watch", "", "pods", true],
  ["list", "discovery.k8s.io", "endpointslices", true],
  ["watch", "cilium.io", "ciliumclusterwidenetworkpolicies", true],
  ["patch", "cilium.io", "ciliumendpoints", true],
  ["delete", "cilium.io", "ciliumendpoints", true],
  ["create", "cilium.io", "ciliumidentities", true],
  ["patch", "cilium.io", "ciliumidentities", true],
  ["get", "", "secrets", false],
  ["list", "", "configmaps", false],
  ["create", "", "events", false],
  ["patch", "", "nodes/status", false],
  ["patch", "cilium.io", "ciliumnetworkpolicies/status", false],
  ["patch", "cilium.io", "ciliumnodes", false],
  ["create", "", "pods", false],
  ["delete", "", "pods", false],
  ["patch", "", "nodes", false],
  ["update", "cilium.io", "ciliumnetworkpolicies", false],
  ["delete", "cilium.io", "ciliumnetworkpolicies", false],
  ["delete", "cilium.io", "ciliumidentities", false],
  ["update", "apiextensions.k8s.io", "customresourcedefinitions", false],
  ["create", "rbac.authorization.k8s.io", "clusterrolebindings", false],
];

type MayAgent = (verb: string, group: string, path: string) => Promise<boolean>;

/** Asks the API server's authorizer. Such a question is no object and has no name, so it is not one for our client. */
function authorizer(kubeconfig: string): { readonly mayAgent: MayAgent; readonly dispatcher: Agent } {
  const { clusters, users } = parse(readFileSync(kubeconfig, "utf8")) as {
    readonly clusters: readonly { readonly cluster: Readonly<Record<string, string>> }[];
    readonly users: readonly { readonly user: Readonly<Record<string, string>> }[];
  };
  const decoded = (text: string | undefined) => Buffer.from(text ?? "", "base64");
  const [server, user] = [clusters[0]?.cluster ?? {}, users[0]?.user ?? {}];
  const dispatcher = new Agent({
    connect: {
      ca: decoded(server["certificate-authority-data"]),
      cert: decoded(user["client-certificate-data"]),
      key: decoded(user["client-key-data"]),
    },
  });
  const mayAgent: MayAgent = async (verb, group, path) => {
    const [resource = "", subresource = ""] = path.split("/");
    const spec = {
      user: "system:serviceaccount:kube-system:tandem-agent",
      groups: ["system:serviceaccounts", "system:authenticated"],
      resourceAttributes: { namespace: "shop", verb, group, resource, subresource },
    };
    const { statusCode, body } = await request(`${server.server}/apis/authorization.k8s.io/v1/subjectaccessreviews`, {
      method: "POST",
      dispatcher,
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ apiVersion: "authorization.k8s.io/v1", kind: "SubjectAccessReview", spec }),
    });
    const answer = (await body.json()) as { readonly status?: { readonly allowed?: boolean } };
    if (statusCode !== 201) throw new Error(`${statusCode}: ${JSON.stringify(answer)}`);
    return answer.status?.allowed === true;
  };
  return { mayAgent, dispatcher };
}

if (apiServerScript === "") {
  for (const each of [title, rightsTitle]) test.skip(`${each} (${withoutApiServer})`, () => undefined);
} else {
  test(rightsTitle, async (t) => {
    t.timeout(900_000);
    await withRealApiServer(
      async (client, kubeconfig) => {
        for (const object of readObjects(join(root, "base/agent-rbac.yaml"))) {
          await client.apply(kindOf(object), object, { fieldManager: "tandem-test" });
        }
        const { mayAgent, dispatcher } = authorizer(kubeconfig);
        try {
          // The authorizer hears of a new role a moment later.
          for (let tries = 0; !(await mayAgent("watch", "", "pods")); tries++) {
            if (tries > 3_000) throw new Error("the role is not in force");
            await systemClock.sleep(100);
          }
          for (const [verb, group, resource, may] of rights) {
            t.is(await mayAgent(verb, group, resource), may, `${verb} ${resource}`);
          }
        } finally {
          await dispatcher.close();
        }
      },
      { KCM: "0", AUTHZ: "RBAC" },
    );
  });

  test(title, async (t) => {
    t.timeout(900_000);
    await withRealApiServer(
      async (client) => {
        for (const name of folders) {
          const objects = flatten(join(root, name));
          for (const object of objects) {
            const options = { fieldManager: "tandem-test", dryRun: true };
            await t.notThrowsAsync(client.apply(kindOf(object), object, options), `${name}: ${objectId(object)}`);
          }
          t.log(`${name}: ${objects.length} objects`);
        }
      },
      { KCM: "0" },
    );
  });
}
