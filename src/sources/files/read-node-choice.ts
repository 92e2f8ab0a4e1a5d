/**
 * Which nodes serve a service: Cilium's annotations `service.cilium.io/node-selector` (labels of nodes, as `kubectl get -l` takes them) and
 * `service.cilium.io/node` (the value of the nodes' label of that name), of which the first one counts where both are written.
 */
import { makeSelector, type Requirement, requirement, type Selector } from "../../model/labels.ts";
import type { Annotations } from "./read-service-annotations.ts";
import { at, isAbsent, shown, warn } from "./read-values.ts";

export const nodeAnnotation = "service.cilium.io/node";
export const nodeSelectorAnnotation = "service.cilium.io/node-selector";

const key = "(?:[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?";
const value = "(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?";
const exists = new RegExp(`^(!?)\\s*(${key})$`);
const equals = new RegExp(`^(${key})\\s*(==?|!=)\\s*(${value})$`);
const among = new RegExp(`^(${key})\\s+(in|notin)\\s*\\(([^()]*)\\)$`);
const oneValue = new RegExp(`^${value}$`);

/** undefined: all nodes, also where it cannot be understood: a service that a mistake takes off every node would be gone. */
export function readNodeChoice({ fields, place }: Annotations): Selector | undefined {
  const selector = fields[nodeSelectorAnnotation];
  if (!isAbsent(selector) && selector !== "") {
    const parsed = typeof selector === "string" ? parseSelector(selector) : null;
    if (parsed !== null) return parsed;
    const message = `${shown(selector)} is no selector of labels: the service is served on every node`;
    const remedy = "write key=value, key!=value, key in (a, b), key notin (a, b), key or !key, several with commas";
    warn(at(place, nodeSelectorAnnotation), "SERVICE_ANNOTATION", message, remedy);
    return undefined;
  }
  const name = fields[nodeAnnotation];
  if (isAbsent(name)) return undefined;
  if (typeof name === "string" && oneValue.test(name)) return makeSelector([requirement(nodeAnnotation, "In", [name])]);
  const message = `${shown(name)} is no value of a label: the service is served on every node`;
  warn(
    at(place, nodeAnnotation),
    "SERVICE_ANNOTATION",
    message,
    `write the value of the nodes' label ${nodeAnnotation}`,
  );
  return undefined;
}

/** The text form of a selector (apimachinery, labels.Parse), but for comparisons of numbers; null: it is none. */
function parseSelector(text: string): Selector | null {
  const requirements: Requirement[] = [];
  // Commas between values are in parentheses.
  for (const part of text.split(/,(?![^(]*\))/)) {
    const one = parseRequirement(part.trim());
    if (one === null) return null;
    requirements.push(one);
  }
  return makeSelector(requirements);
}

function parseRequirement(text: string): Requirement | null {
  const [, not, name] = exists.exec(text) ?? [];
  if (name !== undefined) return requirement(name, not === "!" ? "DoesNotExist" : "Exists");
  const [, left, sign, right = ""] = equals.exec(text) ?? [];
  if (left !== undefined) return requirement(left, sign === "!=" ? "NotIn" : "In", [right]);
  const [, of, operator, list = ""] = among.exec(text) ?? [];
  const values = list.split(",").map((each) => each.trim());
  if (of === undefined || !values.every((each) => oneValue.test(each))) return null;
  return requirement(of, operator === "in" ? "In" : "NotIn", values);
}
