/** The objects of a server as its controllers read and write them: in its own process, by the same checks as a client's requests. */
import { ApiFailure } from "../failure.ts";
import { type Json, type JsonObject, objectAt, textAt, withAt } from "../json.ts";
import { keyOf, type Objects, type WriteCall } from "../objects.ts";
import type { Resources } from "../resources.ts";
import type { Store } from "../store.ts";

export interface ClusterParts {
  readonly store: Store;
  readonly objects: Objects;
  readonly resources: Resources;
}

/** What happened in the meantime: the controller is called again because of it. */
const overtaken = [404, 409];

export class Cluster {
  readonly #parts: ClusterParts;
  readonly #agent: string;

  constructor(parts: ClusterParts, agent: string) {
    this.#parts = parts;
    this.#agent = agent;
  }

  all(storage: string): readonly JsonObject[] {
    return [...this.#parts.store.objects(storage).values()];
  }

  get(storage: string, namespace: string | null, name: string): JsonObject | null {
    return this.#parts.store.get(storage, keyOf(namespace, name));
  }

  /** Kinds that are served, custom ones too. */
  storages(): readonly { readonly storage: string; readonly namespaced: boolean }[] {
    return this.#parts.resources.all();
  }

  /** @returns null if there is one of this name, or its namespace is going @throws ApiFailure for what is refused otherwise */
  create(storage: string, object: JsonObject): JsonObject | null {
    const call = this.#call(storage, object);
    if (call === null) return null;
    return this.#unlessOvertaken(
      () => this.#parts.objects.create({ ...call, name: "" }, object).body,
      [...overtaken, 403],
    );
  }

  update(storage: string, object: JsonObject): JsonObject | null {
    const call = this.#call(storage, object);
    return call === null ? null : this.#unlessOvertaken(() => this.#parts.objects.update(call, object).body);
  }

  updateStatus(storage: string, object: JsonObject, status: JsonObject): void {
    const call = this.#call(storage, object);
    if (call === null) return;
    const next = withAt(object, ["status"], status);
    this.#unlessOvertaken(() => this.#parts.objects.update({ ...call, subresource: "status" }, next).body);
  }

  /** @param options of the deletion (meta/v1 DeleteOptions) */
  delete(storage: string, object: JsonObject, options: Json = {}): void {
    const call = this.#call(storage, object);
    const uid = textAt(object, "metadata", "uid");
    if (call === null) return;
    this.#unlessOvertaken(
      () => this.#parts.objects.delete(call, { ...objectAt({ options }, "options"), preconditions: { uid } }).body,
    );
  }

  /** Takes away what nothing waits for any more, without asking. */
  remove(storage: string, object: JsonObject): void {
    const within = textAt(object, "metadata", "namespace");
    this.#parts.store.remove(storage, keyOf(within === "" ? null : within, textAt(object, "metadata", "name")));
  }

  /** null while the kind is not served. */
  #call(storage: string, { metadata = {} }: JsonObject): WriteCall | null {
    const resource = this.#parts.resources.all().find((each) => each.storage === storage);
    if (resource === undefined) return null;
    const namespace = resource.namespaced ? textAt(metadata, "namespace") : null;
    const query = new URLSearchParams();
    return { resource, namespace, name: textAt(metadata, "name"), subresource: "", query, agent: this.#agent };
  }

  #unlessOvertaken(write: () => JsonObject, codes: readonly number[] = overtaken): JsonObject | null {
    try {
      return write();
    } catch (error) {
      if (error instanceof ApiFailure && codes.includes(error.code)) return null;
      throw error;
    }
  }
}
