/** What is served: the built-in kinds as a table, and those that CustomResourceDefinitions in the store add. */
import { at, isObject, type Json, type JsonObject, listAt, objectAt, textAt } from "./json.ts";
import type { Store } from "./store.ts";

export interface Resource {
  /** "" is the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly listKind: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly namespaced: boolean;
  /** Where its objects are: all versions of a custom kind share them. */
  readonly storage: string;
  /** Has a status that only its subresource changes. */
  readonly status: boolean;
  /** metadata.generation counts the changes of what is not status or metadata. */
  readonly generation: boolean;
  /** Updates need no resourceVersion. */
  readonly unconditionalUpdate: boolean;
  /** PUT makes what is not there. */
  readonly createOnUpdate: boolean;
  /** DELETE answers with the object and not with a Status. */
  readonly returnsDeleted: boolean;
  /** For fieldSelector, besides metadata.name and metadata.namespace. */
  readonly selectable: readonly string[];
  readonly custom: CustomVersion | null;
}

/** A served version of a custom kind. */
export interface CustomVersion {
  readonly definition: string;
  readonly schema: JsonObject | null;
}

export const definitionsStorage = "customresourcedefinitions.apiextensions.k8s.io";

type Flag = "cluster" | "status" | "generation" | "needsVersion" | "createOnUpdate" | "returnsDeleted";

interface Extra {
  readonly short?: readonly string[];
  readonly selectable?: readonly string[];
  readonly categories?: readonly string[];
}

function builtIn(
  apiVersion: string,
  plural: string,
  kind: string,
  flags: readonly Flag[],
  extra: Extra = {},
): Resource {
  const slash = apiVersion.indexOf("/");
  const group = slash < 0 ? "" : apiVersion.slice(0, slash);
  return {
    group,
    version: apiVersion.slice(slash + 1),
    plural,
    singular: kind.toLowerCase(),
    kind,
    listKind: `${kind}List`,
    shortNames: extra.short ?? [],
    categories: extra.categories ?? [],
    namespaced: !flags.includes("cluster"),
    storage: group === "" ? plural : `${plural}.${group}`,
    status: flags.includes("status"),
    generation: flags.includes("generation"),
    unconditionalUpdate: !flags.includes("needsVersion"),
    createOnUpdate: flags.includes("createOnUpdate"),
    returnsDeleted: flags.includes("returnsDeleted"),
    selectable: extra.selectable ?? [],
    custom: null,
  };
}

const all = ["all"];
const eventFields = ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"].map(
  (field) => `involvedObject.${field}`,
);
const podFields = [
  "spec.nodeName",
  "spec.restartPolicy",
  "spec.schedulerName",
  "spec.serviceAccountName",
  "status.phase",
  "status.podIP",
  "status.nominatedNodeName",
];

const builtIns: readonly Resource[] = [
  builtIn("v1", "namespaces", "Namespace", ["cluster", "status"], { short: ["ns"], selectable: ["status.phase"] }),
  builtIn("v1", "nodes", "Node", ["cluster", "status"], { short: ["no"], selectable: ["spec.unschedulable"] }),
  builtIn("v1", "pods", "Pod", ["status", "returnsDeleted"], {
    short: ["po"],
    categories: all,
    selectable: podFields,
  }),
  builtIn("v1", "services", "Service", ["status"], { short: ["svc"], categories: all }),
  builtIn("v1", "endpoints", "Endpoints", ["createOnUpdate"], { short: ["ep"] }),
  builtIn("v1", "events", "Event", ["createOnUpdate"], {
    short: ["ev"],
    selectable: [...eventFields, "reason", "type"],
  }),
  builtIn("v1", "configmaps", "ConfigMap", [], { short: ["cm"] }),
  builtIn("v1", "secrets", "Secret", [], { selectable: ["type"] }),
  builtIn("v1", "serviceaccounts", "ServiceAccount", ["returnsDeleted"], { short: ["sa"] }),
  builtIn("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", ["generation"]),
  builtIn("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", ["generation"], { short: ["netpol"] }),
  builtIn("coordination.k8s.io/v1", "leases", "Lease", ["needsVersion", "createOnUpdate"]),
  builtIn("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", ["status", "generation", "needsVersion"], {
    short: ["pdb"],
  }),
  builtIn("apps/v1", "daemonsets", "DaemonSet", ["status", "generation"], { short: ["ds"], categories: all }),
  builtIn("apps/v1", "replicasets", "ReplicaSet", ["status", "generation"], { short: ["rs"], categories: all }),
  builtIn("apps/v1", "deployments", "Deployment", ["status", "generation"], { short: ["deploy"], categories: all }),
  builtIn("rbac.authorization.k8s.io/v1", "roles", "Role", []),
  builtIn("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding", []),
  builtIn("rbac.authorization.k8s.io/v1", "clusterroles", "ClusterRole", ["cluster"]),
  builtIn("rbac.authorization.k8s.io/v1", "clusterrolebindings", "ClusterRoleBinding", ["cluster"]),
  builtIn("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", ["cluster"], { short: ["pc"] }),
  builtIn(
    "apiextensions.k8s.io/v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    ["cluster", "status", "generation", "needsVersion"],
    { short: ["crd", "crds"], categories: ["api-extensions"] },
  ),
];

/** The kinds that are served now. */
export class Resources {
  readonly #store: Store;
  readonly #without: ReadonlySet<string>;
  readonly #versions = new WeakMap<JsonObject, readonly Resource[]>();

  /** @param without built-in kinds that this server does not know, "poddisruptionbudgets.policy" */
  constructor(store: Store, without: readonly string[]) {
    this.#store = store;
    this.#without = new Set(without);
  }

  all(): readonly Resource[] {
    const custom = [...this.#store.objects(definitionsStorage).values()].flatMap((crd) => this.#served(crd));
    return [...builtIns.filter(({ storage }) => !this.#without.has(storage)), ...custom];
  }

  find(group: string, version: string, plural: string): Resource | null {
    return this.all().find((r) => r.plural === plural && r.group === group && r.version === version) ?? null;
  }

  /** @throws RangeError when there is none; only for kinds that this code itself names */
  builtIn(storage: string): Resource {
    const found = builtIns.find((resource) => resource.storage === storage);
    if (found === undefined) throw new RangeError(`there is no built-in kind ${storage}`);
    return found;
  }

  #served(definition: JsonObject): readonly Resource[] {
    const known = this.#versions.get(definition);
    if (known !== undefined) return known;
    const served = isEstablished(definition) ? customVersions(definition) : [];
    this.#versions.set(definition, served);
    return served;
  }
}

export function isEstablished(definition: JsonObject): boolean {
  return listAt(definition, "status", "conditions").some(
    (condition) => at(condition, "type") === "Established" && at(condition, "status") === "True",
  );
}

function customVersions(definition: JsonObject): readonly Resource[] {
  const names = objectAt(definition, "spec", "names");
  const kind = textAt(names, "kind");
  const definitionName = textAt(definition, "metadata", "name");
  return listAt(definition, "spec", "versions")
    .filter((version) => at(version, "served") === true)
    .map((version) => ({
      group: textAt(definition, "spec", "group"),
      version: textAt(version, "name"),
      plural: textAt(names, "plural"),
      singular: textAt(names, "singular"),
      kind,
      listKind: textAt(names, "listKind"),
      shortNames: texts(at(names, "shortNames")),
      categories: texts(at(names, "categories")),
      namespaced: at(definition, "spec", "scope") === "Namespaced",
      storage: definitionName,
      status: isObject(at(version, "subresources", "status")),
      generation: true,
      unconditionalUpdate: false,
      createOnUpdate: false,
      returnsDeleted: false,
      selectable: listAt(version, "selectableFields").map((field) => textAt(field, "jsonPath").replace(/^\./, "")),
      custom: { definition: definitionName, schema: schemaOf(version) },
    }));
}

function schemaOf(version: Json): JsonObject | null {
  const schema = at(version, "schema", "openAPIV3Schema");
  return isObject(schema) ? schema : null;
}

function texts(value: Json | undefined): readonly string[] {
  return Array.isArray(value) ? value.filter((text) => typeof text === "string") : [];
}

export function apiVersionOf({ group, version }: Pick<Resource, "group" | "version">): string {
  return group === "" ? version : `${group}/${version}`;
}
