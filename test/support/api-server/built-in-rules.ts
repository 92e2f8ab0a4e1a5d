/** The rules of a whole API server for its built-in kinds. What they do not know of a kind they take. */
import { withDefaults } from "./defaults.ts";
import { forbidden, invalid, invalidValue, requiredValue } from "./failure.ts";
import { at, type JsonObject, listAt, objectAt, textAt, withAt } from "./json.ts";
import { admitPod } from "./pod-rules.ts";
import type { Admission, Rules } from "./rules.ts";
import { type ServiceRanges, withAddresses } from "./service-addresses.ts";
import type { Store } from "./store.ts";

export interface BuiltInRulesOptions {
  readonly ranges: ServiceRanges;
  /** Whether a controller does. */
  readonly collectsGarbage: boolean;
  /** Pods are given service accounts, and refused without; only where a controller makes them. */
  readonly accounts: boolean;
}

export class BuiltInRules implements Rules {
  readonly collectsGarbage: boolean;
  readonly #store: Store;
  readonly #options: BuiltInRulesOptions;

  constructor(store: Store, options: BuiltInRulesOptions) {
    this.#store = store;
    this.#options = options;
    this.collectsGarbage = options.collectsGarbage;
  }

  admit(admission: Admission): JsonObject {
    const store = this.#store;
    const { resource, namespace, name, old } = admission;
    const next = withDefaults(resource.storage, admission.next);
    if (old === null && namespace !== null) refuseEndingNamespace(store, admission, namespace);
    switch (resource.storage) {
      case "pods":
        return admitPod(this.#options.accounts ? store : null, { ...admission, next });
      case "nodes":
        return old === null ? withNotReadyTaint(next) : next;
      case "services": {
        const needsPorts = at(next, "spec", "type") !== "ExternalName" && textAt(next, "spec", "clusterIP") !== "None";
        if (needsPorts && listAt(next, "spec", "ports").length === 0)
          throw invalid(resource, name, [requiredValue("spec.ports")]);
        const others = [...store.objects("services")].filter(([key]) => key !== `${namespace}/${name}`);
        return withAddresses(
          resource,
          this.#options.ranges,
          old,
          next,
          others.map(([, other]) => other),
        );
      }
      case "deployments.apps":
      case "replicasets.apps":
        checkWorkload(admission, next);
        return next;
      default:
        return next;
    }
  }
}

function refuseEndingNamespace(store: Store, { resource, name }: Admission, namespace: string): void {
  if (at(store.get("namespaces", namespace) ?? undefined, "metadata", "deletionTimestamp") === undefined) return;
  const why = `unable to create new content in namespace ${namespace} because it is being terminated`;
  const cause = { reason: "NamespaceTerminating", message: `namespace ${namespace} is being terminated` };
  throw forbidden(resource, name, why, [{ ...cause, field: "metadata.namespace" }]);
}

/** Until the controller that watches nodes has seen it ready. */
function withNotReadyTaint(node: JsonObject): JsonObject {
  const taint = { key: "node.kubernetes.io/not-ready", effect: "NoSchedule" };
  const taints = listAt(node, "spec", "taints");
  const has = taints.some((each) => at(each, "key") === taint.key && at(each, "effect") === taint.effect);
  return has ? node : withAt(node, ["spec", "taints"], [...taints, taint]);
}

function checkWorkload({ resource, name, old }: Admission, next: JsonObject): void {
  const labels = objectAt(next, "spec", "selector", "matchLabels");
  const given = objectAt(next, "spec", "template", "metadata", "labels");
  const text = JSON.stringify(given);
  if (!Object.entries(labels).every(([key, value]) => given[key] === value)) {
    const why = "`selector` does not match template `labels`";
    throw invalid(resource, name, [invalidValue("spec.template.metadata.labels", text, why)]);
  }
  const before = old === null ? null : JSON.stringify(objectAt(old, "spec", "selector"));
  if (before !== null && before !== JSON.stringify(objectAt(next, "spec", "selector")))
    throw invalid(resource, name, [invalidValue("spec.selector", before, "field is immutable")]);
}
