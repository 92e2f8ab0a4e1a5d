/** The overlays on a real API server: everything of them is taken, as `kubectl apply -k --dry-run=server` would find. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import type { KubeKind, KubeObject } from "../../src/kube/index.ts";
import { flatten, objectId } from "../support/kustomize.ts";
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

if (apiServerScript === "") {
  test.skip(`${title} (${withoutApiServer})`, () => undefined);
} else {
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
