/** Who is who in a case: which pod, node or outside host an end of a probe means, and who serves at an address. */
import type { KubeObject, Pod, Service } from "../objects.ts";
import type { ConformanceCase } from "./case.ts";

/** One end of a probe. */
export interface End {
  /** Where its packets come from: "shop/front", "node/worker-1" or "outside". */
  readonly place: string;
  /** Who answers there: as `place`, but a pod on the host network is its node. */
  readonly server: string;
  /** Those that may be used. */
  readonly addresses: readonly string[];
  readonly onNode: boolean;
}

export interface Backend {
  readonly address: string;
  readonly port: number;
}

export const outside = "outside";

/** The pods of a case that take part: they have an address and are not finished. */
export function livePods(cluster: readonly KubeObject[]): readonly Pod[] {
  return cluster.filter(
    (object): object is Pod =>
      object.kind === "Pod" &&
      !["Succeeded", "Failed"].includes((object as Pod).status?.phase ?? "") &&
      addressesOf(object as Pod).length > 0,
  );
}

/** `podIPs`, or `podIP` where a manifest has only that. */
export function addressesOf(pod: Pod): readonly string[] {
  const { podIPs, podIP } = pod.status ?? {};
  if (podIPs !== undefined && podIPs.length > 0) return podIPs.map(({ ip }) => ip);
  return typeof podIP === "string" ? [podIP] : [];
}

export function podTitle({ metadata }: KubeObject): string {
  return `${metadata.namespace}/${metadata.name}`;
}

/** InternalIP addresses, as the manifest has them. */
export function nodeAddresses(node: KubeObject): readonly string[] {
  const { status } = node as {
    readonly status?: { readonly addresses?: readonly { type: string; address: string }[] };
  };
  return (status?.addresses ?? []).filter(({ type }) => type === "InternalIP").map(({ address }) => address);
}

export class Who {
  readonly #pods: ReadonlyMap<string, Pod>;
  readonly #nodes: ReadonlyMap<string, readonly string[]>;
  /** Address to who holds it. */
  readonly #holders = new Map<string, End>();
  readonly #objects: readonly KubeObject[];

  constructor({ cluster }: Pick<ConformanceCase, "cluster">) {
    this.#objects = cluster;
    this.#pods = new Map(livePods(cluster).map((pod) => [podTitle(pod), pod]));
    const nodes = cluster.filter(({ kind }) => kind === "Node");
    this.#nodes = new Map(nodes.map((node) => [node.metadata.name, nodeAddresses(node)]));
    for (const [title, pod] of this.#pods) {
      if (pod.spec.hostNetwork === true) continue;
      for (const address of addressesOf(pod)) this.#holders.set(address, this.end(title) as End);
    }
    for (const [name, addresses] of this.#nodes) {
      for (const address of addresses) this.#holders.set(address, this.end(`node/${name}`) as End);
    }
  }

  /** null: no such pod or node. */
  end(text: string): End | null {
    if (!text.includes("/")) {
      const holder = this.#holders.get(text);
      if (holder !== undefined) return { ...holder, addresses: [text] };
      return { place: outside, server: outside, addresses: [text], onNode: false };
    }
    const pod = this.#pods.get(text);
    if (pod !== undefined) {
      const onNode = pod.spec.hostNetwork === true;
      return { place: text, server: onNode ? `node/${pod.spec.nodeName}` : text, addresses: addressesOf(pod), onNode };
    }
    const addresses = text.startsWith("node/") ? this.#nodes.get(text.slice("node/".length)) : undefined;
    return addresses === undefined ? null : { place: text, server: text, addresses, onNode: true };
  }

  /** Cluster addresses and ready backends of a service's port; null: no such service ("shop/cart"). */
  service(title: string, protocol: string, port: number): ServiceEnd | null {
    const service = this.#objects.find((o): o is Service => o.kind === "Service" && podTitle(o) === title);
    if (service === undefined) return null;
    const { clusterIP, clusterIPs, ports = [] } = service.spec;
    const addresses = (clusterIPs ?? (clusterIP === undefined ? [] : [clusterIP])).filter((ip) => ip !== "None");
    const named = ports.find((candidate) => candidate.protocol === protocol && candidate.port === port);
    const slices = this.#objects.filter(
      ({ kind, metadata }) =>
        kind === "EndpointSlice" &&
        metadata.namespace === service.metadata.namespace &&
        metadata.labels?.["kubernetes.io/service-name"] === service.metadata.name,
    ) as readonly Slice[];
    if (named === undefined) return { addresses, backends: [] };
    return { addresses, backends: slices.flatMap((slice) => readyBackends(slice, named.name ?? "", protocol)) };
  }

  /** Every address that a probe or a service needs and that nobody in the cluster has. */
  outsideAddresses(probes: ConformanceCase["probes"]): readonly string[] {
    const named = probes.flatMap(({ from, to }) => [from, to]).filter((text) => !text.includes("/"));
    const slices = this.#objects.filter(({ kind }) => kind === "EndpointSlice") as readonly Slice[];
    const behind = slices.flatMap(({ endpoints }) => (endpoints ?? []).flatMap(({ addresses }) => addresses));
    return [...new Set([...named, ...behind])].filter((address) => !this.#holders.has(address)).sort();
  }
}

export interface ServiceEnd {
  readonly addresses: readonly string[];
  readonly backends: readonly Backend[];
}

interface Slice extends KubeObject {
  readonly endpoints?: readonly {
    readonly addresses: readonly string[];
    readonly conditions?: { readonly ready?: boolean };
  }[];
  readonly ports?: readonly { readonly name?: string; readonly protocol?: string; readonly port: number }[];
}

function readyBackends({ endpoints = [], ports = [] }: Slice, name: string, protocol: string): readonly Backend[] {
  const port = ports.find((candidate) => (candidate.name ?? "") === name && (candidate.protocol ?? "TCP") === protocol);
  if (port === undefined) return [];
  return endpoints
    .filter(({ conditions }) => conditions?.ready !== false)
    .flatMap(({ addresses }) => addresses.map((address) => ({ address, port: port.port })));
}

export function familyOf(address: string): 4 | 6 {
  return address.includes(":") ? 6 : 4;
}
