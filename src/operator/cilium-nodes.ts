/**
 * A CiliumNode for each Node: its addresses and the CIDRs of its pods, owned by the Node and gone with it. What an agent, or Cilium, writes
 * there besides stays: addresses of types that a Node has not, and fields that a Node says nothing of.
 */
import type { NodeSpec } from "../kube-objects/index.ts";
import { isRecord, isStatus, type KubeClient, kinds, type KubeObject, type OwnerReference } from "../kube/index.ts";
import type { Logger } from "../model/logging.ts";
import type { ClusterView } from "./cluster-view.ts";
import { unlessChanged } from "./identity-gc.ts";
import type { Counters } from "./metrics.ts";
import type { Term } from "./term.ts";

type NodeAddress = NonNullable<NodeSpec["addresses"]>[number];

const nodeTypes = ["Hostname", "InternalIP", "ExternalIP", "InternalDNS", "ExternalDNS"] as const;

export interface CiliumNodesOptions {
  readonly client: Pick<KubeClient, "get" | "create" | "patch" | "delete">;
  readonly view: ClusterView;
  readonly log: Logger;
  readonly counters: Counters;
}

export class CiliumNodes {
  readonly #options: CiliumNodesOptions;

  constructor(options: CiliumNodesOptions) {
    this.#options = options;
  }

  /** Looks at all nodes once. @throws what the client throws */
  async round(term: Term): Promise<void> {
    const { view } = this.#options;
    for (const [name, node] of view.nodes) {
      if (!term.held()) return;
      await this.#write(node, view.ciliumNodes.get(name) ?? null, term.signal);
    }
    for (const [name, ciliumNode] of view.ciliumNodes) {
      if (!term.held()) return;
      if (!view.nodes.has(name) && ownersOf(ciliumNode).length > 0) await this.#delete(ciliumNode, term);
    }
  }

  async #write(node: KubeObject, known: KubeObject | null, signal: AbortSignal): Promise<void> {
    const { client, log, counters } = this.#options;
    const { name } = node.metadata;
    const wanted = wantedNode(node, known);
    if (known !== null && JSON.stringify(factsOf(known)) === JSON.stringify(factsOf(wanted))) return;
    const { resourceVersion } = known?.metadata ?? {};
    const work =
      known === null
        ? client.create(kinds.ciliumNodes, wanted, { signal })
        : client.patch(
            kinds.ciliumNodes,
            { name },
            { ...wanted, metadata: { ...wanted.metadata, resourceVersion } },
            { signal },
          );
    // Written by somebody else at the same moment: the view tells, and what is still missing is written then.
    if ((await unlessChanged(work)) === null) return;
    counters.add("nodes_written_total");
    log.info({ node: name }, known === null ? "has a CiliumNode" : "CiliumNode brought up to date");
  }

  async #delete({ metadata }: KubeObject, term: Term): Promise<void> {
    const { client, log, counters } = this.#options;
    const { name, uid, resourceVersion } = metadata;
    const { signal } = term;
    const node = await client.get(kinds.nodes, { name }, { signal }).catch((error: unknown) => {
      if (isStatus(error, 404)) return null;
      throw error;
    });
    if (node !== null || !term.held()) return;
    const version = {
      ...(uid === undefined ? {} : { uid }),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
    };
    if ((await unlessChanged(client.delete(kinds.ciliumNodes, { name }, { ...version, signal }))) !== true) return;
    counters.add("nodes_deleted_total");
    log.info({ node: name }, "CiliumNode deleted: its Node is gone");
  }
}

/** What a Node says, with what is kept of the CiliumNode that is there. */
function wantedNode(node: KubeObject, known: KubeObject | null): KubeObject & { readonly spec: NodeSpec } {
  const { name, uid = "" } = node.metadata;
  const owner: OwnerReference = { apiVersion: "v1", kind: "Node", name, uid };
  const others = (known?.metadata.ownerReferences ?? []).filter(({ kind }) => kind !== "Node");
  const { addresses, podCIDRs } = factsOf(known ?? { metadata: { name } });
  const own = addressesOf(isRecord(node.status) ? node.status.addresses : []).filter(({ type }) =>
    nodeTypes.some((each) => each === type),
  );
  const kept = addresses.filter(({ type }) => !nodeTypes.some((each) => each === type));
  const cidrs = podCidrsOf(node);
  return {
    metadata: { name, ownerReferences: [...others, owner] },
    spec: {
      addresses: [...own, ...kept],
      // Without any of its own it may be somebody else who hands them out.
      ipam: { podCIDRs: cidrs.length > 0 ? [...cidrs] : [...podCIDRs] },
    },
  };
}

/** What is written of it, in one form. */
function factsOf({ metadata, spec }: KubeObject) {
  const { addresses, ipam } = isRecord(spec) ? spec : {};
  const { podCIDRs } = isRecord(ipam) ? ipam : {};
  return {
    owners: (metadata.ownerReferences ?? []).map(({ kind, uid }) => `${kind} ${uid}`),
    addresses: addressesOf(addresses),
    podCIDRs: textsOf(podCIDRs),
  };
}

/** Node.status.addresses have `address`, CiliumNode.spec.addresses have `ip`. */
function addressesOf(value: unknown): readonly NodeAddress[] {
  if (!Array.isArray(value)) return [];
  return (value as readonly unknown[]).filter(isRecord).map(({ type, ip, address }) => ({
    type: String(type) as NonNullable<NodeAddress["type"]>,
    ip: String(ip ?? address),
  }));
}

/** As agents read them (sources/files/read-cluster.ts), and kube-router, which announces them: its annotation stands above the spec. */
function podCidrsOf({ metadata, spec }: KubeObject): readonly string[] {
  const annotated = (name: string) =>
    (metadata.annotations?.[name] ?? "").split(",").flatMap((text) => text.trim() || []);
  const own = annotated("kube-router.io/pod-cidrs");
  if (own.length > 0) return own;
  const { podCIDR, podCIDRs } = isRecord(spec) ? spec : {};
  const several = textsOf(podCIDRs);
  if (several.length > 0) return several;
  if (typeof podCIDR === "string" && podCIDR !== "") return [podCIDR];
  return annotated("kube-router.io/pod-cidr");
}

function textsOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? (value as readonly unknown[]).filter((each) => typeof each === "string") : [];
}

function ownersOf({ metadata }: KubeObject): readonly OwnerReference[] {
  return (metadata.ownerReferences ?? []).filter(({ kind }) => kind === "Node");
}
