/**
 * Deletes CiliumIdentities that nobody uses: an identity is in use while a pod has its labels or a CiliumEndpoint names it.
 *
 * One that is not is marked first, as Cilium's operator does it, and deleted when it stayed unused for the grace time. An agent that begins to use it
 * takes the mark away, which makes it another version than the one that is to be deleted: whoever writes first wins, and an agent
 * whose identity was deleted after all makes it again.
 *
 * Unused has to be seen by this leader for the whole grace time: a mark may be of a clock that was wrong.
 */
import { isIdentityRelevant, namespaceKey, namespaceLabelPrefix } from "../compute/identity/labels.ts";
import type { Clock } from "../lib/clock.ts";
import { type ClusterIdentity, isWithin, type NumberRange, unusedSince } from "../identities/index.ts";
import { isStatus, type KubeClient, kinds } from "../kube/index.ts";
import type { Logger } from "../model/logging.ts";
import type { ClusterView, ViewedPod } from "./cluster-view.ts";
import type { Counters } from "./metrics.ts";
import type { Term } from "./term.ts";

const kind = kinds.ciliumIdentities;
const source = "k8s:";

export interface IdentityGcOptions {
  readonly client: Pick<KubeClient, "patch" | "delete">;
  readonly view: ClusterView;
  /** Numbers of this cluster; others are left alone. */
  readonly range: NumberRange;
  readonly graceMs: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly counters: Counters;
}

export class IdentityGc {
  readonly #options: IdentityGcOptions;
  /** Number -> since when this leader sees it unused, monotonic ms. */
  readonly #unused = new Map<number, number>();

  constructor(options: IdentityGcOptions) {
    this.#options = options;
  }

  /** One look at all of them. @throws what the client throws */
  async round(term: Term): Promise<void> {
    const { view, range, clock, counters } = this.#options;
    const now = clock.monotonicMs();
    const used = usedNumbers(view);
    const all = [...view.identities.all()].filter(({ number, key }) => isWithin(range, number) && isOfPods(key));
    for (const number of this.#unused.keys()) {
      if (used.has(number) || view.identities.get(number) === undefined) this.#unused.delete(number);
    }
    for (const identity of all) {
      if (!term.held()) return;
      if (used.has(identity.number)) {
        if (identity.unusedSince !== null) await this.#mark(identity, null, term.signal);
        continue;
      }
      const since = this.#unused.get(identity.number);
      if (since === undefined) this.#unused.set(identity.number, now);
      if (identity.unusedSince === null) await this.#mark(identity, new Date(clock.now()).toISOString(), term.signal);
      else if (since !== undefined && this.#isDue(identity, since)) await this.#delete(identity, term.signal);
    }
    counters.set("identities", all.length);
    counters.set("identities_unused", this.#unused.size);
  }

  #isDue({ unusedSince: marked }: ClusterIdentity, since: number): boolean {
    const { graceMs, clock } = this.#options;
    const markedAt = Date.parse(marked ?? "");
    const passed = clock.now() - markedAt;
    // A mark that cannot be read says nothing, nor does one of the future: the clock of who wrote it was wrong, or ours was set back.
    const byMark = Number.isNaN(markedAt) || passed < 0 || passed >= graceMs;
    return byMark && clock.monotonicMs() - since >= graceMs;
  }

  async #mark({ number, resourceVersion }: ClusterIdentity, mark: string | null, signal: AbortSignal): Promise<void> {
    const { client, counters } = this.#options;
    const patch = { metadata: { annotations: { [unusedSince]: mark }, resourceVersion } };
    await unlessChanged(client.patch(kind, { name: String(number) }, patch, { signal }));
    counters.add(mark === null ? "identities_reused_total" : "identities_marked_total");
  }

  async #delete({ number, key, uid, resourceVersion }: ClusterIdentity, signal: AbortSignal): Promise<void> {
    const { client, log, counters } = this.#options;
    const version = {
      ...(uid === undefined ? {} : { uid }),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
    };
    const deleted = await unlessChanged(client.delete(kind, { name: String(number) }, { ...version, signal }));
    this.#unused.delete(number);
    if (deleted !== true) return;
    counters.add("identities_deleted_total");
    log.info({ identity: number, labels: key.split("\n") }, "deleted: nobody uses it");
  }
}

/** null: somebody wrote to it or deleted it meanwhile, so what was decided does not hold. */
export async function unlessChanged<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (isStatus(error, 409) || isStatus(error, 404)) return null;
    throw error;
  }
}

/** Whether these are labels of pods; what else may have an identity is not ours to judge. */
function isOfPods(key: string): boolean {
  const texts = key.split("\n");
  return texts.every((text) => text.startsWith(source)) && texts.some((text) => text.startsWith(source + namespaceKey));
}

/**
 * Of several numbers for a set the lowest is the one that agents use. Policies can make labels count that otherwise do not; which ones is not
 * known here, so an identity with such labels is in use if a pod has them and all else is equal.
 */
export function usedNumbers(view: ClusterView): ReadonlySet<number> {
  const used = new Set<number>();
  for (const { identity } of view.endpoints.values()) used.add(identity);
  const pods = new Map<string, ViewedPod[]>();
  for (const pod of view.pods.values()) {
    if (!pod.connected) continue;
    const base = view.labelsOf(pod).join("\n");
    const alike = pods.get(base);
    if (alike === undefined) pods.set(base, [pod]);
    else alike.push(pod);
  }
  for (const { number, key } of view.identities.all()) {
    if (view.identities.find(key)?.number !== number) continue;
    const extras: string[] = [];
    const base = key.split("\n").filter((text) => {
      const counts = countsAlways(text);
      if (!counts) extras.push(text);
      return counts;
    });
    const alike = pods.get(base.join("\n")) ?? [];
    if (alike.some(({ labels }) => extras.every((text) => hasLabel(labels, text)))) used.add(number);
  }
  return used;
}

function countsAlways(text: string): boolean {
  const name = text.slice(source.length, text.indexOf("="));
  return name === namespaceKey || name.startsWith(namespaceLabelPrefix) || isIdentityRelevant(name);
}

function hasLabel(labels: ViewedPod["labels"], text: string): boolean {
  const at = text.indexOf("=");
  return labels[text.slice(source.length, at)] === text.slice(at + 1);
}
