/**
 * Server-side apply: the fields that a manager names are set and owned by it; those that it named before and does not name now are removed,
 * unless another owns them too; those that others own and that it would change are conflicts, unless it forces them.
 */
import { ApiFailure } from "./failure.ts";
import { equal, isList, isObject, type Json, type JsonObject, omit, own } from "./json.ts";
import {
  fieldName,
  leavesOf,
  type Owner,
  ownersOf,
  type Steps,
  stepsOf,
  withOwners,
  type Writer,
} from "./managed-fields.ts";
import { apiVersionOf, type Resource } from "./resources.ts";
import { keysOf, type Shape, shapeOf } from "./shape.ts";

/** @throws ApiFailure 409 for conflicts */
export function apply(
  resource: Resource,
  live: JsonObject | null,
  applied: JsonObject,
  writer: Writer,
  force: boolean,
): JsonObject {
  const wanted = leavesOf(resource, applied);
  const present = live === null ? new Map<string, Json>() : leavesOf(resource, live);
  const owners = ownersOf(live);
  const isMine = (owner: Owner) =>
    owner.operation === "Apply" && owner.manager === writer.manager && owner.subresource === writer.subresource;
  const others = owners.filter((owner) => !isMine(owner));
  const changed = new Set(
    [...wanted].filter(([path, value]) => !equal(present.get(path), value)).map(([path]) => path),
  );
  if (!force) refuseConflicts(others, changed);
  const left = others.map((owner) => ({
    ...owner,
    leaves: new Set([...owner.leaves].filter((path) => !changed.has(path))),
  }));
  const shape = shapeOf(resource);
  let merged = live === null ? applied : mergeObjects(shape, live, applied);
  const named = [...wanted.keys(), ...left.flatMap(({ leaves }) => [...leaves])];
  for (const path of owners.find(isMine)?.leaves ?? []) {
    // What was empty and has become somebody's content stays.
    const isKept = named.some((other) => isWithin(stepsOf(other), stepsOf(path)));
    if (!isKept) merged = asObject(without(shape, merged, abandoned(stepsOf(path), named)));
  }
  const mine = owners.find(isMine);
  const same = mine !== undefined && changed.size === 0 && mine.leaves.size === wanted.size;
  const leaves = new Set(wanted.keys());
  // An apply that says nothing new does not even change the time.
  const time = same && [...leaves].every((path) => mine.leaves.has(path)) ? mine.time : writer.time;
  return withOwners(merged, [
    ...left,
    { ...writer, time, operation: "Apply", apiVersion: apiVersionOf(resource), leaves },
  ]);
}

/** The leaf, or the item of a keyed list of which nobody names anything any more: that goes with what was filled in besides. */
function abandoned(steps: Steps, named: readonly string[]): Steps {
  const items = steps.flatMap((step, index) => (step.startsWith("k:") ? [steps.slice(0, index + 1)] : []));
  return items.find((item) => !named.some((path) => isWithin(stepsOf(path), item))) ?? steps;
}

function isWithin(steps: Steps, outer: Steps): boolean {
  return outer.every((step, index) => steps[index] === step);
}

function refuseConflicts(others: readonly Owner[], changed: ReadonlySet<string>): void {
  const conflicts = others.flatMap(({ manager, leaves }) =>
    [...leaves].filter((path) => changed.has(path)).map((path) => ({ manager, field: fieldName(path) })),
  );
  if (conflicts.length === 0) return;
  const managers = [...new Set(conflicts.map(({ manager }) => manager))];
  const texts = managers.map((manager) => {
    const fields = conflicts.filter((conflict) => conflict.manager === manager).map(({ field }) => `\n- ${field}`);
    return `conflicts with ${JSON.stringify(manager)}:${fields.join("")}`;
  });
  const first = conflicts.length === 1 ? conflicts[0] : undefined;
  const message =
    first === undefined
      ? `Apply failed with ${conflicts.length} conflicts: ${texts.join("\n")}`
      : `Apply failed with 1 conflict: conflict with ${JSON.stringify(first.manager)}: ${first.field}`;
  const causes = conflicts.map(({ manager, field }) => ({
    reason: "FieldManagerConflict",
    message: `conflict with ${JSON.stringify(manager)}`,
    field,
  }));
  throw new ApiFailure(409, "Conflict", message, { causes });
}

function mergeObjects(shape: Shape, live: JsonObject, applied: JsonObject): JsonObject {
  if (shape.atomic) return applied;
  const merged: { [field: string]: Json } = { ...live };
  for (const [field, value] of Object.entries(applied))
    merged[field] = merge(shape.field(field), own(live, field), value);
  return merged;
}

function merge(shape: Shape, live: Json | undefined, applied: Json): Json {
  if (isObject(live) && isObject(applied)) return mergeObjects(shape, live, applied);
  const { list } = shape;
  if (!isList(live) || !isList(applied) || list.kind === "atomic") return applied;
  if (list.kind === "set") return [...live, ...applied.filter((value) => !live.some((other) => equal(other, value)))];
  const keyed = (item: Json) => keysOf(item, list.keys);
  const rest = applied.filter((item) => !live.some((other) => equal(keyed(other), keyed(item))));
  const merged = live.map((item) => {
    const update = applied.find((other) => equal(keyed(other), keyed(item)));
    return update === undefined ? item : merge(shape.item(), item, update);
  });
  return [...merged, ...rest];
}

/** A value without one of its leaves; undefined when nothing of it is left. */
function without(shape: Shape, value: Json, [step, ...rest]: Steps): Json | undefined {
  if (step === undefined) return undefined;
  if (step.startsWith("f:")) {
    const field = step.slice(2);
    const part = isObject(value) ? own(value, field) : undefined;
    if (!isObject(value) || part === undefined) return value;
    const left = without(shape.field(field), part, rest);
    const object = left === undefined ? omit(value, field) : { ...value, [field]: left };
    return Object.keys(object).length === 0 ? undefined : object;
  }
  if (!isList(value)) return value;
  const { list } = shape;
  const wanted: unknown = JSON.parse(step.slice(2));
  const isIt = (item: Json) =>
    equal(list.kind === "map" ? (keysOf(item, list.keys) ?? undefined) : item, wanted as Json);
  const items = value.flatMap((item) => {
    if (!isIt(item)) return [item];
    const left = without(shape.item(), item, rest);
    return left === undefined ? [] : [left];
  });
  return items.length === 0 ? undefined : items;
}

function asObject(value: Json | undefined): JsonObject {
  return isObject(value) ? value : {};
}
