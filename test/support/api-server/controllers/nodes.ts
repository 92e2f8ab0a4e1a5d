/** What nodes that are not there, or not ready, mean for pods: their taint, and the end of pods that no kubelet will end. */
import { at, type JsonObject, listAt, textAt, withAt } from "../json.ts";
import type { Controller } from "./manager.ts";
import { holds, isEnding } from "./owned.ts";

const notReady = "node.kubernetes.io/not-ready";

/** Pods are not evicted from nodes that fall silent. */
export const nodeTaints: Controller = {
  name: "nodelifecycle",
  watches: ["nodes"],
  sync: (cluster) => {
    for (const node of cluster.all("nodes")) {
      const taints = listAt(node, "spec", "taints");
      const others = taints.filter((taint) => at(taint, "key") !== notReady);
      const wanted = holds(node, "Ready") ? others : [...others, { key: notReady, effect: "NoSchedule" }];
      if (wanted.length !== taints.length) cluster.update("nodes", withAt(node, ["spec", "taints"], wanted));
    }
  },
};

export const podGarbage: Controller = {
  name: "podgc",
  watches: ["pods", "nodes"],
  sync: (cluster) => {
    for (const pod of cluster.all("pods")) {
      const node = textAt(pod, "spec", "nodeName");
      const isLost = node !== "" && cluster.get("nodes", null, node) === null;
      if (isLost || (isEnding(pod) && node === "")) cluster.delete("pods", pod, atOnce);
    }
  },
};

const atOnce: JsonObject = { gracePeriodSeconds: 0 };
