/**
 * What the leader has to know of the cluster: who uses identities, and what belongs to pods and nodes that may be gone. Followed while a term
 * lasts, and of each object only what is used is kept.
 */
import { identityLabels, labelTexts } from "../compute/identity/labels.ts";
import type { Clock } from "../lib/clock.ts";
import { type ClusterIdentity, IdentityDirectory, type NumberRange, readIdentity } from "../identities/index.ts";
import { isRecord, type KubeClient, kinds, type KubeKind, type KubeObject, Reflector } from "../kube/index.ts";
import type { Labels } from "../model/tables.ts";
import type { Logger } from "../model/logging.ts";

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
  readonly client: Pick<KubeClient, "list" | "watch" | "get">;
  readonly clock: Clock;
  readonly log: Logger;
  /** Of the cluster's identities. */
  readonly range: NumberRange;
  /** Nodes or CiliumNodes changed. */
  readonly onNodes: () => void;
}

export class ClusterView {
  readonly namespaces = new Map<string, Labels>();
  readonly pods = new Map<string, ViewedPod>();
  readonly endpoints = new Map<string, ViewedEndpoint>();
  readonly nodes = new Map<string, KubeObject>();
  readonly ciliumNodes = new Map<string, KubeObject>();
  readonly identities: IdentityDirectory;
  readonly #reflectors: readonly Pick<Reflector<unknown>, "run" | "whenSynced" | "status">[];

  constructor(options: ClusterViewOptions) {
    const { onNodes, range } = options;
    this.identities = new IdentityDirectory(range);
    this.#reflectors = [
      followed(options, kinds.namespaces, ({ metadata }) => metadata.labels ?? {}, this.namespaces),
      followed(options, kinds.pods, readPod, this.pods),
      followed(options, kinds.ciliumEndpoints, readEndpoint, this.endpoints),
      followed(options, kinds.nodes, readNode, this.nodes, onNodes),
      followed(options, kinds.ciliumNodes, readCiliumNode, this.ciliumNodes, onNodes),
      new Reflector<ClusterIdentity>({
        ...options,
        kind: kinds.ciliumIdentities,
        project: readIdentity,
        sink: (batch) => void this.identities.update(batch),
      }),
    ];
  }

  async run(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#reflectors.map((reflector) => reflector.run(signal)));
  }

  async whenSynced(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#reflectors.map((reflector) => reflector.whenSynced(signal)));
  }

  /** What is not followed at the moment: whoever decides by what is missing must wait. */
  stale(): readonly string[] {
    return this.#reflectors
      .map((reflector) => reflector.status())
      .filter(({ synced, stale }) => !synced || stale !== null)
      .map(({ resource }) => resource);
  }

  /** "k8s:key=value", sorted: of the labels that count for every pod, whatever policies name. */
  labelsOf({ namespace, labels, serviceAccount }: ViewedPod): readonly string[] {
    return labelTexts(
      identityLabels({ namespace, labels, serviceAccount }, this.namespaces.get(namespace) ?? {}, new Set()),
    );
  }
}

function followed<R>(
  { client, clock, log }: ClusterViewOptions,
  kind: KubeKind,
  project: (object: KubeObject) => R | null,
  rows: Map<string, R>,
  onChange: () => void = () => undefined,
): Reflector<R> {
  return new Reflector<R>({
    client,
    clock,
    log,
    kind,
    project,
    sink: ({ added, updated, deleted }) => {
      for (const [key, row] of [...added, ...updated]) rows.set(key, row);
      for (const key of deleted) rows.delete(key);
      onChange();
    },
  });
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

/** Conditions and images, which change each minute, are not kept. */
function readNode({ metadata: { name, uid, annotations }, spec, status }: KubeObject): KubeObject {
  const addresses = isRecord(status) ? status.addresses : [];
  const { podCIDR, podCIDRs } = isRecord(spec) ? spec : {};
  const metadata = {
    name,
    ...(uid === undefined ? {} : { uid }),
    ...(annotations === undefined ? {} : { annotations }),
  };
  return { metadata, spec: { podCIDR, podCIDRs }, status: { addresses } };
}

function readCiliumNode({ metadata, spec }: KubeObject): KubeObject {
  return { metadata, spec };
}
