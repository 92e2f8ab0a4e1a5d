/** A ReplicaSet per template of a Deployment, and the way from one to the next (rolling, or all at once). */
import { createHash } from "node:crypto";
import { at, isObject, type Json, type JsonObject, listAt, objectAt, textAt, withAt } from "../json.ts";
import type { Cluster } from "./cluster.ts";
import type { Controller } from "./manager.ts";
import { controlledBy, controllerOf, isEnding, nameOf, namespaceOf, uidOf } from "./owned.ts";

const storage = "deployments.apps";
const sets = "replicasets.apps";
const hashLabel = "pod-template-hash";
const revisionAnnotation = "deployment.kubernetes.io/revision";

export const deployments: Controller = {
  name: "deployment",
  watches: [storage, sets],
  sync: (cluster, now) => {
    for (const deployment of cluster.all(storage)) if (!isEnding(deployment)) syncOne(cluster, deployment, now);
  },
};

function syncOne(cluster: Cluster, deployment: JsonObject, now: number): void {
  const hash = templateHash(deployment);
  const owned = cluster.all(sets).filter((set) => controllerOf(set) === uidOf(deployment));
  const current =
    owned.find((set) => textAt(set, "metadata", "labels", hashLabel) === hash) ??
    cluster.create(sets, setOf(deployment, hash, owned));
  if (current === null) return;
  const old = owned.filter((set) => set !== current);
  scale(cluster, deployment, current, old);
  writeStatus(cluster, deployment, current, old, now);
}

function templateHash(deployment: JsonObject): string {
  const text = JSON.stringify(at(deployment, "spec", "template") ?? null);
  return createHash("sha256").update(text).digest("hex").slice(0, 10);
}

function setOf(deployment: JsonObject, hash: string, before: readonly JsonObject[]): JsonObject {
  const template = objectAt(deployment, "spec", "template");
  const labels = { ...objectAt(template, "metadata", "labels"), [hashLabel]: hash };
  const selector = objectAt(deployment, "spec", "selector");
  const revisions = before.map((set) => Number(textAt(set, "metadata", "annotations", revisionAnnotation)));
  return {
    apiVersion: "apps/v1",
    kind: "ReplicaSet",
    metadata: {
      name: `${nameOf(deployment)}-${hash}`,
      namespace: namespaceOf(deployment),
      labels,
      annotations: { [revisionAnnotation]: String(Math.max(0, ...revisions) + 1) },
      ownerReferences: [controlledBy("Deployment", "apps/v1", deployment)],
    },
    spec: {
      replicas: 0,
      selector: withAt(selector, ["matchLabels", hashLabel], hash),
      template: withAt(template, ["metadata", "labels"], labels),
    },
  };
}

const wantedOf = (set: JsonObject) => Number(at(set, "spec", "replicas") ?? 0);
const statusOf = (set: JsonObject, field: string) => Number(at(set, "status", field) ?? 0);
const sum = (list: readonly JsonObject[], count: (set: JsonObject) => number) =>
  list.reduce((total, set) => total + count(set), 0);

function scale(cluster: Cluster, deployment: JsonObject, current: JsonObject, old: readonly JsonObject[]): void {
  const wanted = Number(at(deployment, "spec", "replicas") ?? 1);
  const strategy = objectAt(deployment, "spec", "strategy");
  const rolling = textAt(strategy, "type") !== "Recreate";
  const surge = rolling ? share(at(strategy, "rollingUpdate", "maxSurge"), wanted, Math.ceil) : 0;
  const missing = rolling ? share(at(strategy, "rollingUpdate", "maxUnavailable"), wanted, Math.floor) : wanted;
  const others = sum(old, (set) => Math.max(wantedOf(set), statusOf(set, "replicas")));
  // Both at zero would never get anywhere.
  const room = Math.max(wanted + (surge === 0 && missing === 0 ? 1 : surge) - others, 0);
  const next = rolling
    ? Math.min(wanted, Math.max(room, Math.min(wantedOf(current), wanted)))
    : others > 0
      ? 0
      : wanted;
  resize(cluster, current, next);
  let spare = rolling ? sum([current, ...old], lasting) - (wanted - missing) : Number.POSITIVE_INFINITY;
  for (const set of old) {
    const idle = Math.max(0, wantedOf(set) - lasting(set));
    const fewer = Math.min(wantedOf(set), idle + Math.max(0, spare));
    spare -= Math.max(0, fewer - idle);
    resize(cluster, set, wantedOf(set) - fewer);
  }
}

/** Available pods that a set is to keep: what it says of its pods may be from before it was made smaller. */
function lasting(set: JsonObject): number {
  return Math.min(statusOf(set, "availableReplicas"), wantedOf(set));
}

function share(value: Json | undefined, of: number, round: (count: number) => number): number {
  return typeof value === "string" ? round((Number(value.replace("%", "")) * of) / 100) : Number(value ?? 0);
}

function resize(cluster: Cluster, set: JsonObject, replicas: number): void {
  if (wantedOf(set) !== replicas) cluster.update(sets, withAt(set, ["spec", "replicas"], replicas));
}

function writeStatus(
  cluster: Cluster,
  deployment: JsonObject,
  current: JsonObject,
  old: readonly JsonObject[],
  now: number,
): void {
  const wanted = Number(at(deployment, "spec", "replicas") ?? 1);
  const fresh = cluster.all(sets).filter((set) => controllerOf(set) === uidOf(deployment));
  const updated = fresh.filter((set) => uidOf(set) === uidOf(current));
  const available = sum(fresh, (set) => statusOf(set, "availableReplicas"));
  const missing = share(at(deployment, "spec", "strategy", "rollingUpdate", "maxUnavailable"), wanted, Math.floor);
  const enough = available >= wanted - missing;
  const done = sum(updated, (set) => statusOf(set, "availableReplicas")) === wanted && sum(old, wantedOf) === 0;
  cluster.updateStatus(storage, deployment, {
    observedGeneration: Number(at(deployment, "metadata", "generation") ?? 0),
    replicas: sum(fresh, (set) => statusOf(set, "replicas")),
    updatedReplicas: sum(updated, (set) => statusOf(set, "replicas")),
    readyReplicas: sum(fresh, (set) => statusOf(set, "readyReplicas")),
    availableReplicas: available,
    unavailableReplicas: Math.max(0, wanted - available),
    conditions: [
      condition(
        deployment,
        "Available",
        enough,
        enough ? "MinimumReplicasAvailable" : "MinimumReplicasUnavailable",
        now,
      ),
      condition(deployment, "Progressing", true, done ? "NewReplicaSetAvailable" : "ReplicaSetUpdated", now),
    ],
  });
}

/** With the time of the last change, so that what did not change writes nothing. */
function condition(deployment: JsonObject, type: string, is: boolean, reason: string, now: number): JsonObject {
  const status = is ? "True" : "False";
  const before = listAt(deployment, "status", "conditions")
    .filter(isObject)
    .find((each) => each.type === type);
  if (before !== undefined && before.status === status && before.reason === reason) return before;
  const time = `${new Date(now).toISOString().slice(0, 19)}Z`;
  return { type, status, reason, message: "", lastUpdateTime: time, lastTransitionTime: time };
}
