/** What all objects have: kind, name, labels. */
import type { Labels } from "../../model/labels.ts";
import {
  at,
  type Fields,
  isAbsent,
  type Place,
  readFields,
  readInteger,
  readLabels,
  readText,
  refuse,
  shown,
} from "./read-values.ts";

export interface Metadata {
  readonly name: string;
  /** Of a namespaced object: "default" where it says nothing; "" of others. */
  readonly namespace: string;
  readonly uid: string;
  readonly generation: number;
  readonly labels: Labels;
  /** It is being deleted. */
  readonly deleting: boolean;
}

/** ObjectMeta of meta/v1. */
const known: ReadonlySet<string> = new Set([
  "annotations",
  "creationTimestamp",
  "deletionGracePeriodSeconds",
  "deletionTimestamp",
  "finalizers",
  "generateName",
  "generation",
  "labels",
  "managedFields",
  "name",
  "namespace",
  "ownerReferences",
  "resourceVersion",
  "selfLink",
  "uid",
]);

/** RFC 1123 names, as Kubernetes demands them of all kinds that are read here. */
const subdomain = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;
const label = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** Name and namespace as far as they can be used, so that problems name the object whatever else is wrong with it. */
export function nameOf(
  object: Fields,
  namespaced: boolean,
): { readonly namespace: string; readonly name: string } | null {
  const { metadata } = object;
  if (typeof metadata !== "object" || metadata === null) return null;
  const { name, namespace } = metadata as Fields;
  if (typeof name !== "string" || !subdomain.test(name)) return null;
  if (!namespaced) return { namespace: "", name };
  if (isAbsent(namespace) || namespace === "") return { namespace: "default", name };
  return typeof namespace === "string" && label.test(namespace) ? { namespace, name } : null;
}

export function readMetadata(value: unknown, place: Place, namespaced: boolean): Metadata {
  const fields = readFields(value, place, known);
  const name = readName(fields.name, at(place, "name"), subdomain) ?? "";
  if (isAbsent(fields.name)) {
    refuse(at(place, "name"), "MANIFEST_MISSING", "the object has no name", "write metadata.name");
  }
  const namespace = namespaced ? readName(fields.namespace || null, at(place, "namespace"), label) : null;
  return {
    name,
    namespace: namespaced ? (namespace ?? "default") : "",
    uid: readText(fields.uid, at(place, "uid")) ?? "",
    generation: readInteger(fields.generation, at(place, "generation"), 0, Number.MAX_SAFE_INTEGER) ?? 0,
    labels: readLabels(fields.labels, at(place, "labels")),
    deleting: !isAbsent(fields.deletionTimestamp),
  };
}

function readName(value: unknown, place: Place, pattern: RegExp): string | null {
  const text = readText(value, place);
  if (text === null || pattern.test(text)) return text;
  const remedy = "write lower case letters, digits and '-', beginning and ending with a letter or digit";
  refuse(place, "MANIFEST_NAME", `${shown(text)} is not a name that Kubernetes takes`, remedy);
  return null;
}
