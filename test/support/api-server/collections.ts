/** DELETE of a collection: each object that the selectors match, as if it were deleted by its name. */
import { ApiFailure } from "./failure.ts";
import { type Json, type JsonObject, textAt } from "./json.ts";
import { list } from "./list.ts";
import type { Objects, WriteCall, Written } from "./objects.ts";
import type { Store } from "./store.ts";

/** @returns the list of what was there @throws ApiFailure */
export function deleteCollection(store: Store, objects: Objects, call: WriteCall, options: Json): Written {
  const { resource, namespace, query } = call;
  const body = list(store, resource, namespace, query);
  for (const item of body.items as readonly JsonObject[]) {
    try {
      const name = textAt(item, "metadata", "name");
      const within = resource.namespaced ? textAt(item, "metadata", "namespace") : null;
      objects.delete({ ...call, name, namespace: within }, options);
    } catch (error) {
      // One that went with another of them.
      if (!(error instanceof ApiFailure && error.code === 404)) throw error;
    }
  }
  return { code: 200, body };
}
