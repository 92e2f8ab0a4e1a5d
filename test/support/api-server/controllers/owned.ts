/** Who made an object: metadata.ownerReferences. */
import { at, isObject, type JsonObject, listAt, objectAt, own, textAt } from "../json.ts";

export function namespaceOf(object: JsonObject): string {
  return textAt(object, "metadata", "namespace");
}

export function nameOf(object: JsonObject): string {
  return textAt(object, "metadata", "name");
}

export function uidOf(object: JsonObject): string {
  return textAt(object, "metadata", "uid");
}

export function isEnding(object: JsonObject): boolean {
  return at(object, "metadata", "deletionTimestamp") !== undefined;
}

/** For metadata of what this object makes. */
export function controlledBy(kind: string, apiVersion: string, owner: JsonObject): JsonObject {
  return { apiVersion, kind, name: nameOf(owner), uid: uidOf(owner), controller: true, blockOwnerDeletion: true };
}

/** The uid of the one owner that controls it; "" without. */
export function controllerOf(object: JsonObject): string {
  const owners = listAt(object, "metadata", "ownerReferences");
  return textAt(
    owners.find((owner) => at(owner, "controller") === true),
    "uid",
  );
}

export function ownersOf(object: JsonObject): readonly JsonObject[] {
  return listAt(object, "metadata", "ownerReferences").filter(isObject);
}

/** matchLabels and matchExpressions of a meta/v1 LabelSelector. */
export function selects(selector: JsonObject, labels: JsonObject): boolean {
  const equal = Object.entries(objectAt(selector, "matchLabels")).every(([key, value]) => own(labels, key) === value);
  return (
    equal &&
    listAt(selector, "matchExpressions").every((expression) => {
      const value = own(labels, textAt(expression, "key"));
      const values = listAt(expression, "values");
      switch (at(expression, "operator")) {
        case "In":
          return value !== undefined && values.includes(value);
        case "NotIn":
          return value === undefined || !values.includes(value);
        case "Exists":
          return value !== undefined;
        default:
          return value === undefined;
      }
    })
  );
}

export function labelsOf(object: JsonObject): JsonObject {
  return objectAt(object, "metadata", "labels");
}

/** A condition of a status is true. */
export function holds(object: JsonObject, type: string): boolean {
  return listAt(object, "status", "conditions").some(
    (each) => at(each, "type") === type && at(each, "status") === "True",
  );
}
