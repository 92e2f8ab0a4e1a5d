/**
 * How the parts of an object are merged and owned: which lists are keyed by what, which values only change as a whole. For custom kinds their
 * schema says it (x-kubernetes-list-type and -map-type); for the built-in ones the merge keys of the kinds that are served here
 * are a table. Lists that it does not know are replaced as a whole.
 */
import { at, isList, isObject, type Json, type JsonObject, own } from "./json.ts";
import type { Resource } from "./resources.ts";

export type ListKind =
  | { readonly kind: "atomic" }
  | { readonly kind: "set" }
  | { readonly kind: "map"; readonly keys: readonly string[] };

export interface Shape {
  readonly list: ListKind;
  /** An object that has one owner as a whole (server-side apply only). */
  readonly atomic: boolean;
  field(name: string): Shape;
  item(): Shape;
}

const atomicList: ListKind = { kind: "atomic" };

const listKeys: ReadonlyMap<string, readonly string[]> = new Map([
  ["containers", ["name"]],
  ["initContainers", ["name"]],
  ["ephemeralContainers", ["name"]],
  ["volumes", ["name"]],
  ["env", ["name"]],
  ["volumeMounts", ["mountPath"]],
  ["imagePullSecrets", ["name"]],
  ["secrets", ["name"]],
  ["conditions", ["type"]],
  ["addresses", ["type"]],
  ["podIPs", ["ip"]],
  ["hostAliases", ["ip"]],
  ["ownerReferences", ["uid"]],
  ["containers.ports", ["containerPort", "protocol"]],
  ["initContainers.ports", ["containerPort", "protocol"]],
  ["Service.spec.ports", ["port", "protocol"]],
]);

/** Label selectors and references. */
const atomicObjects = new Set(["selector", "podSelector", "namespaceSelector", "targetRef", "involvedObject"]);

export function shapeOf(resource: Resource): Shape {
  if (resource.custom === null) return builtInShape(resource.kind, "");
  const schema = resource.custom.schema ?? {};
  const properties = { ...(isObject(schema.properties) ? schema.properties : {}), metadata: {} };
  const root = schemaShape({ ...schema, properties });
  const metadata = builtInShape(resource.kind, "").field("metadata");
  return { ...root, field: (name) => (name === "metadata" ? metadata : root.field(name)) };
}

/** @param name "Service", "Service.spec", "containers" (of an item): what tells the lists of one name apart */
function builtInShape(path: string, name: string): Shape {
  const qualified = [path, name].filter((part) => part !== "").join(".");
  const keys = listKeys.get(qualified) ?? (name === "ports" ? undefined : listKeys.get(name));
  // EndpointSlices have lists of plain addresses.
  const applies = keys !== undefined && !path.startsWith("EndpointSlice");
  const list: ListKind = applies ? { kind: "map", keys } : name === "finalizers" ? { kind: "set" } : atomicList;
  return {
    list,
    atomic: atomicObjects.has(name),
    field: (field) => builtInShape(qualified, field),
    item: () => builtInShape(name, ""),
  };
}

function schemaShape(schema: Json | undefined): Shape {
  const type = at(schema, "x-kubernetes-list-type");
  const keys = at(schema, "x-kubernetes-list-map-keys");
  const list: ListKind =
    type === "set"
      ? { kind: "set" }
      : type === "map" && isList(keys)
        ? { kind: "map", keys: keys.filter((key) => typeof key === "string") }
        : atomicList;
  return {
    list,
    atomic: at(schema, "x-kubernetes-map-type") === "atomic",
    field: (name) => schemaShape(at(schema, "properties", name) ?? at(schema, "additionalProperties")),
    item: () => schemaShape(at(schema, "items")),
  };
}

/** The keys of an item of a keyed list; null for what cannot be an item of it. */
export function keysOf(item: Json, keys: readonly string[]): JsonObject | null {
  if (!isObject(item)) return null;
  const values: [string, Json][] = [];
  for (const key of keys) {
    const value = own(item, key) ?? (key === "protocol" ? "TCP" : undefined);
    if (value === undefined) return null;
    values.push([key, value]);
  }
  return Object.fromEntries(values);
}
