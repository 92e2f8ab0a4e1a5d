/**
 * The `kube` source: the cluster as its API server tells it. One reflector for each kind; objects become rows as those of manifests do.
 *
 * An API server that cannot be reached takes nothing back: rows stay, and a condition says which kinds are stale and since when. An
 * object that is there but cannot be taken as it is keeps its last row.
 */
import type { Clock } from "../../lib/clock.ts";
import {
  type Batch,
  type KubeClient,
  kinds,
  type KubeKind,
  type KubeObject,
  Reflector,
  type ReflectorStatus,
} from "../../kube/index.ts";
import type { Logger } from "../../model/logging.ts";
import type { ConditionSink, Problem } from "../../model/status.ts";
import type { TableStore } from "../../model/store.ts";
import type { TableRows } from "../../model/tables.ts";
import { readObject } from "../files/index.ts";
import { NamespacedPods } from "./namespaced-pods.ts";
import { policyKey } from "./policy-key.ts";

export type KubeSourceClient = Pick<KubeClient, "list" | "watch" | "history" | "get" | "accessProblem">;

export interface KubeSourceOptions {
  readonly client: KubeSourceClient;
  readonly store: TableStore;
  readonly conditions: ConditionSink;
  readonly log: Logger;
  readonly clock: Clock;
  /**
   * A kind of cilium.io was listed anew. Its definition may have been deleted and made again, and with it others', which takes all their
   * objects along: who has written some sees whether they are there. Must not throw.
   */
  readonly onCustomKind?: () => void;
}

export interface KubeStatus {
  readonly name: "kube";
  readonly synced: boolean;
  readonly stale: boolean;
  readonly detail: string;
}

type Table = "namespaces" | "nodes" | "pods" | "services" | "endpointSlices" | "policies" | "cidrGroups";

interface Followed {
  readonly kind: KubeKind;
  readonly table: Table;
}

const followed: readonly Followed[] = [
  { kind: kinds.namespaces, table: "namespaces" },
  { kind: kinds.nodes, table: "nodes" },
  { kind: kinds.pods, table: "pods" },
  { kind: kinds.services, table: "services" },
  { kind: kinds.endpointSlices, table: "endpointSlices" },
  { kind: kinds.networkPolicies, table: "policies" },
  { kind: kinds.ciliumNetworkPolicies, table: "policies" },
  { kind: kinds.ciliumClusterwideNetworkPolicies, table: "policies" },
  { kind: kinds.ciliumCidrGroups, table: "cidrGroups" },
];

/** What is kept of an object. */
interface Row {
  /** null: it cannot be taken as it is. */
  readonly row: TableRows[Table] | null;
  /** Of the object. */
  readonly uid: string | undefined;
  readonly problems: readonly Problem[];
}

export class KubeSource {
  readonly #options: KubeSourceOptions;
  readonly #reflectors: readonly Reflector<Row>[];
  readonly #pods: NamespacedPods;
  /** By object. */
  readonly #problems = new Map<string, readonly Problem[]>();
  #running: Promise<unknown> = Promise.resolve();

  constructor(options: KubeSourceOptions) {
    this.#options = options;
    this.#pods = new NamespacedPods(options.store);
    const { client, clock, log, onCustomKind } = options;
    this.#reflectors = followed.map(
      ({ kind, table }) =>
        new Reflector<Row>({
          client,
          clock,
          log,
          kind,
          project: readRow,
          sink: (batch) => this.#take(kind, table, batch),
          onStatus: () => this.#report(),
          ...(onCustomKind !== undefined && isCustom(kind) ? { onListed: onCustomKind } : {}),
        }),
    );
  }

  /** Follows the cluster until the signal. Resolves when all of every kind was seen once, or with the signal. */
  async start(signal: AbortSignal): Promise<void> {
    this.#running = Promise.all(this.#reflectors.map((reflector) => reflector.run(signal)));
    await Promise.all(this.#reflectors.map((reflector) => reflector.whenSynced(signal)));
  }

  /** Resolves when nothing is followed any more: soon after the signal of `start`. */
  async stopped(): Promise<void> {
    await this.#running;
  }

  status(): KubeStatus {
    const states = this.#reflectors.map((reflector) => reflector.status());
    const [stale, ...others] = states.filter((state) => state.stale !== null);
    const counts = states.filter(({ objects }) => objects > 0).map(({ resource, objects }) => `${objects} ${resource}`);
    const unsynced = states.filter(({ synced }) => !synced).map(({ resource }) => resource);
    const known = [
      counts.join(", ") || "no objects",
      ...(unsynced.length === 0 ? [] : [`not seen yet: ${unsynced.join(", ")}`]),
    ].join("; ");
    const trouble =
      stale === undefined
        ? ""
        : `${stale.resource}${others.length === 0 ? "" : ` and ${others.length} more`}: ${stale.stale?.message}; last known: `;
    return {
      name: "kube",
      synced: unsynced.length === 0,
      stale: stale !== undefined,
      detail: `${trouble}${known}`,
    };
  }

  #take(kind: KubeKind, table: Table, { added, updated, deleted }: Batch<Row>): void {
    for (const [key, { row, uid, problems }] of [...added, ...updated]) {
      this.#setProblems(`${kind.kind} ${key}`, problems);
      if (row !== null) this.#upsert(table, tableKey(kind, table, key), row);
      else if (this.#isOther(table, tableKey(kind, table, key), uid)) this.#delete(table, tableKey(kind, table, key));
    }
    for (const key of deleted) {
      this.#setProblems(`${kind.kind} ${key}`, []);
      this.#delete(table, tableKey(kind, table, key));
    }
    this.#options.conditions.report("kube-objects", [...this.#problems.values()].flat());
  }

  /** Whether the row is of an object that was there under this name before. */
  #isOther(table: Table, key: string, uid: string | undefined): boolean {
    const row = this.#options.store.table(table).get(key);
    const known = row !== undefined && "uid" in row ? row.uid : "";
    return uid !== undefined && known !== "" && known !== uid;
  }

  #upsert(table: Table, key: string, row: TableRows[Table]): void {
    if (table === "pods") this.#pods.upsert(key, row as TableRows["pods"]);
    else if (table === "namespaces") this.#pods.upsertNamespace(key, row as TableRows["namespaces"]);
    else this.#options.store.upsert(table, key, row as never);
  }

  #delete(table: Table, key: string): void {
    if (table === "pods") this.#pods.delete(key);
    else if (table === "namespaces") this.#pods.deleteNamespace(key);
    else this.#options.store.delete(table, key);
  }

  #setProblems(key: string, problems: readonly Problem[]): void {
    if (problems.length === 0) this.#problems.delete(key);
    else this.#problems.set(key, problems);
  }

  /** Warnings: the kernel goes on with what is known, and so does the node. */
  #report(): void {
    const { conditions, client } = this.#options;
    const states = this.#reflectors.map((reflector) => reflector.status());
    const problems = states.flatMap((state) => staleProblem(state) ?? []);
    const access = client.accessProblem;
    if (access !== null) {
      problems.push({
        code: "KUBE_CREDENTIALS",
        severity: "warning",
        object: "the Kubernetes API",
        field: "",
        message: `credentials cannot be renewed, those of before are in use: ${access}`,
        remedy: "see that the agent may read the files that its kubeconfig names",
      });
    }
    conditions.report("kube", problems);
  }
}

function isCustom({ group }: KubeKind): boolean {
  return group === "cilium.io";
}

/** Fields that this version does not know of are no problem: API servers are newer than agents. */
function readRow(value: KubeObject): Row {
  const { uid } = value.metadata;
  const { row, refused, problems } = readObject({ value, file: "the Kubernetes API", line: 0 });
  const errors = problems.filter(({ severity }) => severity === "error");
  if (refused || row === null) return { row: null, uid, problems: errors.map(kept) };
  return { row: row as TableRows[Table], uid, problems: errors };
}

function kept(problem: Problem): Problem {
  return { ...problem, message: `${problem.message}; what was known of it before is in force` };
}

function tableKey(kind: KubeKind, table: Table, key: string): string {
  return table === "policies" ? policyKey(kind, key) : key;
}

function staleProblem({ resource, stale, staleSince }: ReflectorStatus): Problem | null {
  if (stale === null) return null;
  const since = staleSince === null ? "" : ` since ${new Date(staleSince).toISOString()}`;
  return {
    code: stale.code,
    severity: "warning",
    object: resource,
    field: "",
    message: `not followed${since}, the last known objects are in force: ${stale.message}`,
    remedy: stale.remedy,
  };
}
