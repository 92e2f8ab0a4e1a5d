/**
 * Label selectors of Cilium policies: keys may name a source, a subject never leaves its policy's namespace, and a peer does so only
 * where it says so.
 */
import { makeSelector, requirement, type Requirement, type Selector } from "../../model/labels.ts";
import { namespaceKey, namespaceLabelPrefix } from "../identity/labels.ts";
import { at, type Place, refuse, shown, warn } from "./fields.ts";
import { readEntity } from "./read-cilium-values.ts";
import { ciliumKeys, readSelector } from "./read-selector.ts";
import type { Entity, Peer } from "./rules.ts";

const reservedSource = "reserved:";

function read(value: unknown, place: Place): Selector | null {
  if (value === undefined || value === null) {
    refuse(place, "POLICY_TYPE", "the selector is empty", "write {} to select everything, or matchLabels");
    return null;
  }
  const selector = readSelector(value, place, ciliumKeys);
  for (const { key, operator } of selector?.requirements ?? []) {
    const source = /^[^:]+:/.exec(key)?.[0] ?? null;
    if (source === null || source === reservedSource || operator === "NotIn" || operator === "DoesNotExist") continue;
    const remedy = "pods have labels of the source k8s: only; leave the source out";
    warn(place, "POLICY_LABEL_SOURCE", `no pod has a label of the source ${source}, so this selects nothing`, remedy);
  }
  return selector;
}

function within(selector: Selector, namespace: string | null): Selector {
  if (namespace === null) return selector;
  return makeSelector([...selector.requirements, requirement(namespaceKey, "In", [namespace])]);
}

function leavesNamespace({ key }: Requirement): boolean {
  return key === namespaceKey || key.startsWith(namespaceLabelPrefix);
}

/** @param namespace of the policy; null: clusterwide */
export function readSubject(value: unknown, place: Place, namespace: string | null): Selector | null {
  const selector = read(namespace === null ? value : withoutNamespace(value, place, namespace), place);
  if (selector === null) return null;
  if (selector.requirements.some((each) => each.key.startsWith(reservedSource) && wantsKey(each))) {
    warn(
      place,
      "POLICY_RESERVED_SUBJECT",
      "no pod has a reserved label, so this policy selects nothing",
      "select pods",
    );
  }
  return within(selector, namespace);
}

/** A namespace among the matchLabels of a subject is no condition: it is the policy's, whatever is written. */
function withoutNamespace(value: unknown, place: Place, namespace: string): unknown {
  const labels = (value as { readonly matchLabels?: unknown } | null | undefined)?.matchLabels;
  if (typeof labels !== "object" || labels === null || Array.isArray(labels)) return value;
  const kept = Object.entries(labels).filter(([key, written]) => {
    if (ciliumKeys.translate(key) !== namespaceKey) return true;
    if (written !== namespace) {
      const message = `the policy selects in its own namespace ${namespace} only; ${shown(written)} is ignored`;
      warn(
        at(at(place, "matchLabels"), key),
        "POLICY_NAMESPACE",
        message,
        "remove the label, or use a clusterwide policy",
      );
    }
    return false;
  });
  return { ...(value as object), matchLabels: Object.fromEntries(kept) };
}

/** A condition on peers, with the scope that an endpoint peer would have. */
export function readRequirement(value: unknown, place: Place, namespace: string | null): Selector | null {
  const selector = read(value, place);
  if (selector === null) return null;
  return selector.requirements.some(leavesNamespace) ? selector : within(selector, namespace);
}

/** An entry of fromEndpoints or toEndpoints: pods, or the entity that a reserved label stands for. */
export function readEndpointPeer(value: unknown, place: Place, namespace: string | null): Peer | null {
  const selector = read(value, place);
  if (selector === null) return null;
  const reserved = selector.requirements.filter((each) => each.key.startsWith(reservedSource) && wantsKey(each));
  const [first] = reserved;
  if (first === undefined) {
    return {
      kind: "pods",
      selector: selector.requirements.some(leavesNamespace) ? selector : within(selector, namespace),
      narrowed: true,
    };
  }
  if (selector.requirements.length > 1) {
    refuse(place, "POLICY_COMBINED", "a reserved label beside another condition", "write an entry for each");
    return null;
  }
  // Reserved labels have no value.
  if (first.operator === "In" && !first.values.includes("")) {
    warn(
      place,
      "POLICY_RESERVED_VALUE",
      `${first.key} never has a value, so this selects nothing`,
      `write ${first.key}: ""`,
    );
    return { kind: "entity", entity: "none" };
  }
  const entity: Entity | null = readEntity(first.key.slice(reservedSource.length), place);
  return entity === null ? null : { kind: "entity", entity };
}

function wantsKey({ operator }: Requirement): boolean {
  return operator === "In" || operator === "Exists";
}
