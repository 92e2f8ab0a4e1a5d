/**
 * The manifests on an API server: all is taken, as `kubectl apply -k --dry-run=server` would find, and the rights of agent and operator are
 * enough and few.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { Agent, request } from "undici";
import { parse } from "yaml";
import type { KubeKind, KubeObject } from "../../src/kube/index.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { flatten, objectId, readObjects } from "../support/kustomize.ts";
import { withApiServer } from "../support/api-server-process.ts";

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

const rightsTitle = "agent and operator may what they do, and nothing more";

/** Verb, group, resource with subresource, and whether it may be done in some namespace; of Leases: in its own. */
type Right = readonly [verb: string, group: string, path: string, may: boolean, namespace?: string];

const leases = "coordination.k8s.io";

const rights: Readonly<Record<"agent" | "operator", readonly Right[]>> = {
  agent: [
    ["watch", "", "pods", true],
    ["get", "", "pods", false],
    ["get", "", "nodes", true],
    ["list", "discovery.k8s.io", "endpointslices", true],
    ["watch", "cilium.io", "ciliumclusterwidenetworkpolicies", true],
    ["patch", "cilium.io", "ciliumendpoints", true],
    ["delete", "cilium.io", "ciliumendpoints", true],
    ["create", "cilium.io", "ciliumidentities", true],
    ["patch", "cilium.io", "ciliumidentities", true],
    ["get", leases, "leases", true, "kube-system"],
    ["create", leases, "leases", true, "kube-system"],
    ["update", leases, "leases", true, "kube-system"],
    ["list", leases, "leases", false, "kube-system"],
    ["delete", leases, "leases", false, "kube-system"],
    ["update", leases, "leases", false, "kube-node-lease"],
    ["get", "", "secrets", false],
    ["list", "", "configmaps", false],
    ["create", "", "events", true],
    ["patch", "", "events", true],
    ["list", "", "events", false],
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
  ],
  operator: [
    ["watch", "", "pods", true],
    ["patch", "", "nodes", true],
    ["patch", "", "nodes/status", true],
    ["watch", "cilium.io", "ciliumnetworkpolicies", true],
    ["watch", "cilium.io", "ciliumclusterwidenetworkpolicies", true],
    ["patch", "cilium.io", "ciliumnetworkpolicies/status", true],
    ["patch", "cilium.io", "ciliumclusterwidenetworkpolicies/status", true],
    ["delete", "cilium.io", "ciliumidentities", true],
    ["create", leases, "leases", true, "kube-system"],
    ["watch", leases, "leases", true, "kube-system"],
    ["update", leases, "leases", false, "kube-system"],
    ["watch", leases, "leases", false, "kube-node-lease"],
    ["patch", "cilium.io", "ciliumnetworkpolicies", false],
    ["update", "cilium.io", "ciliumnetworkpolicies/status", false],
    ["delete", "cilium.io", "ciliumnetworkpolicies", false],
    ["update", "", "nodes", false],
    ["delete", "", "nodes", false],
    ["create", "", "nodes", false],
    ["patch", "", "pods", false],
    ["get", "", "secrets", false],
    ["list", "", "configmaps", false],
    ["watch", "networking.k8s.io", "networkpolicies", false],
  ],
};

type May = (who: string, verb: string, group: string, path: string, namespace?: string) => Promise<boolean>;

/** Asks the API server's authorizer. Such a question is no object and has no name, so it is not one for our client. */
function authorizer(kubeconfig: string): { readonly may: May; readonly dispatcher: Agent } {
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
  const may: May = async (who, verb, group, path, namespace = "shop") => {
    const [resource = "", subresource = ""] = path.split("/");
    const spec = {
      user: `system:serviceaccount:kube-system:tandem-${who}`,
      groups: ["system:serviceaccounts", "system:authenticated"],
      resourceAttributes: { namespace, verb, group, resource, subresource },
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
  return { may, dispatcher };
}

test(rightsTitle, async (t) => {
  t.timeout(900_000);
  await withApiServer(
    async (client, kubeconfig) => {
      for (const file of ["agent-rbac.yaml", "operator-rbac.yaml"]) {
        for (const object of readObjects(join(root, "base", file))) {
          await client.apply(kindOf(object), object, { fieldManager: "tandem-test" });
        }
      }
      const { may, dispatcher } = authorizer(kubeconfig);
      try {
        // The authorizer hears of a new role a moment later; of the last ones last.
        for (let tries = 0; !(await may("operator", "watch", leases, "leases", "kube-system")); tries++) {
          if (tries > 3_000) throw new Error("the roles are not in force");
          await systemClock.sleep(100);
        }
        for (const [who, all] of Object.entries(rights)) {
          for (const [verb, group, path, expected, namespace] of all) {
            t.is(await may(who, verb, group, path, namespace), expected, `${who}: ${verb} ${path} ${namespace ?? ""}`);
          }
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
  await withApiServer(
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
