/**
 * Pods and their namespaces, which come by watches of their own and so in any order. The labels of its namespace are part of what a pod is
 * to policies: a pod whose namespace is not known yet is not known yet either (and so closed), and a namespace stays until its last
 * pod has gone.
 */
import { SetMap } from "../../lib/set-map.ts";
import type { TableStore } from "../../model/store.ts";
import type { NamespaceRow, PodRow } from "../../model/tables.ts";

export class NamespacedPods {
  readonly #store: Pick<TableStore, "table" | "upsert" | "delete">;
  /** Pods of namespaces that are not known, by namespace and key. */
  readonly #waiting = new Map<string, Map<string, PodRow>>();
  /** Keys of the pods in the table, by namespace. */
  readonly #pods = new SetMap<string, string>();
  /** Namespaces that are deleted, and have pods. */
  readonly #leaving = new Set<string>();

  constructor(store: Pick<TableStore, "table" | "upsert" | "delete">) {
    this.#store = store;
  }

  upsert(key: string, row: PodRow): void {
    const { namespace } = row;
    if (!this.#store.table("namespaces").has(namespace)) {
      const waiting = this.#waiting.get(namespace) ?? new Map<string, PodRow>();
      waiting.set(key, row);
      this.#waiting.set(namespace, waiting);
      return;
    }
    this.#pods.add(namespace, key);
    this.#store.upsert("pods", key, row);
  }

  delete(key: string): void {
    const namespace = key.slice(0, key.indexOf("/"));
    const waiting = this.#waiting.get(namespace);
    waiting?.delete(key);
    if (waiting?.size === 0) this.#waiting.delete(namespace);
    this.#pods.delete(namespace, key);
    this.#store.delete("pods", key);
    if (this.#leaving.has(namespace) && this.#pods.get(namespace).size === 0) this.#remove(namespace);
  }

  upsertNamespace(name: string, row: NamespaceRow): void {
    this.#leaving.delete(name);
    this.#store.upsert("namespaces", name, row);
    const waiting = this.#waiting.get(name);
    this.#waiting.delete(name);
    for (const [key, pod] of waiting ?? []) this.upsert(key, pod);
  }

  deleteNamespace(name: string): void {
    if (this.#pods.get(name).size === 0) this.#remove(name);
    else this.#leaving.add(name);
  }

  #remove(name: string): void {
    this.#leaving.delete(name);
    this.#store.delete("namespaces", name);
  }
}
