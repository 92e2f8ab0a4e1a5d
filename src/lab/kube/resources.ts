/** How an API server calls the kinds of manifests: asked from itself, so that any kind can be applied that it serves. */
import type { KubeClient, KubeKind } from "../../kube/index.ts";
import { isRecord, isStatus } from "../../kube/index.ts";
import { LabError } from "../errors.ts";
import { type KubeObject, objectTitle } from "../objects.ts";

export class Resources {
  readonly #client: Pick<KubeClient, "read">;
  readonly #groups = new Map<string, ReadonlyMap<string, KubeKind>>();

  constructor(client: Pick<KubeClient, "read">) {
    this.#client = client;
  }

  /** @throws LabError LAB_KIND when it serves no such kind */
  async kindOf(object: KubeObject): Promise<KubeKind> {
    const { apiVersion, kind } = object;
    // A group that lacks the kind may have got it since.
    const found = this.#groups.get(apiVersion)?.get(kind) ?? (await this.#read(apiVersion)).get(kind);
    if (found !== undefined) return found;
    const remedy = "apply its CustomResourceDefinition first, or another version of the manifest";
    throw new LabError("LAB_KIND", objectTitle(object), `the API server has no ${kind} of ${apiVersion}`, remedy);
  }

  async #read(apiVersion: string): Promise<ReadonlyMap<string, KubeKind>> {
    const path = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
    const answer = await this.#client.read(path).catch((error: unknown) => {
      if (isStatus(error, 404)) return null;
      throw error;
    });
    const slash = apiVersion.indexOf("/");
    const place = { group: slash < 0 ? "" : apiVersion.slice(0, slash), version: apiVersion.slice(slash + 1) };
    const list: readonly unknown[] = isRecord(answer) && Array.isArray(answer.resources) ? answer.resources : [];
    const kinds = new Map<string, KubeKind>();
    for (const entry of list) {
      if (!isRecord(entry)) continue;
      const { name, kind, namespaced } = entry;
      // "pods/status" is a part of one.
      if (typeof name !== "string" || typeof kind !== "string" || name.includes("/")) continue;
      kinds.set(kind, { ...place, plural: name, kind, namespaced: namespaced === true });
    }
    this.#groups.set(apiVersion, kinds);
    return kinds;
  }
}
