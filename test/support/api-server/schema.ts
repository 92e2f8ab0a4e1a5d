/**
 * Objects of custom kinds against the structural schema of their version: unknown fields go, defaults come, and what is left is checked, each
 * violation as a cause that names its field.
 */
import { type Cause, invalid, requiredValue } from "./failure.ts";
import { equal, isList, isObject, type Json, type JsonObject, listAt, own } from "./json.ts";
import type { Resource } from "./resources.ts";

/** @throws ApiFailure 422 */
export function conform(resource: Resource, name: string, object: JsonObject): JsonObject {
  const schema = resource.custom?.schema ?? null;
  if (schema === null) return object;
  // The metadata of every kind have a schema of their own.
  const { apiVersion, kind, metadata, ...content } = object;
  const kept = prune(schema, content, true);
  const complete = withDefaults(schema, kept);
  const found = causes(schema, complete, "");
  if (found.length > 0) throw invalid(resource, name, found);
  return {
    ...(isObject(complete) ? complete : {}),
    ...(apiVersion === undefined ? {} : { apiVersion }),
    ...(kind === undefined ? {} : { kind }),
    ...(metadata === undefined ? {} : { metadata }),
  };
}

function fieldSchema(schema: JsonObject, name: string): JsonObject | null {
  const properties = own(schema, "properties");
  const field = (isObject(properties) ? own(properties, name) : undefined) ?? own(schema, "additionalProperties");
  return isObject(field) ? field : null;
}

function itemSchema(schema: JsonObject): JsonObject {
  return isObject(schema.items) ? schema.items : {};
}

function prune(schema: JsonObject, value: Json, root = false): Json {
  if (isList(value)) return schema.items === undefined ? value : value.map((item) => prune(itemSchema(schema), item));
  if (!isObject(value)) return value;
  const keepsAll = schema["x-kubernetes-preserve-unknown-fields"] === true || schema.additionalProperties === true;
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, part]) => {
      const field = fieldSchema(schema, name);
      if (field !== null) return [[name, prune(field, part)]];
      return keepsAll && !(root && name === "metadata") ? [[name, part]] : [];
    }),
  );
}

function withDefaults(schema: JsonObject, value: Json): Json {
  if (isList(value)) return value.map((item) => withDefaults(itemSchema(schema), item));
  if (!isObject(value)) return value;
  const properties = isObject(schema.properties) ? Object.entries(schema.properties) : [];
  const missing = properties.flatMap(([name, field]) => {
    const preset = isObject(field) ? own(field, "default") : undefined;
    const given = own(value, name);
    // null where null is nothing counts as left out.
    const absent = given === undefined || (given === null && isObject(field) && field.nullable !== true);
    return preset !== undefined && absent ? [[name, preset] as const] : [];
  });
  const all = { ...value, ...Object.fromEntries(missing) };
  return Object.fromEntries(
    Object.entries(all).map(([name, part]) => [name, withDefaults(fieldSchema(schema, name) ?? {}, part)]),
  );
}

function wrong(field: string, value: string, message: string): readonly Cause[] {
  const place = field === "" ? "<nil>" : field;
  const text = message === "" ? `Invalid value: ${value}` : `Invalid value: ${value}: ${place} in body ${message}`;
  return [{ reason: "FieldValueInvalid", message: text, field: place }];
}

function causes(schema: JsonObject, value: Json, field: string): readonly Cause[] {
  const type = typeof schema.type === "string" ? schema.type : "";
  const is = typeName(value);
  if (value === null) {
    if (schema.nullable === true || type === "") return [];
    return wrong(field, '"null"', `must be of type ${type}: "null"`);
  }
  if (schema["x-kubernetes-int-or-string"] === true)
    return is === "integer" || is === "string"
      ? []
      : wrong(field, `"${is}"`, `must be of type integer,string: "${is}"`);
  const fits = type === "" || is === type || (type === "number" && is === "integer");
  if (!fits) return wrong(field, `"${is}"`, `must be of type ${type}: "${is}"`);
  const chosen = enumCauses(schema, value, field);
  if (isObject(value)) return [...objectCauses(schema, value, field), ...chosen, ...combined(schema, value, field)];
  if (isList(value)) return [...listCauses(schema, value, field), ...chosen];
  if (typeof value === "string") return [...textCauses(schema, value, field), ...chosen];
  if (typeof value === "number") return [...numberCauses(schema, value, field), ...chosen];
  return chosen;
}

function typeName(value: Json): string {
  if (value === null) return "null";
  if (isList(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return typeof value;
}

function objectCauses(schema: JsonObject, value: JsonObject, field: string): readonly Cause[] {
  const inner = (name: string) => (field === "" ? name : `${field}.${name}`);
  const missing = listAt(schema, "required").filter((name) => !Object.hasOwn(value, String(name)));
  return [
    ...missing.map((name) => requiredValue(inner(String(name)))),
    ...Object.entries(value).flatMap(([name, part]) => {
      const of = fieldSchema(schema, name);
      return of === null ? [] : causes(of, part, inner(name));
    }),
  ];
}

function listCauses(schema: JsonObject, value: readonly Json[], field: string): readonly Cause[] {
  const { minItems, maxItems } = schema;
  const few = typeof minItems === "number" && value.length < minItems;
  const many = typeof maxItems === "number" && value.length > maxItems;
  const keys = listAt(schema, "x-kubernetes-list-map-keys").map(String);
  const twice = value.flatMap((item, index) => {
    if (keys.length === 0) return [];
    const key = (each: Json) => keys.map((name) => (isObject(each) ? (own(each, name) ?? null) : null));
    const same = value.slice(0, index).some((other) => equal(key(other), key(item)));
    const reason = "FieldValueDuplicate";
    return same ? [{ reason, message: `Duplicate value: ${JSON.stringify(item)}`, field: `${field}[${index}]` }] : [];
  });
  return [
    ...(few ? wrong(field, String(value.length), `should have at least ${minItems} items`) : []),
    ...(many ? wrong(field, String(value.length), `should have at most ${maxItems} items`) : []),
    ...value.flatMap((item, index) => causes(itemSchema(schema), item, `${field}[${index}]`)),
    ...twice,
  ];
}

function textCauses(schema: JsonObject, value: string, field: string): readonly Cause[] {
  const { minLength, maxLength, pattern, format } = schema;
  const length = [...value].length;
  const quoted = JSON.stringify(value);
  const bad = typeof pattern === "string" && !new RegExp(pattern, "u").test(value);
  const noTime = format === "date-time" && Number.isNaN(Date.parse(value));
  return [
    ...(typeof minLength === "number" && length < minLength
      ? wrong(field, quoted, `should be at least ${minLength} chars long`)
      : []),
    ...(typeof maxLength === "number" && length > maxLength
      ? wrong(field, quoted, `should be at most ${maxLength} chars long`)
      : []),
    ...(bad ? wrong(field, quoted, `should match '${pattern}'`) : []),
    ...(noTime ? wrong(field, quoted, `must be of type date-time: ${quoted}`) : []),
  ];
}

function numberCauses({ minimum, maximum }: JsonObject, value: number, field: string): readonly Cause[] {
  return [
    ...(typeof minimum === "number" && value < minimum
      ? wrong(field, String(value), `should be greater than or equal to ${minimum}`)
      : []),
    ...(typeof maximum === "number" && value > maximum
      ? wrong(field, String(value), `should be less than or equal to ${maximum}`)
      : []),
  ];
}

function enumCauses(schema: JsonObject, value: Json, field: string): readonly Cause[] {
  const allowed = schema.enum;
  if (!isList(allowed) || allowed.some((each) => equal(each, value))) return [];
  const list = allowed.map((each) => JSON.stringify(each)).join(", ");
  const message = `Unsupported value: ${JSON.stringify(value)}: supported values: ${list}`;
  return [{ reason: "FieldValueNotSupported", message, field }];
}

/** In structural schemas they may only demand. */
function combined(schema: JsonObject, value: JsonObject, field: string): readonly Cause[] {
  const holds = (each: Json) => isObject(each) && causes(each, value, field).length === 0;
  const one = listAt(schema, "oneOf");
  const any = listAt(schema, "anyOf");
  const all = listAt(schema, "allOf").filter(isObject);
  const chosen = one.filter(holds).length;
  const place = field === "" ? "<nil>" : field;
  const says = (message: string) => [
    { reason: "FieldValueInvalid", message: `Invalid value: "": ${message}`, field: place },
  ];
  const found = chosen === 0 ? "Found none valid" : `Found ${chosen} valid alternatives`;
  return [
    ...(one.length > 0 && chosen !== 1
      ? says(`"${field}" must validate one and only one schema (oneOf). ${found}`)
      : []),
    ...(any.length > 0 && !any.some(holds) ? says(`"${field}" must validate at least one schema (anyOf)`) : []),
    ...all.flatMap((each) => causes(each, value, field)),
    ...(isObject(schema.not) && holds(schema.not) ? says(`"${field}" must not validate the schema (not)`) : []),
  ];
}
