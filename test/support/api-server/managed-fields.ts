/**
 * Who owns which field (metadata.managedFields), at the level of leaves: a leaf is a scalar, an empty object, or a list or object that
 * only changes as a whole. An update owns the leaves that it changes, an apply all that it names. The real server also keeps owners of
 * the containers around leaves; these are not kept here, so an emptied object goes away with its last leaf.
 */
import { equal, isList, isObject, type Json, type JsonObject, listAt, objectAt, textAt } from "./json.ts";
import { apiVersionOf, type Resource } from "./resources.ts";
import { keysOf, type Shape, shapeOf } from "./shape.ts";

/** Steps of a path as FieldsV1 has them: f:spec, k:{"name":"c"}, v:"a". */
export type Steps = readonly string[];

/** Values of leaves by their joined steps. */
export type Leaves = ReadonlyMap<string, Json>;

export interface Writer {
  readonly manager: string;
  /** "" is the object itself. */
  readonly subresource: string;
  /** RFC 3339. */
  readonly time: string;
}

export interface Owner extends Writer {
  readonly operation: "Apply" | "Update";
  readonly apiVersion: string;
  readonly leaves: ReadonlySet<string>;
}

const separator = "\u0000";

/** Set by the server, or what says which object it is: nobody's. */
const unowned = new Set(
  [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
  ].map((field) => ["f:metadata", `f:${field}`].join(separator)),
);

export function leavesOf(resource: Resource, object: JsonObject): Leaves {
  const leaves = new Map<string, Json>();
  const root = shapeOf(resource);
  for (const [field, value] of Object.entries(object)) {
    if (field !== "apiVersion" && field !== "kind") collect(root.field(field), value, [`f:${field}`], leaves);
  }
  leaves.delete("f:metadata");
  for (const path of leaves.keys()) {
    if (unowned.has(path.split(separator).slice(0, 2).join(separator))) leaves.delete(path);
  }
  return leaves;
}

export function stepsOf(path: string): Steps {
  return path.split(separator);
}

/** ".spec.ports[port=80,protocol=\"TCP\"].name", as conflicts name fields. */
export function fieldName(path: string): string {
  return stepsOf(path)
    .map((step) => {
      if (step.startsWith("f:")) return `.${step.slice(2)}`;
      const value: unknown = JSON.parse(step.slice(2));
      if (step.startsWith("v:") || !isObject(value)) return `[=${step.slice(2)}]`;
      return `[${Object.entries(value)
        .map(([key, part]) => `${key}=${JSON.stringify(part)}`)
        .join(",")}]`;
    })
    .join("");
}

export function ownersOf(object: JsonObject | null): readonly Owner[] {
  return listAt(object ?? undefined, "metadata", "managedFields")
    .filter(isObject)
    .map((entry) => ({
      manager: textAt(entry, "manager"),
      operation: entry.operation === "Apply" ? "Apply" : "Update",
      apiVersion: textAt(entry, "apiVersion"),
      subresource: textAt(entry, "subresource"),
      time: textAt(entry, "time"),
      leaves: new Set(decodeFields(objectAt(entry, "fieldsV1"), [])),
    }));
}

export function withOwners(object: JsonObject, owners: readonly Owner[]): JsonObject {
  const managedFields = owners
    .filter(({ leaves }) => leaves.size > 0)
    .map(({ manager, operation, apiVersion, time, subresource, leaves }) => ({
      manager,
      operation,
      apiVersion,
      time,
      fieldsType: "FieldsV1",
      fieldsV1: encodeFields(leaves),
      ...(subresource === "" ? {} : { subresource }),
    }));
  return { ...object, metadata: { ...objectAt(object, "metadata"), managedFields } };
}

/** The object with its owners after a create (`old` null) or an update. */
export function ownedByUpdate(
  resource: Resource,
  old: JsonObject | null,
  next: JsonObject,
  writer: Writer,
): JsonObject {
  const before = old === null ? new Map<string, Json>() : leavesOf(resource, old);
  const after = leavesOf(resource, next);
  const changed = new Set([...after].filter(([path, value]) => !equal(before.get(path), value)).map(([path]) => path));
  const isMine = (owner: Owner) =>
    owner.operation === "Update" && owner.manager === writer.manager && owner.subresource === writer.subresource;
  const owners = ownersOf(old).map((owner) => {
    const leaves = [...owner.leaves].filter((path) => after.has(path) && (isMine(owner) || !changed.has(path)));
    return { ...owner, leaves: new Set(leaves) };
  });
  if (changed.size === 0) return withOwners(next, owners);
  const mine = owners.find(isMine);
  const leaves = new Set([...(mine?.leaves ?? []), ...changed]);
  const entry: Owner = { ...writer, operation: "Update", apiVersion: apiVersionOf(resource), leaves };
  return withOwners(next, [...owners.filter((owner) => owner !== mine), entry]);
}

function collect(shape: Shape, value: Json, steps: Steps, leaves: Map<string, Json>): void {
  if (isObject(value) && !shape.atomic && Object.keys(value).length > 0) {
    for (const [field, part] of Object.entries(value))
      collect(shape.field(field), part, [...steps, `f:${field}`], leaves);
    return;
  }
  const { list } = shape;
  if (isList(value) && list.kind === "set") {
    for (const part of value) leaves.set([...steps, `v:${JSON.stringify(part)}`].join(separator), part);
    return;
  }
  if (isList(value) && list.kind === "map") {
    const keys = value.map((item) => keysOf(item, list.keys));
    if (!keys.includes(null)) {
      value.forEach((item, index) => {
        collect(shape.item(), item, [...steps, `k:${JSON.stringify(keys[index])}`], leaves);
      });
      return;
    }
  }
  leaves.set(steps.join(separator), value);
}

type Tree = { [step: string]: Tree };

function encodeFields(leaves: ReadonlySet<string>): JsonObject {
  const root: Tree = {};
  for (const path of [...leaves].sort()) {
    let node = root;
    for (const step of stepsOf(path)) {
      node[step] ??= {};
      node = node[step];
    }
  }
  return root;
}

function* decodeFields(node: JsonObject, steps: Steps): Generator<string> {
  const children = Object.entries(node).filter(([step]) => step !== ".");
  if (children.length === 0 && steps.length > 0) yield steps.join(separator);
  for (const [step, child] of children) if (isObject(child)) yield* decodeFields(child, [...steps, step]);
}
