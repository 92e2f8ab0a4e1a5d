/**
 * Deletes CiliumEndpoints whose pod is gone. Their owner reference does the same where Kubernetes' own garbage collector runs; this one
 * also knows those without an owner, and those of a pod that ended or was made anew under its name.
 *
 * A pod may be known to its node before this leader hears of it: an endpoint goes only if it was without a pod in two rounds, and
 * if the API server says the same when it is asked for that very pod.
 */
import { isStatus, type KubeClient, kinds } from "../kube/index.ts";
import type { Logger } from "../model/logging.ts";
import { type ClusterView, readPod, type ViewedEndpoint, type ViewedPod } from "./cluster-view.ts";
import { unlessChanged } from "./identity-gc.ts";
import type { Counters } from "./metrics.ts";
import type { Term } from "./term.ts";

export interface EndpointGcOptions {
  readonly client: Pick<KubeClient, "get" | "delete">;
  readonly view: ClusterView;
  readonly log: Logger;
  readonly counters: Counters;
}

export class EndpointGc {
  readonly #options: EndpointGcOptions;
  /** Without a pod in the round before: key -> uid. */
  #suspects: ReadonlyMap<string, string | undefined> = new Map();

  constructor(options: EndpointGcOptions) {
    this.#options = options;
  }

  /** @throws what the client throws */
  async round(term: Term): Promise<void> {
    const { view } = this.#options;
    const orphans = [...view.endpoints].filter(([key, endpoint]) => isOrphan(endpoint, view.pods.get(key) ?? null));
    const suspects = this.#suspects;
    this.#suspects = new Map(orphans.map(([key, { uid }]) => [key, uid]));
    for (const [key, endpoint] of orphans) {
      if (!suspects.has(key) || suspects.get(key) !== endpoint.uid) continue;
      if (!term.held()) return;
      await this.#delete(endpoint, term);
    }
  }

  async #delete(endpoint: ViewedEndpoint, term: Term): Promise<void> {
    const { client, log, counters } = this.#options;
    const { namespace, name, uid, resourceVersion } = endpoint;
    const { signal } = term;
    const pod = await client.get(kinds.pods, { namespace, name }, { signal }).catch((error: unknown) => {
      if (isStatus(error, 404)) return null;
      throw error;
    });
    if (!isOrphan(endpoint, pod === null ? null : readPod(pod)) || !term.held()) return;
    const version = {
      ...(uid === undefined ? {} : { uid }),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
    };
    const done = await unlessChanged(client.delete(kinds.ciliumEndpoints, { namespace, name }, { ...version, signal }));
    if (done !== true) return;
    counters.add("endpoints_deleted_total");
    log.info({ endpoint: `${namespace}/${name}` }, "deleted: its pod is gone");
  }
}

function isOrphan({ podUid }: ViewedEndpoint, pod: ViewedPod | null): boolean {
  return pod === null || !pod.connected || (podUid !== "" && podUid !== pod.uid);
}
