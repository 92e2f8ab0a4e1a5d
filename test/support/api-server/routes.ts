/** Which object, collection or part of an object a path means. */
import type { SeenRequest } from "./faults.ts";
import type { Resource, Resources } from "./resources.ts";

export interface Target {
  readonly resource: Resource;
  /** null: a kind without namespaces, or all of them. */
  readonly namespace: string | null;
  /** "" is the collection. */
  readonly name: string;
  readonly subresource: string;
}

/** null for a path that leads to nothing. */
export function targetOf(resources: Resources, path: string): Target | null {
  const match = /^\/(?:api|apis\/([^/]+))\/([^/]+)\/(.+)$/.exec(path);
  if (match === null) return null;
  const [, group = "", version = "", rest = ""] = match;
  const parts = rest.split("/").map(decodeURIComponent);
  // "namespaces/x" and its status are the namespace itself; anything longer is within it.
  const within = parts[0] === "namespaces" && parts.length > 2 && parts[2] !== "status";
  const [plural = "", name = "", subresource = "", ...more] = within ? parts.slice(2) : parts;
  const resource = resources.find(group, version, plural);
  if (resource === null || more.length > 0 || (within && !resource.namespaced)) return null;
  if (subresource !== "" && !subresourcesOf(resource).includes(subresource)) return null;
  return { resource, namespace: within ? (parts[1] ?? "") : null, name, subresource };
}

export function subresourcesOf({ status, storage }: Resource): readonly string[] {
  return [...(status ? ["status"] : []), ...(storage === "pods" ? ["binding"] : [])];
}

const verbs: Readonly<Record<string, string>> = { POST: "create", PUT: "update", PATCH: "patch", DELETE: "delete" };

export function seenRequest(method: string, url: URL, target: Target | null, by: string): SeenRequest {
  const watching = ["1", "true"].includes(url.searchParams.get("watch") ?? "");
  const reading = target?.name === "" ? (watching ? "watch" : "list") : "get";
  return {
    by,
    verb: verbs[method] ?? reading,
    storage: target?.resource.storage ?? "",
    name: target?.name ?? "",
    path: url.pathname,
  };
}
