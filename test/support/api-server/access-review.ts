/**
 * What somebody may, by the roles and bindings that are stored (authorization.k8s.io/v1 SubjectAccessReview). This server asks nobody for rights
 * itself; it tells what a server would do that does. Rules of aggregated roles and of paths that are no resources are not known here.
 */
import { ApiFailure } from "./failure.ts";
import { at, isObject, type Json, type JsonObject, listAt, objectAt, textAt } from "./json.ts";
import type { Written } from "./objects.ts";
import type { Store } from "./store.ts";

const reviews: Readonly<Record<string, string>> = {
  "/apis/authorization.k8s.io/v1/subjectaccessreviews": "SubjectAccessReview",
  "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews": "SelfSubjectAccessReview",
};

const rbac = "rbac.authorization.k8s.io";

/** The kind of review that is posted to this path; null for another path. */
export function reviewOf(path: string): string | null {
  return reviews[path] ?? null;
}

/** @throws ApiFailure 422 for a review that asks nothing about resources */
export function review(store: Store, kind: string, body: Json): Written {
  const spec = objectAt(body, "spec");
  const attributes = at(spec, "resourceAttributes");
  if (!isObject(attributes))
    throw new ApiFailure(422, "Invalid", `${kind}: spec.resourceAttributes: Required value`, {});
  // Whoever reaches this server is its administrator.
  const allowed = kind === "SelfSubjectAccessReview" || isAllowed(store, spec, attributes);
  const status = allowed ? { allowed } : { allowed, reason: "no role allows it" };
  return { code: 201, body: { kind, apiVersion: "authorization.k8s.io/v1", metadata: {}, spec, status } };
}

function isAllowed(store: Store, who: JsonObject, what: JsonObject): boolean {
  const groups = listAt(who, "groups");
  if (groups.includes("system:masters")) return true;
  const namespace = textAt(what, "namespace");
  const within = [...store.objects(`rolebindings.${rbac}`).values()].filter(
    (binding) => textAt(binding, "metadata", "namespace") === namespace,
  );
  return [...store.objects(`clusterrolebindings.${rbac}`).values(), ...within]
    .filter((binding) => listAt(binding, "subjects").some((subject) => isMeant(subject, who, binding)))
    .some((binding) => rulesOf(store, binding).some((rule) => permits(rule, what)));
}

function isMeant(subject: Json, who: JsonObject, binding: JsonObject): boolean {
  const name = textAt(subject, "name");
  switch (at(subject, "kind")) {
    case "Group":
      return listAt(who, "groups").includes(name);
    case "ServiceAccount": {
      const namespace = textAt(subject, "namespace") || textAt(binding, "metadata", "namespace");
      return textAt(who, "user") === `system:serviceaccount:${namespace}:${name}`;
    }
    default:
      return textAt(who, "user") === name;
  }
}

function rulesOf(store: Store, binding: JsonObject): readonly Json[] {
  const { kind, name } = objectAt(binding, "roleRef");
  const role =
    kind === "ClusterRole"
      ? store.get(`clusterroles.${rbac}`, String(name))
      : store.get(`roles.${rbac}`, `${textAt(binding, "metadata", "namespace")}/${String(name)}`);
  return listAt(role ?? undefined, "rules");
}

function permits(rule: Json, what: JsonObject): boolean {
  const has = (field: string, ...values: readonly string[]) =>
    listAt(rule, field).some((each) => each === "*" || values.includes(String(each)));
  const resource = textAt(what, "resource");
  const part = textAt(what, "subresource");
  const names = listAt(rule, "resourceNames");
  return (
    has("verbs", textAt(what, "verb")) &&
    has("apiGroups", textAt(what, "group")) &&
    has("resources", ...(part === "" ? [resource] : [`${resource}/${part}`, `*/${part}`])) &&
    (names.length === 0 || names.includes(textAt(what, "name")))
  );
}
