/**
 * What the sink of a reflector has been told: the version of each object, so that lists and events become what really changed. Rows are
 * not kept here, the sink has them.
 *
 * Nothing counts as told before the sink has taken it: see `commit`.
 */
import { isOlder, type KubeObject, objectKey, type WatchEvent } from "./objects.ts";

/** Changes of one kind's objects, each key at most once. Keys are "namespace/name". */
export interface Batch<R> {
  readonly added: readonly (readonly [string, R])[];
  /** Its name may stand for another object than before, that was made anew. */
  readonly updated: readonly (readonly [string, R])[];
  readonly deleted: readonly string[];
}

/** What is kept of an object; null: this one is not wanted. */
export type Projection<R> = (object: KubeObject) => R | null;

export interface LedgerCounts {
  /** Events about an older version than the known one: left out. */
  outOfOrder: number;
  /** Objects that the projection failed on: what was known of them stays. */
  rejected: number;
}

/** An object that is there, but of an unknown version: whatever comes next is news. */
const unknownVersion = "";

export class Ledger<R> {
  readonly #project: Projection<R>;
  readonly #onRejected: (key: string, error: unknown) => void;
  readonly #versions = new Map<string, string>();
  readonly counts: LedgerCounts = { outOfOrder: 0, rejected: 0 };

  constructor(project: Projection<R>, onRejected: (key: string, error: unknown) => void) {
    this.#project = project;
    this.#onRejected = onRejected;
  }

  get size(): number {
    return this.#versions.size;
  }

  /** Collects a list; what it lacks is gone. */
  beginList(): ListTake<R> {
    const versions = new Map<string, string>();
    const added: [string, R][] = [];
    const updated: [string, R][] = [];
    return {
      take: (object) => {
        const key = objectKey(object);
        const known = this.#versions.get(key);
        const version = object.metadata.resourceVersion ?? unknownVersion;
        if (known === version && version !== unknownVersion) {
          versions.set(key, version);
          return;
        }
        const row = this.#read(key, object);
        if (row === null) return;
        if (row === "rejected") {
          if (known !== undefined) versions.set(key, unknownVersion);
          return;
        }
        versions.set(key, version);
        (known === undefined ? added : updated).push([key, row]);
      },
      finish: () => ({
        added,
        updated,
        deleted: [...this.#versions.keys()].filter((key) => !versions.has(key)),
      }),
      commit: () => {
        this.#versions.clear();
        for (const [key, version] of versions) this.#versions.set(key, version);
      },
    };
  }

  /** What these events change, all together. */
  takeEvents(events: readonly WatchEvent[]): { readonly batch: Batch<R>; commit(): void } {
    const rows = new Map<string, R | null>();
    const versions = new Map<string, string | null>();
    const versionOf = (key: string) => (versions.has(key) ? (versions.get(key) ?? undefined) : this.#versions.get(key));
    for (const event of events) {
      if (event.type === "BOOKMARK" || event.type === "ERROR") continue;
      const key = objectKey(event.object);
      const version = event.object.metadata.resourceVersion ?? unknownVersion;
      const known = versionOf(key);
      if (known !== undefined && isOlder(version, known)) {
        this.counts.outOfOrder++;
        continue;
      }
      if (event.type === "DELETED") {
        rows.set(key, null);
        versions.set(key, null);
        continue;
      }
      if (known === version && version !== unknownVersion) continue;
      const row = this.#read(key, event.object);
      if (row === "rejected") continue;
      rows.set(key, row);
      versions.set(key, row === null ? null : version);
    }
    const added: [string, R][] = [];
    const updated: [string, R][] = [];
    const deleted: string[] = [];
    for (const [key, row] of rows) {
      const known = this.#versions.has(key);
      if (row !== null) (known ? updated : added).push([key, row]);
      else if (known) deleted.push(key);
    }
    return {
      batch: { added, updated, deleted },
      commit: () => {
        for (const [key, version] of versions) {
          if (version === null) this.#versions.delete(key);
          else this.#versions.set(key, version);
        }
      },
    };
  }

  /**
   * It is not known what the sink has: the next list is told as a whole.
   * @param untold what it may have taken in part: what the next list lacks of it is told as deleted
   */
  distrust(untold: Batch<R> | null = null): void {
    for (const key of this.#versions.keys()) this.#versions.set(key, unknownVersion);
    for (const [key] of untold?.added ?? []) this.#versions.set(key, unknownVersion);
  }

  #read(key: string, object: KubeObject): R | null | "rejected" {
    try {
      return this.#project(object);
    } catch (error) {
      this.counts.rejected++;
      this.#onRejected(key, error);
      return "rejected";
    }
  }
}

export interface ListTake<R> {
  take(object: KubeObject): void;
  finish(): Batch<R>;
  /** The sink has taken it. */
  commit(): void;
}

export function isEmpty({ added, updated, deleted }: Batch<unknown>): boolean {
  return added.length === 0 && updated.length === 0 && deleted.length === 0;
}
