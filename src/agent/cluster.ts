/**
 * The cluster around this node: where it is known from, and what it is told. A folder of manifests is told nothing; the Kubernetes API is
 * told of the node's pods, and by a Lease that its agent is there and what it has in the kernel.
 */
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { bootId } from "../api/boot-file.ts";
import type { DesiredEndpoint } from "../compute/desired.ts";
import type { ComputeResult } from "../compute/result.ts";
import type { AgentConfig } from "../config/index.ts";
import {
  ClusterIdentityAllocator,
  clusterNumbers,
  LocalIdentityAllocator,
  type RecordedAllocator,
} from "../identities/index.ts";
import { connectKube, kinds } from "../kube/index.ts";
import type { Clock } from "../lib/clock.ts";
import { TandemError } from "../lib/errors.ts";
import type { EndpointState } from "../model/endpoint-state.ts";
import type { Logger } from "../model/logging.ts";
import type { NoticeSink } from "../model/pod-notices.ts";
import type { ConditionSink } from "../model/status.ts";
import type { TableSnapshot, TableStore } from "../model/store.ts";
import { AgentLease, type Said } from "../publish/agent-lease.ts";
import { CiliumEndpoints } from "../publish/cilium-endpoints.ts";
import { EventRecorder } from "../publish/events.ts";
import { KernelPolicies } from "../publish/kernel-policies.ts";
import { ObjectPublisher } from "../publish/object-publisher.ts";
import { ServiceNotices } from "../publish/service-notices.ts";
import { FilesSource, type FilesStatus, type ManifestVersion } from "../sources/files/index.ts";
import { KubeSource, type KubeStatus } from "../sources/kube/index.ts";
import { IdentityFile } from "./identity-file.ts";
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

/** Numbers of sets of labels. */
export interface Identities {
  readonly allocator: RecordedAllocator;
  readonly file: IdentityFile;
  /** Resolves when it is known what others have numbered, or with the signal. */
  start(signal: AbortSignal): Promise<void>;
}

export interface Cluster {
  readonly source: ClusterSource;
  /** Where owners of pods and nodes read what concerns them. */
  readonly notices: NoticeSink;
  /** @param onNews a number came, changed or went @throws TandemError STATE_DIR */
  identities(onNews: () => void): Promise<Identities>;
  /** The agent is there. */
  announce(): void;
  /** This holds on the node now. */
  tell(result: ComputeResult, tables: TableSnapshot, stateOf: (endpoint: DesiredEndpoint) => EndpointState): void;
  /** Everything was seen and is in the kernel, and pods are kept away until this is there. */
  waiting(lack: string): void;
  /** Pods may come. @param lack what the node's network is without all the same; "": nothing */
  ready(lack: string): void;
  stop(): Promise<void>;
}

/** @throws TandemError CONFIG_INVALID */
export function clusterOf(options: ClusterOptions): Cluster {
  if (options.config.identities === "cluster" && options.config.source !== "kube") {
    throw new TandemError({
      code: "CONFIG_INVALID",
      object: "setting identities",
      message: "identities of the cluster are objects of the Kubernetes API, which this agent does not read",
      remedy: "set source to kube, or identities to local",
    });
  }
  return options.config.source === "kube" ? clusterOfApi(options) : clusterOfManifests(options);
}

function clusterOfManifests({ config, store, conditions, log, clock }: ClusterOptions): Cluster {
  const { stateDir, manifests: folder } = config;
  const lastGood = new LastGoodFolder<ManifestVersion>({ stateDir, name: "manifests", conditions, clock });
  return {
    source: new FilesSource({ store, conditions, log, clock, folder, lastGood }),
    notices: { notice: () => undefined },
    identities: () => localIdentities(stateDir, conditions),
    announce: () => undefined,
    tell: () => undefined,
    waiting: () => undefined,
    ready: () => undefined,
    stop: () => lastGood.stop(),
  };
}

async function localIdentities(stateDir: string, conditions: ConditionSink): Promise<Identities> {
  const file = new IdentityFile(stateDir, conditions);
  return { allocator: new LocalIdentityAllocator(await file.read()), file, start: async () => undefined };
}

function clusterOfApi({ config, version, store, conditions, log, clock }: ClusterOptions): Cluster {
  const { nodeName, kubeconfig, apiServer, stateDir, clusterId } = config;
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
  const lease = new AgentLease({
    client,
    namespace: () => client.namespace(),
    nodeName,
    process: randomUUID(),
    host: hostname(),
    boot: bootId(),
    version,
    conditions,
    onHistory: () => {
      log.warn({}, "versions of objects went back, as after a restore of etcd: everything is listed again");
      client.historyReplaced();
      publisher.doubt();
    },
    clock,
  });
  const kernelPolicies = new KernelPolicies();
  let said: Said = { ready: false, network: "", policies: null };
  const say = (news: Partial<Said>) => {
    said = { ...said, ...news };
    lease.say(said);
  };
  let following: Promise<void> = Promise.resolve();
  const clusterIdentities = async (onNews: () => void): Promise<Identities> => {
    const range = clusterNumbers(clusterId);
    // Its numbers are objects of the cluster, too: a full disk keeps no policy from the kernel.
    const kept = { name: "cluster-identities.json", range, onlyCopy: false };
    const file = new IdentityFile(stateDir, conditions, kept);
    const record = await file.read();
    const allocator = new ClusterIdentityAllocator({ client, nodeName, range, record, onNews, conditions, log, clock });
    return {
      allocator,
      file,
      start: async (signal) => {
        following = allocator.run(signal);
        await allocator.whenSynced(signal);
      },
    };
  };
  const source = new KubeSource({ client, store, conditions, log, clock, onCustomKind: () => publisher.doubt() });
  const notices = new EventRecorder({ client, component: "tandem-agent", nodeName, clock });
  const serviceNotices = new ServiceNotices(nodeName, notices);
  return {
    source,
    notices,
    identities: (onNews) =>
      config.identities === "cluster" ? clusterIdentities(onNews) : localIdentities(stateDir, conditions),
    announce: () => lease.start(),
    tell: (result, tables, stateOf) => {
      publisher.publish(endpoints.of(result, tables, stateOf));
      serviceNotices.tell(result.problems, tables);
      // Nobody is to count on policies of a node that enforces none.
      if (config.policyEnforcement !== "never") say({ policies: kernelPolicies.update(result, tables.policies) });
    },
    waiting: (network) => say({ ready: false, network }),
    ready: (network) => say({ ready: true, network }),
    stop: async () => {
      await lease.stop();
      await publisher.stop();
      await notices.stop();
      await source.stopped();
      await following;
      await client.close();
    },
  };
}
