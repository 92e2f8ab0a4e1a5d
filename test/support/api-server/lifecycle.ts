/** How objects begin and end: what the server itself writes into a new one, and what a deletion waits for. */
import { at, type Json, type JsonObject, listAt, objectAt, textAt, withAt } from "./json.ts";
import { definitionsStorage, type Resource } from "./resources.ts";

export function initial(resource: Resource, object: JsonObject): JsonObject {
  switch (resource.storage) {
    case "pods":
      return { ...object, status: { phase: "Pending" } };
    case "namespaces": {
      const labelled = withAt(
        object,
        ["metadata", "labels", "kubernetes.io/metadata.name"],
        textAt(object, "metadata", "name"),
      );
      return { ...labelled, status: { phase: "Active" } };
    }
    case definitionsStorage: {
      const names = objectAt(object, "spec", "names");
      const kind = textAt(names, "kind");
      const defaults = { singular: kind.toLowerCase(), listKind: `${kind}List` };
      return withAt(object, ["spec", "names"], { ...defaults, ...names });
    }
    default:
      return object;
  }
}

/** s. Only pods on a node that have not ended are given time. */
export function graceOf(resource: Resource, pod: JsonObject, options: Json, query: URLSearchParams): number {
  const ended = ["Succeeded", "Failed"].includes(textAt(pod, "status", "phase"));
  if (resource.kind !== "Pod" || textAt(pod, "spec", "nodeName") === "" || ended) return 0;
  const asked = query.get("gracePeriodSeconds") ?? at(options, "gracePeriodSeconds");
  return Number(asked ?? at(pod, "spec", "terminationGracePeriodSeconds") ?? 30);
}

/** What a deletion in this manner waits for besides: controllers take it away when it is done. */
export function finalizersOf(object: JsonObject, options: Json, query: URLSearchParams): readonly Json[] {
  const policy = query.get("propagationPolicy") ?? at(options, "propagationPolicy");
  const orphan = at(options, "orphanDependents") === true || policy === "Orphan";
  const asked = orphan ? "orphan" : policy === "Foreground" ? "foregroundDeletion" : null;
  const present = listAt(object, "metadata", "finalizers");
  return asked === null || present.includes(asked) ? present : [...present, asked];
}

/** Nobody waits for anything any more. */
export function isFinished(object: JsonObject): boolean {
  const waits = [...listAt(object, "metadata", "finalizers"), ...listAt(object, "spec", "finalizers")];
  return waits.length === 0 && Number(at(object, "metadata", "deletionGracePeriodSeconds") ?? 0) === 0;
}
