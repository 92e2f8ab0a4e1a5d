/** Label selectors as users write them. */
import { exactList } from "../../lib/exact-list.ts";
import { fieldNames } from "../../lib/schema.ts";
import { nearest } from "../../lib/nearest.ts";
import { makeSelector, type Requirement, requirement, type Selector } from "../../model/labels.ts";
import { expressionSchema, selectorOperators, selectorSchema } from "./cilium-schema.ts";
import { at, type Place, readEach, readFields, readText, refuse, shown } from "./fields.ts";

const keyPattern = /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const valuePattern = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;
/** A key with its source, as Cilium's labels have. Namespace labels make keys with more parts than Kubernetes allows. */
const sourcedPattern = /^([a-z][-a-z0-9]*:)?[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?$/;

/** What a key of a selector stands for in the labels of an identity. */
export interface KeyReading {
  readonly pattern: "kubernetes" | "cilium";
  readonly translate: (key: string) => string;
}

/** Keys as they are. */
export const plainKeys: KeyReading = { pattern: "kubernetes", translate: (key) => key };

/** All labels come from Kubernetes, so "k8s:", "any:" and no source are the same. Other sources stay: nothing has them. */
export const ciliumKeys: KeyReading = {
  pattern: "cilium",
  translate: (key) => key.replace(/^(k8s|any):/, ""),
};

/** Null for an absent selector. */
export function readSelector(value: unknown, place: Place, keys: KeyReading): Selector | null {
  const fields = readFields(value, place, fieldNames(selectorSchema));
  if (fields === null) return null;
  const labels = readMatchLabels(fields.matchLabels, at(place, "matchLabels"), keys);
  const expressions = readEach(fields.matchExpressions, at(place, "matchExpressions"), (entry, entryPlace) =>
    readExpression(entry, entryPlace, keys),
  );
  return makeSelector([...labels, ...(expressions ?? [])]);
}

function readMatchLabels(value: unknown, place: Place, keys: KeyReading): readonly Requirement[] {
  if (value === undefined || value === null) return [];
  if (typeof value !== "object" || Array.isArray(value)) {
    refuse(place, "POLICY_TYPE", `${shown(value)} is not a map of labels`, "write key: value pairs");
    return [];
  }
  const requirements = Object.entries(value).flatMap(([key, entry]) => {
    const entryPlace = at(place, key);
    const name = readKey(key, entryPlace, keys);
    // YAML's "key:" is null, and means the empty value.
    const text = entry === null ? "" : readText(entry, entryPlace);
    if (name === null || text === null || !checkValue(text, entryPlace)) return [];
    return [requirement(name, "In", [text])];
  });
  return exactList(requirements);
}

function readExpression(value: unknown, place: Place, keys: KeyReading): Requirement | null {
  const fields = readFields(value, place, fieldNames(expressionSchema));
  const written = fields === null ? null : readText(fields.key, at(place, "key"));
  const operator = fields === null ? null : readText(fields.operator, at(place, "operator"));
  if (fields === null || written === null || operator === null) {
    refuse(place, "POLICY_MISSING", "an expression needs a key and an operator", "write {key, operator, values}");
    return null;
  }
  const key = readKey(written, at(place, "key"), keys);
  const known = selectorOperators.find((each) => each === operator);
  if (known === undefined) {
    const near = nearest(operator, selectorOperators);
    refuse(
      at(place, "operator"),
      "POLICY_OPERATOR",
      `${shown(operator)} is not an operator`,
      near === null ? `write one of ${selectorOperators.join(", ")}` : `did you mean ${near}?`,
    );
    return null;
  }
  const valuesPlace = at(place, "values");
  const values =
    readEach(fields.values, valuesPlace, (entry, entryPlace) => {
      const text = readText(entry, entryPlace);
      return text !== null && checkValue(text, entryPlace) ? text : null;
    }) ?? [];
  const wantsValues = known === "In" || known === "NotIn";
  if (wantsValues !== values.length > 0) {
    const message = wantsValues ? `${known} needs at least one value` : `${known} takes no values`;
    refuse(valuesPlace, "POLICY_VALUES", message, wantsValues ? "write values: [...]" : "remove the values");
    return null;
  }
  return key === null ? null : requirement(key, known, values);
}

function readKey(key: string, place: Place, keys: KeyReading): string | null {
  const pattern = keys.pattern === "kubernetes" ? keyPattern : sourcedPattern;
  if (pattern.test(key) && key.length <= 380) return keys.translate(key);
  refuse(
    place,
    "POLICY_LABEL",
    `${shown(key)} is not a label key`,
    "a key is letters, digits, - _ . with an optional DNS prefix and /",
  );
  return null;
}

function checkValue(value: string, place: Place): boolean {
  if (valuePattern.test(value)) return true;
  refuse(
    place,
    "POLICY_LABEL",
    `${shown(value)} is not a label value`,
    "a value is up to 63 letters, digits, - _ . and begins and ends with a letter or digit",
  );
  return false;
}
