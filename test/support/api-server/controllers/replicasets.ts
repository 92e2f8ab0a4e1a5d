/** As many pods of a ReplicaSet's template as it says. */
import { at, type JsonObject, objectAt, textAt } from "../json.ts";
import type { Cluster } from "./cluster.ts";
import type { Controller } from "./manager.ts";
import { controlledBy, controllerOf, holds, isEnding, labelsOf, nameOf, namespaceOf, selects, uidOf } from "./owned.ts";

const storage = "replicasets.apps";

export const replicaSets: Controller = {
  name: "replicaset",
  watches: [storage, "pods"],
  sync: (cluster) => {
    for (const set of cluster.all(storage)) if (!isEnding(set)) syncOne(cluster, set);
  },
};

export function isEnded(pod: JsonObject): boolean {
  return ["Succeeded", "Failed"].includes(textAt(pod, "status", "phase"));
}

function syncOne(cluster: Cluster, set: JsonObject): void {
  const selector = objectAt(set, "spec", "selector");
  const own = cluster
    .all("pods")
    .filter((pod) => controllerOf(pod) === uidOf(set) && selects(selector, labelsOf(pod)) && !isEnded(pod));
  const pods = own.filter((pod) => !isEnding(pod));
  const wanted = Number(at(set, "spec", "replicas") ?? 1);
  for (let count = pods.length; count < wanted; count++) cluster.create("pods", podOf(set));
  for (const pod of [...pods].sort(byWorth).slice(0, Math.max(0, pods.length - wanted))) cluster.delete("pods", pod);
  const ready = pods.filter((pod) => holds(pod, "Ready")).length;
  cluster.updateStatus(storage, set, {
    replicas: pods.length,
    fullyLabeledReplicas: pods.length,
    readyReplicas: ready,
    availableReplicas: ready,
    observedGeneration: Number(at(set, "metadata", "generation") ?? 0),
  });
}

function podOf(set: JsonObject): JsonObject {
  const template = objectAt(set, "spec", "template");
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      ...objectAt(template, "metadata"),
      generateName: `${nameOf(set)}-`,
      namespace: namespaceOf(set),
      ownerReferences: [controlledBy("ReplicaSet", "apps/v1", set)],
    },
    spec: objectAt(template, "spec"),
  };
}

/** Those that one can do without come first: without a node, not ready, young. */
function byWorth(a: JsonObject, b: JsonObject): number {
  const rank = (pod: JsonObject) => (textAt(pod, "spec", "nodeName") === "" ? 0 : holds(pod, "Ready") ? 2 : 1);
  const age = (pod: JsonObject) => Date.parse(textAt(pod, "metadata", "creationTimestamp"));
  return rank(a) - rank(b) || age(b) - age(a);
}
