/** Values against structural schemas as an API server does it: fields that the schema lacks are pruned first, the rest is checked. */
import type { Schema } from "../../src/lib/schema.ts";

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Without the fields that the schema does not have. */
export function prune(schema: Schema, value: unknown): unknown {
  if (Array.isArray(value))
    return schema.items === undefined ? value : value.map((each) => prune(schema.items ?? {}, each));
  if (!isRecord(value)) return value;
  const keepsAll = schema["x-kubernetes-preserve-unknown-fields"] === true;
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, entry]) => {
      const field = schema.properties?.[name] ?? schema.additionalProperties;
      if (field !== undefined) return [[name, prune(field, entry)]];
      return keepsAll ? [[name, entry]] : [];
    }),
  );
}

/** Every violation as "path: what"; none for a valid value. */
export function violations(schema: Schema, value: unknown, path = ""): readonly string[] {
  const wrong = (what: string) => [`${path}: ${what}`];
  if (value === null) return schema.nullable === true ? [] : wrong("null");
  if (schema["x-kubernetes-int-or-string"] === true) {
    return typeof value === "string" || Number.isInteger(value) ? [] : wrong("neither a number nor a text");
  }
  switch (schema.type) {
    case "object":
      return isRecord(value) ? objectViolations(schema, value, path) : wrong("no object");
    case "array": {
      if (!Array.isArray(value)) return wrong("no list");
      const { items = {}, minItems = 0, maxItems = Number.POSITIVE_INFINITY } = schema;
      const count = value.length < minItems || value.length > maxItems ? wrong(`${value.length} entries`) : [];
      return [...count, ...value.flatMap((each, index) => violations(items, each, `${path}[${index}]`))];
    }
    case "string":
      return typeof value === "string" ? textViolations(schema, value).flatMap(wrong) : wrong("no text");
    case "integer": {
      const { minimum = Number.NEGATIVE_INFINITY, maximum = Number.POSITIVE_INFINITY } = schema;
      if (typeof value !== "number" || !Number.isInteger(value)) return wrong("no integer");
      return value < minimum || value > maximum ? wrong(`${value} is out of range`) : [];
    }
    case "boolean":
      return typeof value === "boolean" ? [] : wrong("neither true nor false");
    default:
      return wrong("a schema without a type");
  }
}

function objectViolations(schema: Schema, value: Readonly<Record<string, unknown>>, path: string): readonly string[] {
  const missing = (schema.required ?? []).filter((name) => !(name in value));
  const chosen = (schema.oneOf ?? []).filter(({ required }) => required.every((name) => name in value));
  return [
    ...missing.map((name) => `${path}.${name}: missing`),
    ...(schema.oneOf !== undefined && chosen.length !== 1 ? [`${path}: ${chosen.length} alternatives at once`] : []),
    ...Object.entries(value).flatMap(([name, entry]) => {
      const field = schema.properties?.[name] ?? schema.additionalProperties;
      return field === undefined ? [] : violations(field, entry, `${path}.${name}`);
    }),
  ];
}

function textViolations(schema: Schema, value: string): readonly string[] {
  const { minLength = 0, maxLength = Number.POSITIVE_INFINITY, pattern } = schema;
  const length = [...value].length;
  return [
    ...(schema.enum === undefined || schema.enum.includes(value)
      ? []
      : [`${value} is none of ${schema.enum.join(", ")}`]),
    ...(length < minLength || length > maxLength ? [`${length} letters`] : []),
    ...(pattern === undefined || new RegExp(pattern, "u").test(value) ? [] : [`${value} does not match ${pattern}`]),
    ...(schema.format === "date-time" && Number.isNaN(Date.parse(value)) ? [`${value} is no time`] : []),
  ];
}
