/** Writing objects: create, update, patch, delete, with the checks and the bookkeeping of metadata that clients rely on. */
import { randomBytes, randomUUID } from "node:crypto";
import { parse } from "yaml";
import type { Clock } from "../../../src/lib/clock.ts";
import { apply } from "./apply.ts";
import {
  ApiFailure,
  alreadyExists,
  alsoInvalid,
  badRequest,
  conflict,
  invalid,
  invalidOptions,
  invalidValue,
  modified,
  notFound,
  requiredValue,
  unsupportedMediaType,
} from "./failure.ts";
import {
  at,
  equal,
  isList,
  isObject,
  type Json,
  type JsonObject,
  listAt,
  objectAt,
  omit,
  textAt,
  withAt,
  withFieldOf,
} from "./json.ts";
import { finalizersOf, graceOf, initial, isFinished } from "./lifecycle.ts";
import { served } from "./list.ts";
import { ownedByUpdate, type Writer } from "./managed-fields.ts";
import { jsonPatch, mergePatch, strategicPatch } from "./patch.ts";
import { apiVersionOf, definitionsStorage, type Resource } from "./resources.ts";
import { noRules, type Rules } from "./rules.ts";
import { conform } from "./schema.ts";
import { shapeOf } from "./shape.ts";
import type { Store } from "./store.ts";

/** Which object, and how it is written. */
export interface WriteCall {
  readonly resource: Resource;
  readonly namespace: string | null;
  /** "" for a create. */
  readonly name: string;
  /** "" or "status". */
  readonly subresource: string;
  readonly query: URLSearchParams;
  /** User-Agent up to its first slash. */
  readonly agent: string;
}

export interface Written {
  readonly code: number;
  readonly body: JsonObject;
}

const patchTypes = ["application/json-patch+json", "application/merge-patch+json"];
const strategicType = "application/strategic-merge-patch+json";
const applyType = "application/apply-patch+yaml";
const objectName = /^[a-z0-9]([-a-z0-9.:]*[a-z0-9])?$/;

export class Objects {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #rules: Rules;

  constructor(store: Store, clock: Clock, rules: Rules = noRules) {
    this.#store = store;
    this.#clock = clock;
    this.#rules = rules;
  }

  /** @throws ApiFailure 400, 404, 409, 422 */
  create(call: WriteCall, body: Json): Written {
    const { resource, namespace } = call;
    const given = this.#body(call, body);
    const prefix = textAt(given, "metadata", "generateName");
    const name =
      textAt(given, "metadata", "name") ||
      (prefix === "" ? "" : `${prefix}${randomBytes(5).toString("hex").slice(0, 5)}`);
    if (name === "") throw invalid(resource, "", [requiredValue("metadata.name", "name or generateName is required")]);
    const namespaces = { ...resource, group: "", plural: "namespaces" };
    if (namespace !== null && this.#store.get("namespaces", namespace) === null) throw notFound(namespaces, namespace);
    const metadata = {
      ...omit(objectAt(given, "metadata"), "resourceVersion", "managedFields", "deletionTimestamp"),
      name,
      ...(namespace === null ? {} : { namespace }),
      uid: randomUUID(),
      creationTimestamp: this.#time(),
      ...(resource.generation ? { generation: 1 } : {}),
    };
    // Nodes register with their status; of all others it is the controllers' to write.
    const keepsStatus = !resource.status || resource.kind === "Node";
    const object = initial(resource, { ...(keepsStatus ? given : omit(given, "status")), metadata });
    const nameCauses = objectName.test(name)
      ? []
      : [invalidValue("metadata.name", JSON.stringify(name), "a lowercase RFC 1123 subdomain")];
    const complete = alsoInvalid(resource, name, nameCauses, () => this.#complete(call, null, object, name));
    const hasVersion = textAt(given, "metadata", "resourceVersion") !== "" && call.name === "";
    if (hasVersion && call.query.get("dryRun") !== "All")
      throw new ApiFailure(500, "", "resourceVersion should not be set on objects to be created");
    if (this.#store.get(resource.storage, keyOf(namespace, name)) !== null) throw alreadyExists(resource, name);
    return { code: 201, body: this.#save(call, null, complete, name, false) };
  }

  /** @throws ApiFailure */
  update(call: WriteCall, body: Json): Written {
    const { resource, namespace, name } = call;
    const given = this.#body(call, body);
    const old = this.#store.get(resource.storage, keyOf(namespace, name));
    if (old === null && resource.createOnUpdate && call.subresource === "") return this.create(call, body);
    if (old === null) throw notFound(resource, name);
    if (textAt(given, "metadata", "resourceVersion") === "" && !resource.unconditionalUpdate) {
      // The real one says the resource in the place of the kind.
      const said = { ...resource, kind: resource.plural };
      throw invalid(said, name, [invalidValue("metadata.resourceVersion", "0x0", "must be specified for an update")]);
    }
    return { code: 200, body: this.#replace(call, old, given, false) };
  }

  /** @throws ApiFailure */
  patch(call: WriteCall, type: string, text: string): Written {
    const { resource, namespace, name } = call;
    const old = this.#store.get(resource.storage, keyOf(namespace, name));
    if (type === applyType) return this.#apply(call, old, readBody(text));
    const accepted = resource.custom === null ? [...patchTypes, strategicType, applyType] : [...patchTypes, applyType];
    if (!accepted.includes(type)) throw unsupportedMediaType(accepted);
    if (old === null) throw notFound(resource, name);
    const body = readBody(text);
    const patched =
      type === "application/json-patch+json"
        ? jsonPatch(old, body)
        : type === strategicType
          ? strategicPatch(shapeOf(resource), old, body)
          : mergePatch(old, body);
    return { code: 200, body: this.#replace(call, old, this.#body(call, patched), false) };
  }

  /** @throws ApiFailure 404, 409 */
  delete({ resource, namespace, name, query }: WriteCall, options: Json): Written {
    const key = keyOf(namespace, name);
    const old = this.#store.get(resource.storage, key);
    if (old === null) throw notFound(resource, name);
    for (const field of ["uid", "resourceVersion"]) {
      const wanted = at(options, "preconditions", field);
      const found = textAt(old, "metadata", field);
      if (wanted !== undefined && wanted !== found) {
        const said = { ...resource, plural: resource.kind };
        const what = field === "uid" ? "UID" : "ResourceVersion";
        throw conflict(said, name, `the ${what} in the precondition (${String(wanted)}) does not match (${found})`);
      }
    }
    const grace = graceOf(resource, old, options, query);
    const finalizers = this.#rules.collectsGarbage
      ? finalizersOf(old, options, query)
      : listAt(old, "metadata", "finalizers");
    if (grace === 0 && finalizers.length === 0 && listAt(old, "spec", "finalizers").length === 0) {
      if (query.get("dryRun") === "All") return { code: 200, body: served(resource, old) };
      if (resource.storage === definitionsStorage) this.#removeInstances(name);
      // Its kubelet is told of the end before it comes.
      if (resource.kind === "Pod") this.#store.put(resource.storage, key, this.#dying(old, 0, []));
      const last = this.#store.remove(resource.storage, key) ?? old;
      if (resource.returnsDeleted)
        return {
          code: 200,
          body: served(resource, last),
        };
      const { group, plural: kind } = resource;
      const details = { name, ...(group === "" ? {} : { group }), kind, uid: textAt(old, "metadata", "uid") };
      return { code: 200, body: { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", details } };
    }
    const ending = this.#dying(old, grace, finalizers);
    const dying = resource.storage === "namespaces" ? withAt(ending, ["status", "phase"], "Terminating") : ending;
    if (query.get("dryRun") === "All") return { code: 200, body: served(resource, dying) };
    const body = equal(old, dying) ? old : this.#store.put(resource.storage, key, dying);
    return { code: 200, body: served(resource, body) };
  }

  /** A second deletion may hasten the end, and never puts it off. */
  #dying(old: JsonObject, grace: number, finalizers: readonly Json[]): JsonObject {
    const before = objectAt(old, "metadata");
    const left = Math.min(grace, Number(before.deletionGracePeriodSeconds ?? grace));
    const generation = Number(before.generation ?? 0);
    const isKnown = before.deletionTimestamp !== undefined && left === before.deletionGracePeriodSeconds;
    const metadata = {
      ...before,
      deletionTimestamp: isKnown ? (before.deletionTimestamp ?? null) : this.#time(left * 1_000),
      deletionGracePeriodSeconds: left,
      ...(generation > 0 && !isKnown ? { generation: generation + 1 } : {}),
      ...(finalizers.length === 0 ? {} : { finalizers }),
    };
    return { ...old, metadata };
  }

  /** POST of pods/binding. @throws ApiFailure 404, 409 */
  bind({ resource, namespace, name }: WriteCall, body: Json): Written {
    const key = keyOf(namespace, name);
    const pod = this.#store.get("pods", key);
    if (pod === null) throw notFound(resource, name);
    const node = textAt(pod, "spec", "nodeName");
    if (node !== "") throw conflict(resource, name, `pod ${name} is already assigned to node "${node}"`);
    this.#store.put("pods", key, withAt(pod, ["spec", "nodeName"], textAt(body, "target", "name")));
    return { code: 201, body: { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", code: 201 } };
  }

  #apply(call: WriteCall, old: JsonObject | null, body: Json): Written {
    const { resource, namespace, name, query } = call;
    if ((query.get("fieldManager") ?? "") === "") {
      throw invalidOptions("PatchOptions", [requiredValue("fieldManager", "is required for apply patch")]);
    }
    const asked = this.#body(call, body);
    // In built-in kinds what is empty is not named.
    const said = objectAt(asked, "metadata");
    const given = { ...asked, metadata: resource.custom === null ? withoutEmpty(said) : said };
    if (at(given, "metadata", "managedFields") !== undefined) throw badRequest("metadata.managedFields must be nil");
    if (old === null && call.subresource !== "") throw notFound(resource, name);
    const fields =
      call.subresource === "status" ? omit(given, "spec") : resource.status ? omit(given, "status") : given;
    const merged = apply(resource, old, fields, this.#writer(call), query.get("force") === "true");
    if (old !== null) return { code: 200, body: this.#replace(call, old, merged, true) };
    const owners = at(merged, "metadata", "managedFields") ?? [];
    const metadata = {
      ...objectAt(merged, "metadata"),
      name,
      ...(namespace === null ? {} : { namespace }),
      uid: randomUUID(),
      creationTimestamp: this.#time(),
      managedFields: owners,
      ...(resource.generation ? { generation: 1 } : {}),
    };
    const object = this.#complete(call, null, initial(resource, { ...merged, metadata }), name);
    return { code: 201, body: this.#save(call, null, object, name, true) };
  }

  #replace(call: WriteCall, old: JsonObject, given: JsonObject, owned: boolean): JsonObject {
    const { resource, name, subresource } = call;
    const version = textAt(given, "metadata", "resourceVersion");
    if (version !== "" && version !== textAt(old, "metadata", "resourceVersion")) throw modified(resource, name);
    const uid = textAt(given, "metadata", "uid");
    if (uid !== "" && uid !== textAt(old, "metadata", "uid"))
      throw conflict(resource, name, "Precondition failed: UID");
    let next = given;
    // Through the status of a custom object nothing else is written; those of the built-in kinds take metadata too.
    if (subresource === "status") {
      next = withFieldOf(old, "status", given);
      if (resource.custom === null) next = { ...next, metadata: objectAt(given, "metadata") };
    } else if (resource.status) next = withFieldOf(given, "status", old);
    const before = objectAt(old, "metadata");
    let metadata = objectAt(next, "metadata");
    for (const field of ["name", "namespace", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp"]) {
      metadata = withFieldOf(metadata, field, before);
    }
    metadata = withFieldOf(metadata, "deletionGracePeriodSeconds", before);
    metadata = withFieldOf(metadata, "generation", before);
    metadata = withFieldOf(metadata, "managedFields", owned ? objectAt(given, "metadata") : before);
    next = this.#complete(call, old, { ...next, metadata }, name);
    metadata = objectAt(next, "metadata");
    const content = (object: JsonObject) => omit(object, "metadata", "status");
    if (resource.generation && !equal(content(old), content(next))) {
      metadata = { ...metadata, generation: Number(before.generation ?? 0) + 1 };
    }
    return this.#save(call, old, { ...next, metadata }, name, owned);
  }

  /** As it is to be stored: pruned, with defaults, checked. @throws ApiFailure 403, 422 */
  #complete(call: WriteCall, old: JsonObject | null, next: JsonObject, name: string): JsonObject {
    const { resource, namespace, subresource } = call;
    if (resource.custom !== null) return conform(resource, name, next);
    return subresource === "" ? this.#rules.admit({ resource, namespace, name, old, next }) : next;
  }

  #save(call: WriteCall, old: JsonObject | null, object: JsonObject, name: string, owned: boolean): JsonObject {
    const { resource, namespace, query } = call;
    const key = keyOf(namespace, name);
    const metadata = withoutEmpty(objectAt(object, "metadata"));
    const typed = { ...object, metadata, kind: resource.kind, apiVersion: apiVersionOf(resource) };
    const next = owned ? typed : ownedByUpdate(resource, old, typed, this.#writer(call));
    if (query.get("dryRun") === "All") return next;
    // As etcd's client does: what changes nothing is not written.
    if (old !== null && equal(old, { ...next, apiVersion: old.apiVersion ?? "" })) return served(resource, old);
    // Nobody sees an object that nothing holds any more: it goes as it was.
    if (old !== null && at(next, "metadata", "deletionTimestamp") !== undefined && isFinished(next)) {
      this.#store.remove(resource.storage, key);
      return served(resource, next);
    }
    const stored = this.#store.put(resource.storage, key, next);
    if (resource.storage === definitionsStorage && old === null) this.#establish(stored, name);
    return served(resource, stored);
  }

  /** A second write, as the controller of definitions makes it. */
  #establish(definition: JsonObject, name: string): void {
    const condition = (type: string) => ({
      type,
      status: "True",
      lastTransitionTime: this.#time(),
      reason: "Accepted",
    });
    const conditions = [condition("NamesAccepted"), condition("Established")];
    this.#store.forgetChanges(name);
    this.#store.put(definitionsStorage, name, withAt(definition, ["status", "conditions"], conditions));
  }

  #removeInstances(definition: string): void {
    for (const key of [...this.#store.objects(definition).keys()]) this.#store.remove(definition, key);
  }

  /** @throws ApiFailure 400 for an object that is not the one of the path */
  #body({ resource, namespace, name }: WriteCall, body: Json): JsonObject {
    if (!isObject(body)) throw badRequest(`the object provided is unrecognized (must be of type ${resource.kind})`);
    const needed = resource.custom !== null;
    for (const [field, wanted] of [
      ["kind", resource.kind],
      ["apiVersion", apiVersionOf(resource)],
    ] as const) {
      const found = textAt(body, field);
      if (found === wanted || (found === "" && !needed)) continue;
      throw badRequest(
        `${found || "an object"} cannot be handled as a ${resource.kind}: its ${field} is not ${wanted}`,
      );
    }
    const given = textAt(body, "metadata", "namespace");
    if (given !== "" && given !== (namespace ?? "")) {
      throw badRequest("the namespace of the provided object does not match the namespace sent on the request");
    }
    const named = textAt(body, "metadata", "name");
    if (name !== "" && named !== name) {
      throw badRequest(`the name of the object (${named}) does not match the name on the URL (${name})`);
    }
    return body;
  }

  #writer({ query, agent, subresource }: WriteCall): Writer {
    return { manager: query.get("fieldManager") ?? agent, subresource, time: this.#time() };
  }

  #time(laterMs = 0): string {
    return `${new Date(this.#clock.now() + laterMs).toISOString().slice(0, 19)}Z`;
  }
}

export function keyOf(namespace: string | null, name: string): string {
  return namespace === null ? name : `${namespace}/${name}`;
}

/** Lists and maps of metadata are there or they are not. */
function withoutEmpty(metadata: JsonObject): JsonObject {
  const empty = ["labels", "annotations", "finalizers", "ownerReferences"].filter((field) => {
    const value = metadata[field];
    return value === null || (isObject(value) ? Object.keys(value).length === 0 : isList(value) && value.length === 0);
  });
  return empty.length === 0 ? metadata : omit(metadata, ...empty);
}

/** JSON or YAML. @throws ApiFailure 400 */
export function readBody(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    try {
      return parse(text) as Json;
    } catch (error) {
      throw badRequest(`the body is neither JSON nor YAML: ${String(error)}`);
    }
  }
}
