/**
 * The Kubernetes API for whoever needs it: the agent's source, the operator, the lab.
 *
 *   const client = connectKube({ kubeconfig: "/etc/tandem/kubeconfig", clock, userAgent: "tandem-agent/0.1.0" });
 *   await client.apply(kinds.ciliumNodes, node, { fieldManager: "tandem-agent", force: true });
 *
 * A kind is followed by a Reflector; a source is one for each kind that it reads:
 *
 *   const pods = new Reflector({
 *     client, clock, log, kind: kinds.pods,
 *     project: (object) => readPodRow(object),      // only what is used is kept; null: not wanted
 *     sink: ({ added, updated, deleted }) => {      // at once and as a whole; the first call is the whole list
 *       for (const [key, row] of [...added, ...updated]) store.upsert("pods", key, row);
 *       for (const key of deleted) store.delete("pods", key);
 *     },
 *     onStatus: () => reportProblems(pods.status()),
 *   });
 *   const running = pods.run(signal);               // resolves after the signal, never rejects
 *   await pods.whenSynced(signal);
 *
 * What a projection cannot read it reports itself; one that throws leaves the object's last row in force. A status that is stale means: rows
 * may be old, nothing was taken back. `custom-kinds.ts` says when a kind counts as not installed (that needs the right to get
 * CustomResourceDefinitions). `close` the client after the signal.
 */
import { readFile } from "node:fs/promises";
import type { Clock } from "../lib/clock.ts";
import { AccessReader } from "./access.ts";
import { type AccessPlan, inClusterPlan, parseKubeconfig } from "./access-plan.ts";
import { KubeClient } from "./client.ts";
import { KubeConfigError } from "./errors.ts";
import { runCredentialPlugin } from "./exec-plugin.ts";

export { AccessReader, type Access, type AccessOptions } from "./access.ts";
export { type AccessPlan, inClusterPlan, parseKubeconfig } from "./access-plan.ts";
export {
  type CallOptions,
  type DeleteOptions,
  KubeClient,
  type KubeClientOptions,
  type Listing,
  type ListOptions,
  type WriteOptions,
} from "./client.ts";
export { VersionMemory } from "./history.ts";
export { isStatus, KubeAnswerError, KubeConfigError, KubeConnectionError, KubeStatusError } from "./errors.ts";
export { apiVersionOf, kinds, type KubeKind, type ObjectName, objectTitle, resourceName } from "./kinds.ts";
export type { Batch, Projection } from "./ledger.ts";
export {
  isKubeObject,
  isRecord,
  type KubeObject,
  type Lease,
  type ObjectMeta,
  objectKey,
  type OwnerReference,
  type WatchEvent,
} from "./objects.ts";
export { Reflector, type ReflectorCounts, type ReflectorOptions, type ReflectorStatus } from "./reflector.ts";

export interface ConnectOptions {
  /** null: the service account of this pod. */
  readonly kubeconfig: string | null;
  /** Of the kubeconfig; null: its current one. */
  readonly context?: string | null;
  /** Instead of what KUBERNETES_SERVICE_HOST says in a pod: an agent that provides that address must not need it. */
  readonly server?: string | null;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly userAgent: string;
}

/** Reads and asks nothing yet: that comes with the first request, and is repeated as files change. */
export function connectKube(options: ConnectOptions): KubeClient {
  const { kubeconfig, context = null, server = null, env, clock, userAgent } = options;
  const read = (path: string) => readFile(path, "utf8");
  // Read anew for each of a Lease's renewals, and nearly always the same: taking YAML apart costs milliseconds.
  let last: { readonly content: string; readonly plan: AccessPlan } | null = null;
  const plan = async () => {
    if (kubeconfig === null) return inClusterPlan(env, server);
    const content = await readKubeconfig(kubeconfig, read);
    if (last?.content !== content) last = { content, plan: parseKubeconfig(content, kubeconfig, context) };
    const found = last.plan;
    return server === null ? found : { ...found, server: server.replace(/\/+$/, "") };
  };
  const access = new AccessReader({ plan, readFile: read, plugin: runCredentialPlugin, clock });
  return new KubeClient({ access, clock, userAgent });
}

async function readKubeconfig(path: string, read: (path: string) => Promise<string>): Promise<string> {
  try {
    return await read(path);
  } catch (cause) {
    throw new KubeConfigError({
      code: "KUBE_CONFIG",
      object: path,
      message: `the kubeconfig cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`,
      remedy: "name one that exists, or none inside of a pod",
      cause,
    });
  }
}
