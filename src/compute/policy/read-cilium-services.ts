/** Entries of `toServices`. */
import { fieldNames } from "../../lib/schema.ts";
import { makeSelector } from "../../model/labels.ts";
import { serviceNameSchema, serviceSchema, serviceSelectorSchema } from "./cilium-schema.ts";
import { at, type Place, readFields, readText, refuse } from "./fields.ts";
import { plainKeys, readSelector } from "./read-selector.ts";
import type { Peer } from "./rules.ts";

/** A service without a namespace is looked for in the policy's own. */
export function readServicePeer(value: unknown, place: Place, namespace: string | null): Peer | null {
  const fields = readFields(value, place, fieldNames(serviceSchema));
  if (fields === null) {
    if (value === null) refuse(place, "POLICY_TYPE", "the entry is empty", "write k8sService or k8sServiceSelector");
    return null;
  }
  const byName = readFields(fields.k8sService, at(place, "k8sService"), fieldNames(serviceNameSchema));
  const selectorPlace = at(place, "k8sServiceSelector");
  const bySelector = readFields(fields.k8sServiceSelector, selectorPlace, fieldNames(serviceSelectorSchema));
  if ((byName === null) === (bySelector === null)) {
    const message = byName === null ? "no service is named" : "k8sService and k8sServiceSelector in one entry";
    refuse(place, byName === null ? "POLICY_MISSING" : "POLICY_COMBINED", message, "write one of both");
    return null;
  }
  if (byName !== null) {
    const servicePlace = at(place, "k8sService");
    const name = readText(byName.serviceName, at(servicePlace, "serviceName")) ?? "";
    const within = readText(byName.namespace, at(servicePlace, "namespace")) || namespace;
    if (name === "") refuse(at(servicePlace, "serviceName"), "POLICY_MISSING", "there is no name", "write serviceName");
    if (within === null) {
      const remedy = "a clusterwide policy has no namespace of its own: write namespace";
      refuse(at(servicePlace, "namespace"), "POLICY_MISSING", "there is no namespace", remedy);
    }
    return { kind: "service", namespace: within, name, selector: makeSelector([]) };
  }
  const selector = readSelector(bySelector?.selector, at(selectorPlace, "selector"), plainKeys);
  if (selector === null) {
    refuse(at(selectorPlace, "selector"), "POLICY_MISSING", "there is no selector", "write selector: {matchLabels: …}");
    return null;
  }
  const within = readText(bySelector?.namespace, at(selectorPlace, "namespace")) || namespace;
  return { kind: "service", namespace: within, name: null, selector };
}
