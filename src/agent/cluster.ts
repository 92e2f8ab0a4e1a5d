/**
 * The cluster around this node: where it is known from, and what it is told. A folder of manifests is told nothing; the Kubernetes API is
 * told of the node's pods.
 */
import type { ComputeResult } from "../compute/result.ts";
import type { AgentConfig } from "../config/index.ts";
import { connectKube, kinds } from "../kube/index.ts";
import type { Clock } from "../lib/clock.ts";
import type { Logger } from "../model/logging.ts";
import type { ConditionSink } from "../model/status.ts";
import type { TableSnapshot, TableStore } from "../model/store.ts";
import { CiliumEndpoints } from "../publish/cilium-endpoints.ts";
import { ObjectPublisher } from "../publish/object-publisher.ts";
import { FilesSource, type FilesStatus, type ManifestVersion } from "../sources/files/index.ts";
import { KubeSource, type KubeStatus } from "../sources/kube/index.ts";
import { LastGoodFolder } from "./last-good-folder.ts";

export interface ClusterOptions {
  readonly config: AgentConfig;
  readonly version: string;
  readonly store: TableStore;
  readonly conditions: ConditionSink;
  readonly log: Logger;
  readonly clock: Clock;
}

export interface ClusterSource {
  /** Resolves when all was seen once, or with the signal. */
  start(signal: AbortSignal): Promise<void>;
  status(): FilesStatus | KubeStatus;
}

export interface Cluster {
  readonly source: ClusterSource;
  /** This holds on the node now. */
  tell(result: ComputeResult, tables: TableSnapshot): void;
  stop(): Promise<void>;
}

export function clusterOf(options: ClusterOptions): Cluster {
  return options.config.source === "kube" ? clusterOfApi(options) : clusterOfManifests(options);
}

function clusterOfManifests({ config, store, conditions, log, clock }: ClusterOptions): Cluster {
  const { stateDir, manifests: folder } = config;
  const lastGood = new LastGoodFolder<ManifestVersion>({ stateDir, name: "manifests", conditions, clock });
  return {
    source: new FilesSource({ store, conditions, log, clock, folder, lastGood }),
    tell: () => undefined,
    stop: () => lastGood.stop(),
  };
}

function clusterOfApi({ config, version, store, conditions, log, clock }: ClusterOptions): Cluster {
  const { nodeName, kubeconfig, apiServer } = config;
  const userAgent = `tandem-agent/${version} (${nodeName})`;
  const client = connectKube({ kubeconfig, server: apiServer, env: process.env, clock, userAgent });
  const endpoints = new CiliumEndpoints(nodeName);
  const publisher = new ObjectPublisher({
    client,
    kind: kinds.ciliumEndpoints,
    nodeName,
    fieldManager: "tandem-agent",
    conditions,
    clock,
  });
  return {
    source: new KubeSource({ client, store, conditions, log, clock }),
    tell: (result, tables) => publisher.publish(endpoints.of(result, tables)),
    stop: async () => {
      await publisher.stop();
      await client.close();
    },
  };
}
