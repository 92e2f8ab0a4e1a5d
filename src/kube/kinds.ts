/** The kinds that Tandem reads or writes, and where the API server keeps their objects. */
import type { KubeObject, Lease } from "./objects.ts";

/** `T`: what its objects are taken for; nothing checks that. */
export interface KubeKind<T extends KubeObject = KubeObject> {
  /** "" is the core group. */
  readonly group: string;
  readonly version: string;
  /** As in paths: networkpolicies. */
  readonly plural: string;
  /** As in manifests: NetworkPolicy. */
  readonly kind: string;
  readonly namespaced: boolean;
  /** Never set: it only carries the type. */
  readonly object?: T;
}

export interface ObjectName {
  /** Left out for kinds without namespaces. */
  readonly namespace?: string;
  readonly name: string;
}

function kindOf<T extends KubeObject = KubeObject>(
  apiVersion: string,
  plural: string,
  kind: string,
  scope: "namespaced" | "cluster",
): KubeKind<T> {
  const slash = apiVersion.indexOf("/");
  return {
    group: slash < 0 ? "" : apiVersion.slice(0, slash),
    version: apiVersion.slice(slash + 1),
    plural,
    kind,
    namespaced: scope === "namespaced",
  };
}

export const kinds = {
  namespaces: kindOf("v1", "namespaces", "Namespace", "cluster"),
  nodes: kindOf("v1", "nodes", "Node", "cluster"),
  pods: kindOf("v1", "pods", "Pod", "namespaced"),
  services: kindOf("v1", "services", "Service", "namespaced"),
  configMaps: kindOf("v1", "configmaps", "ConfigMap", "namespaced"),
  events: kindOf("v1", "events", "Event", "namespaced"),
  endpointSlices: kindOf("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", "namespaced"),
  networkPolicies: kindOf("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", "namespaced"),
  leases: kindOf<Lease>("coordination.k8s.io/v1", "leases", "Lease", "namespaced"),
  customResourceDefinitions: kindOf(
    "apiextensions.k8s.io/v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    "cluster",
  ),
  ciliumNetworkPolicies: kindOf("cilium.io/v2", "ciliumnetworkpolicies", "CiliumNetworkPolicy", "namespaced"),
  ciliumClusterwideNetworkPolicies: kindOf(
    "cilium.io/v2",
    "ciliumclusterwidenetworkpolicies",
    "CiliumClusterwideNetworkPolicy",
    "cluster",
  ),
  ciliumCidrGroups: kindOf("cilium.io/v2", "ciliumcidrgroups", "CiliumCIDRGroup", "cluster"),
  ciliumEndpoints: kindOf("cilium.io/v2", "ciliumendpoints", "CiliumEndpoint", "namespaced"),
  ciliumIdentities: kindOf("cilium.io/v2", "ciliumidentities", "CiliumIdentity", "cluster"),
  ciliumNodes: kindOf("cilium.io/v2", "ciliumnodes", "CiliumNode", "cluster"),
} as const satisfies Record<string, KubeKind>;

/** "cilium.io/v2", or "v1" in the core group. */
export function apiVersionOf({ group, version }: Pick<KubeKind, "group" | "version">): string {
  return group === "" ? version : `${group}/${version}`;
}

/** "pods", "ciliumnodes.cilium.io": as kubectl and CustomResourceDefinitions call it. */
export function resourceName({ group, plural }: Pick<KubeKind, "group" | "plural">): string {
  return group === "" ? plural : `${plural}.${group}`;
}

/**
 * Below the server's address.
 * @param namespace left out: of all namespaces, or of a kind that has none
 */
export function collectionPath(kind: KubeKind, namespace?: string): string {
  const root = kind.group === "" ? "/api/" : "/apis/";
  const within = namespace === undefined ? "" : `/namespaces/${encodeURIComponent(namespace)}`;
  return `${root}${apiVersionOf(kind)}${within}/${kind.plural}`;
}

/** @param subresource as status */
export function objectPath(kind: KubeKind, { namespace, name }: ObjectName, subresource?: string): string {
  const path = `${collectionPath(kind, namespace)}/${encodeURIComponent(name)}`;
  return subresource === undefined ? path : `${path}/${subresource}`;
}

/** "Pod shop/web-0", for messages. */
export function objectTitle(kind: KubeKind, { namespace, name }: ObjectName): string {
  return `${kind.kind} ${namespace === undefined ? "" : `${namespace}/`}${name}`;
}
