/** Pods by namespace and label, so that a service finds its own without looking at all of them. */
import type { Labels } from "../../model/labels.ts";
import type { PodRow } from "../../model/tables.ts";

export class PodIndex {
  /** "namespace/key=value" -> pods by key. Namespaces hold no "/", so that no two of these texts mean the same. */
  readonly #byLabel = new Map<string, Map<string, PodRow>>();

  change(key: string, before: PodRow | undefined, after: PodRow | undefined): void {
    if (before !== undefined) {
      for (const topic of topics(before.namespace, before.labels)) {
        const pods = this.#byLabel.get(topic);
        pods?.delete(key);
        if (pods?.size === 0) this.#byLabel.delete(topic);
      }
    }
    if (after !== undefined) {
      for (const topic of topics(after.namespace, after.labels)) {
        const pods = this.#byLabel.get(topic);
        if (pods === undefined) this.#byLabel.set(topic, new Map([[key, after]]));
        else pods.set(key, after);
      }
    }
  }

  /** Pods of the namespace that have all of these labels; none for an empty selector, as with Kubernetes' services. */
  select(namespace: string, selector: Labels): readonly PodRow[] {
    let fewest: ReadonlyMap<string, PodRow> | null = null;
    for (const topic of topics(namespace, selector)) {
      const pods = this.#byLabel.get(topic);
      if (pods === undefined) return [];
      if (fewest === null || pods.size < fewest.size) fewest = pods;
    }
    return fewest === null ? [] : [...fewest.values()].filter((pod) => hasLabels(pod, selector));
  }
}

export function hasLabels(pod: PodRow, selector: Labels): boolean {
  return Object.entries(selector).every(([key, value]) => Object.hasOwn(pod.labels, key) && pod.labels[key] === value);
}

function topics(namespace: string, labels: Labels): readonly string[] {
  return Object.entries(labels).map(([key, value]) => `${namespace}/${key}=${value}`);
}
