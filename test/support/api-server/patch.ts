/** The kinds of PATCH but server-side apply: JSON merge patch (RFC 7386), JSON patch (RFC 6902), strategic merge patch. */
import { ApiFailure, badRequest } from "./failure.ts";
import { equal, isList, isObject, type Json, type JsonObject, omit, own } from "./json.ts";
import { keysOf, type Shape } from "./shape.ts";

export function mergePatch(target: Json | undefined, patch: Json): Json {
  if (!isObject(patch)) return patch;
  const merged: { [field: string]: Json } = { ...(isObject(target) ? target : {}) };
  for (const [field, value] of Object.entries(patch)) {
    if (value === null) delete merged[field];
    else merged[field] = mergePatch(own(merged, field), value);
  }
  return merged;
}

/** @throws ApiFailure 400 for what is no patch, 422 for one that does not fit the object */
export function jsonPatch(target: JsonObject, patch: Json): JsonObject {
  if (!isList(patch)) throw badRequest("a JSON patch is a list of operations");
  const patched = patch.reduce<Json>((document, operation) => applyOperation(document, operation), target);
  if (!isObject(patched)) throw doesNotFit();
  return patched;
}

function applyOperation(document: Json, operation: Json): Json {
  if (!isObject(operation)) throw badRequest("an operation of a JSON patch is an object");
  const path = pointer(operation.path);
  switch (operation.op) {
    case "add":
      return edit(document, path, operation.value, "add");
    case "replace":
      return edit(document, path, operation.value, "replace");
    case "remove":
      return edit(document, path, undefined, "remove");
    case "test":
      if (!equal(lookUp(document, path), operation.value ?? null)) throw doesNotFit();
      return document;
    case "copy":
      return edit(document, path, lookUp(document, pointer(operation.from)), "add");
    case "move": {
      const from = pointer(operation.from);
      return edit(edit(document, from, undefined, "remove"), path, lookUp(document, from), "add");
    }
    default:
      throw badRequest(`there is no operation ${JSON.stringify(operation.op ?? null)} in JSON patches`);
  }
}

function pointer(path: Json | undefined): readonly string[] {
  if (typeof path !== "string" || (path !== "" && !path.startsWith("/"))) throw badRequest("a path starts with /");
  return path
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function lookUp(document: Json, path: readonly string[]): Json {
  let current: Json | undefined = document;
  for (const part of path) {
    if (isList(current)) current = current[indexOf(part, current.length - 1)];
    else current = isObject(current) ? own(current, part) : undefined;
  }
  if (current === undefined) throw doesNotFit();
  return current;
}

type Edit = "add" | "replace" | "remove";

function edit(document: Json, [part, ...rest]: readonly string[], value: Json | undefined, how: Edit): Json {
  if (part === undefined) return how === "remove" ? null : needed(value);
  if (rest.length > 0) {
    const inner = edit(lookUp(document, [part]), rest, value, how);
    if (isList(document)) return document.with(indexOf(part, document.length - 1), inner);
    return isObject(document) ? { ...document, [part]: inner } : inner;
  }
  if (isList(document)) {
    const last = how === "add" ? document.length : document.length - 1;
    const index = part === "-" && how === "add" ? document.length : indexOf(part, last);
    return document.toSpliced(index, how === "add" ? 0 : 1, ...(how === "remove" ? [] : [needed(value)]));
  }
  if (!isObject(document) || (how !== "add" && !Object.hasOwn(document, part))) throw doesNotFit();
  return how === "remove" ? omit(document, part) : { ...document, [part]: needed(value) };
}

function needed(value: Json | undefined): Json {
  if (value === undefined) throw badRequest("an operation lacks its value");
  return value;
}

function indexOf(part: string, last: number): number {
  const index = /^(0|[1-9]\d*)$/.test(part) ? Number(part) : Number.POSITIVE_INFINITY;
  if (index > last) throw doesNotFit();
  return index;
}

/** The real server does not say more either. */
function doesNotFit(): ApiFailure {
  return new ApiFailure(422, "Invalid", "the server rejected our request due to an error in our request", {});
}

/**
 * Merges lists by their first merge key, as `shape.ts` knows them, and sets of scalars. Directives: `$patch: delete` and `$patch: replace` in objects and
 * in items of keyed lists, `$deleteFromPrimitiveList/…`, and null. `$setElementOrder/…` and `$retainKeys` are ignored: the order is
 * that of the object, then what is new.
 */
export function strategicPatch(shape: Shape, target: Json | undefined, patch: Json): Json {
  if (isObject(patch)) return strategicObject(shape, isObject(target) ? target : {}, patch);
  const { list } = shape;
  if (!isList(patch) || list.kind === "atomic") return patch;
  const items = isList(target) ? target : [];
  if (list.kind === "set") return [...items, ...patch.filter((value) => !items.some((other) => equal(other, value)))];
  return strategicList(shape, list.keys.slice(0, 1), items, patch);
}

function strategicObject(shape: Shape, target: JsonObject, patch: JsonObject): JsonObject {
  if (patch.$patch === "replace") return omit(patch, "$patch");
  if (patch.$patch === "delete") return {};
  const merged: { [field: string]: Json } = { ...target };
  for (const [field, value] of Object.entries(patch)) {
    const [directive, subject] = field.split("/");
    if (directive === "$deleteFromPrimitiveList" && subject !== undefined && isList(value)) {
      const from = own(merged, subject);
      if (isList(from)) merged[subject] = from.filter((item) => !value.some((other) => equal(other, item)));
    } else if (field.startsWith("$")) {
    } else if (value === null) delete merged[field];
    else merged[field] = strategicPatch(shape.field(field), own(merged, field), value);
  }
  return merged;
}

function strategicList(
  shape: Shape,
  keys: readonly string[],
  items: readonly Json[],
  patch: readonly Json[],
): readonly Json[] {
  if (patch.some((item) => isObject(item) && item.$patch === "replace")) {
    return patch.filter((item) => !(isObject(item) && item.$patch === "replace"));
  }
  let merged = items;
  for (const item of patch) {
    const key = keysOf(item, keys);
    if (key === null) throw badRequest(`map: ${JSON.stringify(item)} does not contain declared merge key: ${keys[0]}`);
    const index = merged.findIndex((other) => equal(keysOf(other, keys) ?? undefined, key));
    if (isObject(item) && item.$patch === "delete") merged = index < 0 ? merged : merged.toSpliced(index, 1);
    else if (index < 0) merged = [...merged, strategicPatch(shape.item(), undefined, item)];
    else merged = merged.with(index, strategicPatch(shape.item(), merged[index], item));
  }
  return merged;
}
