/**
 * What etcd is to an API server: every write has a revision of its own in one row for all kinds, and what was before can be asked for
 * until it is compacted. Watches are told of each change, and can be told later of those since a revision: for as long as the
 * window of changes reaches (the watch cache), which may be shorter than what lists can still see.
 */
import { type JsonObject, objectAt } from "./json.ts";

export type ChangeType = "ADDED" | "MODIFIED" | "DELETED";

export interface Change {
  readonly revision: number;
  readonly type: ChangeType;
  /** The kind: Resource.storage. */
  readonly storage: string;
  /** "namespace/name", or "name". */
  readonly key: string;
  /** As it is from this revision on; for DELETED as it last was, with this revision. */
  readonly object: JsonObject;
  readonly previous: JsonObject | null;
}

/** A copy of everything at a moment, as a backup of etcd is one. */
export interface Snapshot {
  readonly revision: number;
  readonly kinds: ReadonlyMap<string, ReadonlyMap<string, JsonObject>>;
}

export type ChangeListener = (change: Change) => void;

const nothing: ReadonlyMap<string, JsonObject> = new Map();

export class Store {
  readonly #kinds = new Map<string, Map<string, JsonObject>>();
  readonly #listeners = new Map<string, Set<ChangeListener>>();
  readonly #followers = new Set<ChangeListener>();
  readonly #historyLimit: number;
  #log: Change[] = [];
  #revision = 1;
  /** What was at older revisions is forgotten. */
  #compacted = 0;
  /** Changes up to here are not told to watches any more; by kind where that is more than for all. */
  #watchFloor = 0;
  readonly #watchFloors = new Map<string, number>();
  readonly #lastChange = new Map<string, number>();

  /** @param historyLimit changes that are kept before the older ones are compacted */
  constructor(historyLimit: number) {
    this.#historyLimit = historyLimit;
  }

  get revision(): number {
    return this.#revision;
  }

  get compacted(): number {
    return this.#compacted;
  }

  /** The oldest revision that a watch of this kind can start from. */
  watchFloor(storage: string): number {
    return Math.max(this.#compacted, this.#watchFloor, this.#watchFloors.get(storage) ?? 0);
  }

  /** The revision of the last change of this kind; the floor of its watches if there was none since. */
  lastChange(storage: string): number {
    return Math.max(this.#lastChange.get(storage) ?? 0, this.watchFloor(storage));
  }

  objects(storage: string): ReadonlyMap<string, JsonObject> {
    return this.#kinds.get(storage) ?? nothing;
  }

  get(storage: string, key: string): JsonObject | null {
    return this.objects(storage).get(key) ?? null;
  }

  /** What was there at a revision that is not compacted. */
  objectsAt(storage: string, revision: number): ReadonlyMap<string, JsonObject> {
    const objects = new Map(this.objects(storage));
    for (let index = this.#log.length - 1; index >= 0; index--) {
      const change = this.#log[index];
      if (change === undefined || change.revision <= revision) break;
      if (change.storage !== storage) continue;
      if (change.previous === null) objects.delete(change.key);
      else objects.set(change.key, change.previous);
    }
    return objects;
  }

  /** Oldest first. */
  changesSince(storage: string, revision: number): readonly Change[] {
    let first = this.#log.length;
    while (first > 0 && (this.#log[first - 1]?.revision ?? 0) > revision) first--;
    return this.#log.slice(first).filter((change) => change.storage === storage);
  }

  /** Writes an object, new or not, and returns it with its revision. */
  put(storage: string, key: string, object: JsonObject): JsonObject {
    const previous = this.get(storage, key);
    return this.#commit(previous === null ? "ADDED" : "MODIFIED", storage, key, object, previous);
  }

  /** @returns as it last was, with the revision of its end; null if there was none */
  remove(storage: string, key: string): JsonObject | null {
    const previous = this.get(storage, key);
    return previous === null ? null : this.#commit("DELETED", storage, key, previous, previous);
  }

  /** Forgets what was before a revision: lists at older ones and watches from them are refused. */
  compact(revision = this.#revision): void {
    this.#compacted = Math.max(this.#compacted, Math.min(revision, this.#revision));
    this.#log = this.#log.filter((change) => change.revision > this.#compacted);
  }

  /** Empties the watch cache, of one kind or of all: watches from before now are refused, lists are not. */
  forgetChanges(storage?: string): void {
    if (storage === undefined) this.#watchFloor = this.#revision;
    else this.#watchFloors.set(storage, this.#revision);
  }

  snapshot(): Snapshot {
    return {
      revision: this.#revision,
      kinds: new Map([...this.#kinds].map(([storage, objects]) => [storage, new Map(objects)])),
    };
  }

  /** Goes back to a snapshot, revisions too. Nobody is told: it is for a server that is down. */
  restore({ revision, kinds }: Snapshot): void {
    this.#kinds.clear();
    for (const [storage, objects] of kinds) this.#kinds.set(storage, new Map(objects));
    this.#revision = revision;
    this.#compacted = revision;
    this.#watchFloor = revision;
    this.#watchFloors.clear();
    this.#lastChange.clear();
    this.#log = [];
  }

  /** @returns ends it */
  subscribe(storage: string, listener: ChangeListener): () => void {
    const listeners = this.#listeners.get(storage) ?? new Set();
    this.#listeners.set(storage, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /** Is told of the changes of every kind. @returns ends it */
  follow(listener: ChangeListener): () => void {
    this.#followers.add(listener);
    return () => void this.#followers.delete(listener);
  }

  #commit(type: ChangeType, storage: string, key: string, next: JsonObject, previous: JsonObject | null): JsonObject {
    const revision = ++this.#revision;
    const object = { ...next, metadata: { ...objectAt(next, "metadata"), resourceVersion: String(revision) } };
    const objects = this.#kinds.get(storage) ?? new Map<string, JsonObject>();
    this.#kinds.set(storage, objects);
    if (type === "DELETED") objects.delete(key);
    else objects.set(key, object);
    const change: Change = { revision, type, storage, key, object, previous };
    this.#log.push(change);
    this.#lastChange.set(storage, revision);
    // In large steps, so that a write costs the same however long the history is.
    if (this.#log.length > this.#historyLimit * 1.5)
      this.compact(this.#log[this.#log.length - this.#historyLimit]?.revision);
    for (const listener of [...(this.#listeners.get(storage) ?? []), ...this.#followers]) listener(change);
    return object;
  }
}
