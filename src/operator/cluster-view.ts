/**
 * What the leader has to know of the cluster: who uses identities, and what belongs to pods and nodes that may be gone. Followed while a term
 * lasts, and of each object only what is used is kept.
 */
import { identityLabels, labelTexts } from "../compute/identity/labels.ts";
import type { Clock } from "../lib/clock.ts";
import { type ClusterIdentity, IdentityDirectory, type NumberRange, readIdentity } from "../identities/index.ts";
import { isRecord, type KubeClient, kinds, type KubeKind, type KubeObject } from "../kube/index.ts";
import type { Logger } from "../model/logging.ts";
import type { ConditionSink } from "../model/status.ts";
import type { Labels } from "../model/labels.ts";
import { Following } from "./following.ts";

export interface ViewedPod {
  readonly namespace: string;
  readonly uid: string;
  readonly labels: Labels;
  readonly serviceAccount: string;
  /** It has a network of its own and has not ended. */
  readonly connected: boolean;
}

export interface ViewedEndpoint {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string | undefined;
  readonly resourceVersion: string | undefined;
  /** Of its pod; "": it does not say. */
  readonly podUid: string;
  /** 0: none. */
  readonly identity: number;
}

export interface ClusterViewOptions {
  readonly client: Pick<KubeClient, "list" | "watch" | "history" | "get">;
  readonly clock: Clock;
  readonly log: Logger;
  readonly conditions: ConditionSink;
  /** Of the cluster's identities. */
  readonly range: NumberRange;
  /** Nodes or CiliumNodes changed. */
  readonly onNodes: () => void;
  /** A kind is followed for the first time, again, or not any more. */
  readonly onStatus: () => void;
}

export class ClusterView {
  readonly namespaces = new Map<string, Labels>();
  readonly pods = new Map<string, ViewedPod>();
  readonly endpoints = new Map<string, ViewedEndpoint>();
  readonly nodes = new Map<string, KubeObject>();
  readonly ciliumNodes = new Map<string, KubeObject>();
  readonly identities: IdentityDirectory;
  readonly #following: Following;

  constructor(options: ClusterViewOptions) {
    const { onNodes, range } = options;
    this.identities = new IdentityDirectory(range);
    this.#following = new Following({ ...options, topic: "following" });
    this.#follow(kinds.namespaces, ({ metadata }) => metadata.labels ?? {}, this.namespaces);
    this.#follow(kinds.pods, readPod, this.pods);
    this.#follow(kinds.ciliumEndpoints, readEndpoint, this.endpoints);
    this.#follow(kinds.nodes, readNode, this.nodes, onNodes);
    this.#follow(kinds.ciliumNodes, readCiliumNode, this.ciliumNodes, onNodes);
    this.#following.add<ClusterIdentity>(
      kinds.ciliumIdentities,
      readIdentity,
      (batch) => void this.identities.update(batch),
    );
  }

  run(signal: AbortSignal): Promise<void> {
    return this.#following.run(signal);
  }

  whenSynced(signal: AbortSignal): Promise<void> {
    return this.#following.whenSynced(signal);
  }

  /** What is not followed at the moment: whoever decides by what is missing must wait. */
  stale(): readonly string[] {
    return this.#following.stale();
  }

  #follow<R>(
    kind: KubeKind,
    project: (object: KubeObject) => R | null,
    rows: Map<string, R>,
    onChange: () => void = () => undefined,
  ): void {
    this.#following.add<R>(kind, project, ({ added, updated, deleted }) => {
      for (const [key, row] of [...added, ...updated]) rows.set(key, row);
      for (const key of deleted) rows.delete(key);
      onChange();
    });
  }

  /** "k8s:key=value", sorted: of the labels that count for every pod, whatever policies name. */
  labelsOf({ namespace, labels, serviceAccount }: ViewedPod): readonly string[] {
    return labelTexts(
      identityLabels({ namespace, labels, serviceAccount }, this.namespaces.get(namespace) ?? {}, new Set()),
    );
  }
}

export function readPod({ metadata, spec, status }: KubeObject): ViewedPod {
  const { hostNetwork, serviceAccountName } = isRecord(spec) ? spec : {};
  const phase = isRecord(status) ? status.phase : "";
  return {
    namespace: metadata.namespace ?? "",
    uid: metadata.uid ?? "",
    labels: metadata.labels ?? {},
    serviceAccount: typeof serviceAccountName === "string" ? serviceAccountName : "",
    connected: hostNetwork !== true && phase !== "Succeeded" && phase !== "Failed",
  };
}

function readEndpoint({ metadata, status }: KubeObject): ViewedEndpoint {
  const { namespace = "", name, uid, resourceVersion, ownerReferences = [] } = metadata;
  const identity = isRecord(status) && isRecord(status.identity) ? status.identity.id : 0;
  const podUid = ownerReferences.find(({ kind }) => kind === "Pod")?.uid ?? "";
  return { namespace, name, uid, resourceVersion, podUid, identity: typeof identity === "number" ? identity : 0 };
}

/** Images and most conditions, which change each minute, are not kept. */
function readNode({ metadata: { name, uid, annotations }, spec, status }: KubeObject): KubeObject {
  const { addresses = [], conditions } = isRecord(status) ? status : {};
  const { podCIDR, podCIDRs, taints } = isRecord(spec) ? spec : {};
  const metadata = {
    name,
    ...(uid === undefined ? {} : { uid }),
    ...(annotations === undefined ? {} : { annotations }),
  };
  const network = Array.isArray(conditions)
    ? (conditions as readonly unknown[]).filter((each) => isRecord(each) && each.type === "NetworkUnavailable")
    : [];
  return { metadata, spec: { podCIDR, podCIDRs, taints }, status: { addresses, conditions: network } };
}

function readCiliumNode({ metadata, spec }: KubeObject): KubeObject {
  return { metadata, spec };
}
