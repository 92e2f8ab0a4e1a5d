/** labelSelector and fieldSelector as predicates over objects. */
import { badRequest } from "./failure.ts";
import { at, type JsonObject, objectAt, own } from "./json.ts";
import type { Resource } from "./resources.ts";

export type Selector = (object: JsonObject) => boolean;

const everything: Selector = () => true;

/** @throws ApiFailure 400 */
export function selectorOf(resource: Resource, query: URLSearchParams): Selector {
  const byLabel = labelSelector(query.get("labelSelector") ?? "");
  const byField = fieldSelector(resource, query.get("fieldSelector") ?? "");
  if (byLabel === everything) return byField;
  return byField === everything ? byLabel : (object) => byLabel(object) && byField(object);
}

export function labelSelector(text: string): Selector {
  const requirements = splitOutsideParentheses(text).map(labelRequirement);
  return requirements.length === 0
    ? everything
    : (object) => {
        const labels = objectAt(object, "metadata", "labels");
        return requirements.every((holds) => holds(labels));
      };
}

const name = "[A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?";
const setForm = new RegExp(`^(${name})\\s+(in|notin)\\s*\\(([^()]*)\\)$`);
const equalForm = new RegExp(`^(${name})\\s*(==|=|!=)\\s*(${name})?$`);
const existsForm = new RegExp(`^(!?)\\s*(${name})$`);

function labelRequirement(text: string): (labels: JsonObject) => boolean {
  const set = setForm.exec(text);
  if (set !== null) {
    const [, key = "", operator, list = ""] = set;
    const values = list.split(",").map((value) => value.trim());
    return (labels) => values.includes(String(own(labels, key) ?? "\u0000")) === (operator === "in");
  }
  const compared = equalForm.exec(text);
  if (compared !== null) {
    const [, key = "", operator, value = ""] = compared;
    return (labels) => (own(labels, key) === value) === (operator !== "!=");
  }
  const exists = existsForm.exec(text);
  if (exists !== null) {
    const [, not, key = ""] = exists;
    return (labels) => Object.hasOwn(labels, key) === (not === "");
  }
  throw badRequest(`unable to parse requirement: ${JSON.stringify(text)} is no requirement of a label`);
}

function splitOutsideParentheses(text: string): readonly string[] {
  return text.trim() === "" ? [] : text.split(/,(?![^(]*\))/).map((part) => part.trim());
}

function fieldSelector(resource: Resource, text: string): Selector {
  if (text === "") return everything;
  const known = ["metadata.name", "metadata.namespace", ...resource.selectable];
  const requirements = text.split(",").map((part) => {
    const match = /^([^=!]+)(==|=|!=)(.*)$/.exec(part);
    if (match === null) throw badRequest(`invalid selector: '${text}'; can't understand '${part}'`);
    const [, path = "", operator, value] = match;
    if (!known.includes(path)) {
      const list = known.map((field) => JSON.stringify(field)).join(", ");
      throw badRequest(`${JSON.stringify(path)} is not a known field selector: only ${list}`);
    }
    const fields = path.split(".");
    // A field that is not set is the empty text, and a flag that is not set is false.
    const missing = path === "spec.unschedulable" ? "false" : "";
    return (object: JsonObject) => (String(at(object, ...fields) ?? missing) === value) === (operator !== "!=");
  });
  return (object) => requirements.every((holds) => holds(object));
}
