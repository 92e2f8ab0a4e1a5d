/**
 * What has only owners that are gone goes, too; and what waits in the deletion of an owner: dependents that go first (foregroundDeletion),
 * or that lose it and stay (orphan).
 */
import { type JsonObject, listAt, objectAt, textAt, withAt } from "../json.ts";
import type { Cluster } from "./cluster.ts";
import type { Controller } from "./manager.ts";
import { isEnding, ownersOf, uidOf } from "./owned.ts";

interface Entry {
  readonly storage: string;
  readonly object: JsonObject;
}

export const garbage: Controller = {
  name: "garbagecollector",
  watches: ["*"],
  sync: (cluster) => {
    const storages = [...new Set(cluster.storages().map(({ storage }) => storage))];
    const entries = storages.flatMap((storage) => cluster.all(storage).map((object) => ({ storage, object })));
    const uids = new Set(entries.map(({ object }) => uidOf(object)));
    const ending = new Map(
      entries.filter(({ object }) => isEnding(object)).map((entry) => [uidOf(entry.object), entry]),
    );
    for (const entry of ending.values()) if (waitsFor(entry.object, "orphan")) orphan(cluster, entries, entry);
    for (const { storage, object } of entries) {
      const owners = ownersOf(object);
      if (owners.length === 0 || isEnding(object)) continue;
      const lives = (owner: JsonObject) => {
        const uid = textAt(owner, "uid");
        const end = ending.get(uid);
        return uids.has(uid) && !(end !== undefined && waitsFor(end.object, "foregroundDeletion"));
      };
      if (!owners.some(lives)) cluster.delete(storage, object);
    }
    for (const entry of ending.values()) {
      if (waitsFor(entry.object, "foregroundDeletion") && dependents(entries, entry.object).length === 0)
        release(cluster, entry, "foregroundDeletion");
    }
  },
};

function waitsFor(object: JsonObject, finalizer: string): boolean {
  return listAt(object, "metadata", "finalizers").includes(finalizer);
}

function dependents(entries: readonly Entry[], owner: JsonObject): readonly Entry[] {
  return entries.filter(({ object }) => ownersOf(object).some((each) => textAt(each, "uid") === uidOf(owner)));
}

function orphan(cluster: Cluster, entries: readonly Entry[], owner: Entry): void {
  for (const { storage, object } of dependents(entries, owner.object)) {
    const left = ownersOf(object).filter((each) => textAt(each, "uid") !== uidOf(owner.object));
    cluster.update(storage, withAt(object, ["metadata", "ownerReferences"], left));
  }
  release(cluster, owner, "orphan");
}

function release(cluster: Cluster, { storage, object }: Entry, finalizer: string): void {
  const finalizers = listAt(object, "metadata", "finalizers").filter((each) => each !== finalizer);
  cluster.update(storage, { ...object, metadata: { ...objectAt(object, "metadata"), finalizers } });
}
