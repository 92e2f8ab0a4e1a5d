/** What admission adds to pods and validation refuses of them. */
import { type Cause, forbidden, forbiddenValue, invalid, requiredValue } from "./failure.ts";
import { at, equal, isObject, type JsonObject, listAt, objectAt, omit, textAt, withAt } from "./json.ts";
import type { Admission } from "./rules.ts";
import type { Store } from "./store.ts";

const evictionTolerations = ["not-ready", "unreachable"].map((what) => ({
  key: `node.kubernetes.io/${what}`,
  operator: "Exists",
  effect: "NoExecute",
  tolerationSeconds: 300,
}));

/**
 * @param accounts null: pods need no service account, and get none
 * @throws ApiFailure 403, 422
 */
export function admitPod(accounts: Store | null, { resource, namespace, name, old, next }: Admission): JsonObject {
  const spec = filled(objectAt(next, "spec"), objectAt(old ?? undefined, "spec"));
  const causes = [...containerCauses(spec), ...(old === null ? [] : changes(old, { ...next, spec }))];
  if (old !== null) {
    if (causes.length > 0) throw invalid(resource, name, causes);
    return { ...next, spec };
  }
  const account = textAt(spec, "serviceAccountName") || (accounts === null ? "" : "default");
  // Pods that a kubelet makes of its own files have none.
  const isMirror = at(next, "metadata", "annotations", "kubernetes.io/config.mirror") !== undefined;
  if (!isMirror && accounts !== null && accounts.get("serviceaccounts", `${namespace}/${account}`) === null) {
    const why = `error looking up service account ${namespace}/${account}: serviceaccount "${account}" not found`;
    throw forbidden(resource, name, why);
  }
  if (causes.length > 0) throw invalid(resource, name, causes);
  const accountFields = account === "" ? {} : { serviceAccountName: account, serviceAccount: account };
  return withAt({ ...next, spec: { ...spec, ...accountFields } }, ["status", "qosClass"], qosClass(spec));
}

/** With what plug-ins of admission add at every write. */
function filled(spec: JsonObject, before: JsonObject): JsonObject {
  const tolerations = listAt(spec, "tolerations").filter(isObject);
  const lacking = evictionTolerations.filter(({ key }) => !tolerations.some((each) => tolerates(each, key)));
  return {
    ...spec,
    priority: spec.priority ?? before.priority ?? 0,
    preemptionPolicy: spec.preemptionPolicy ?? before.preemptionPolicy ?? "PreemptLowerPriority",
    tolerations: [...tolerations, ...lacking],
  };
}

function tolerates({ key = "", operator = "Equal", effect = "" }: JsonObject, taint: string): boolean {
  return (effect === "" || effect === "NoExecute") && (key === taint || (key === "" && operator === "Exists"));
}

function containerCauses(spec: JsonObject): readonly Cause[] {
  const containers = listAt(spec, "containers").filter(isObject);
  if (containers.length === 0) return [requiredValue("spec.containers")];
  return containers.flatMap((container, index) =>
    ["name", "image"].flatMap((field) =>
      textAt(container, field) === "" ? [requiredValue(`spec.containers[${index}].${field}`)] : [],
    ),
  );
}

/** Of a running pod only images, deadlines and additional tolerations may change. */
function changes(old: JsonObject, next: JsonObject): readonly Cause[] {
  for (const list of ["containers", "initContainers"]) {
    if (listAt(old, "spec", list).length !== listAt(next, "spec", list).length)
      return [forbiddenValue(`spec.${list}`, "pod updates may not add or remove containers")];
  }
  const fixed = ({ spec }: JsonObject) => {
    const content = omit(objectAt(spec), "activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations");
    const anyImage = (list: string) => listAt(content, list).map((each) => omit(objectAt(each), "image"));
    return { ...content, containers: anyImage("containers"), initContainers: anyImage("initContainers") };
  };
  const kept = listAt(old, "spec", "tolerations");
  const tolerations = listAt(next, "spec", "tolerations");
  const lost = kept.some((each) => !tolerations.some((other) => equal(each, other)));
  if (equal(fixed(old), fixed(next)) && !lost) return [];
  const message =
    "pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, " +
    "`spec.activeDeadlineSeconds` or `spec.tolerations` (only additions to existing tolerations)";
  return [forbiddenValue("spec", message)];
}

function qosClass(spec: JsonObject): string {
  const resources = listAt(spec, "containers").map((container) => objectAt(container, "resources"));
  const asks = (each: JsonObject) => Object.keys({ ...objectAt(each, "requests"), ...objectAt(each, "limits") });
  if (resources.every((each) => asks(each).length === 0)) return "BestEffort";
  const guaranteed = resources.every((each) => {
    const limits = objectAt(each, "limits");
    const full = ["cpu", "memory"].every((name) => limits[name] !== undefined);
    return full && equal(limits, { ...limits, ...objectAt(each, "requests") });
  });
  return guaranteed ? "Guaranteed" : "Burstable";
}
