/** Deletes what is in a namespace that is to go, and then the namespace. */
import type { Cluster } from "./cluster.ts";
import type { Controller } from "./manager.ts";
import { isEnding, nameOf, namespaceOf } from "./owned.ts";

export const namespaces: Controller = {
  name: "namespace",
  watches: ["*"],
  sync: (cluster) => {
    for (const namespace of cluster.all("namespaces")) if (isEnding(namespace)) empty(cluster, nameOf(namespace));
  },
};

function empty(cluster: Cluster, name: string): void {
  const content = () =>
    cluster
      .storages()
      .filter(({ namespaced }) => namespaced)
      .flatMap(({ storage }) =>
        cluster
          .all(storage)
          .filter((object) => namespaceOf(object) === name)
          .map((object) => ({ storage, object })),
      );
  for (const { storage, object } of content()) if (!isEnding(object)) cluster.delete(storage, object);
  const namespace = cluster.get("namespaces", null, name);
  // Pods on nodes take their time, and so does what has finalizers.
  if (content().length === 0 && namespace !== null) cluster.remove("namespaces", namespace);
}
