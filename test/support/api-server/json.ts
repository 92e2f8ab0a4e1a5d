/** JSON values that nobody changes in place: objects in the store, in its history and in answers share their parts. */

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;

export interface JsonObject {
  readonly [field: string]: Json;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function isList(value: unknown): value is readonly Json[] {
  return Array.isArray(value);
}

/** What is at a path of fields; undefined if something on the way is missing or no object. */
export function at(value: Json | undefined, ...path: readonly string[]): Json | undefined {
  let current = value;
  for (const field of path) current = isObject(current) ? own(current, field) : undefined;
  return current;
}

/** "toString" is no field of an object that does not have it. */
export function own(object: JsonObject, field: string): Json | undefined {
  return Object.hasOwn(object, field) ? object[field] : undefined;
}

/** {} where there is no object. */
export function objectAt(value: Json | undefined, ...path: readonly string[]): JsonObject {
  const found = at(value, ...path);
  return isObject(found) ? found : {};
}

/** [] where there is no list. */
export function listAt(value: Json | undefined, ...path: readonly string[]): readonly Json[] {
  const found = at(value, ...path);
  return isList(found) ? found : [];
}

/** "" where there is no text. */
export function textAt(value: Json | undefined, ...path: readonly string[]): string {
  const found = at(value, ...path);
  return typeof found === "string" ? found : "";
}

export function omit(object: JsonObject, ...fields: readonly string[]): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([field]) => !fields.includes(field)));
}

/** The object with another value at a path; objects on the way are made where they are missing. */
export function withAt(object: JsonObject, [field, ...rest]: readonly string[], value: Json): JsonObject {
  if (field === undefined) return object;
  return { ...object, [field]: rest.length === 0 ? value : withAt(objectAt(object, field), rest, value) };
}

/** A field of another object, or its absence, taken over. */
export function withFieldOf(object: JsonObject, field: string, from: JsonObject): JsonObject {
  const value = own(from, field);
  return value === undefined ? omit(object, field) : { ...object, [field]: value };
}

/** Equal values; the order of an object's fields does not matter. */
export function equal(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true;
  if (isList(a)) return isList(b) && a.length === b.length && a.every((value, index) => equal(value, b[index]));
  if (!isObject(a) || !isObject(b)) return false;
  const fields = Object.keys(a);
  return fields.length === Object.keys(b).length && fields.every((f) => Object.hasOwn(b, f) && equal(a[f], b[f]));
}
