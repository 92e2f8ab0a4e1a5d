/**
 * The tables of facts: what is true, as the sources saw it. Rows are readonly plain data; addresses and prefixes are the
 * types of `ip.ts`. No logic here. Keys are strings ("namespace/name").
 */
import type { Address, Prefix } from "./ip.ts";
import type { Labels, Selector } from "./labels.ts";
import type { NodeHealthRow } from "./node-health.ts";
import type { ConditionSink } from "./status.ts";

export type Protocol = "TCP" | "UDP" | "SCTP";

export interface NamespaceRow {
  readonly name: string;
  /** Always holds kubernetes.io/metadata.name. */
  readonly labels: Labels;
}

export interface NodeRow {
  readonly name: string;
  readonly labels: Labels;
  /** InternalIP (and ExternalIP) addresses. */
  readonly addresses: readonly Address[];
  readonly podCidrs: readonly Prefix[];
  /** Keys of its taints, "node.kubernetes.io/unschedulable" also for spec.unschedulable; sorted, each once. Not set: none. */
  readonly taints?: readonly string[];
}

export interface ContainerPort {
  readonly name: string | null;
  readonly port: number;
  readonly protocol: Protocol;
}

/** Traffic of a pod whose requests are told, and not judged. */
export interface PodVisibility {
  readonly direction: "ingress" | "egress";
  /** IANA number: 6, 17. */
  readonly protocol: number;
  readonly port: number;
  readonly l7: "http" | "dns" | "kafka";
}

export interface PodRow {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly labels: Labels;
  readonly node: string;
  readonly serviceAccount: string;
  readonly hostNetwork: boolean;
  readonly addresses: readonly Address[];
  readonly ports: readonly ContainerPort[];
  /** Pending, Running, Succeeded, Failed, Unknown. */
  readonly phase: string;
  /** Condition Ready; true where the manifest says nothing. */
  readonly ready: boolean;
  /** What its annotation policy.cilium.io/proxy-visibility names. Not set: nothing. */
  readonly visibility?: readonly PodVisibility[];
  /** Names of its annotations that limit its bandwidth. Not set: it has none. */
  readonly bandwidth?: readonly string[];
}

export interface ServicePort {
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
  readonly targetPort: number | string;
  readonly nodePort: number | null;
}

export interface ServiceRow {
  readonly namespace: string;
  readonly name: string;
  /** Not set: of a file. */
  readonly uid?: string;
  readonly type: "ClusterIP" | "NodePort" | "LoadBalancer" | "ExternalName";
  /** Empty: headless. */
  readonly clusterIps: readonly Address[];
  readonly externalIps: readonly Address[];
  readonly loadBalancerIps: readonly Address[];
  readonly ports: readonly ServicePort[];
  /** null: no selector (endpoints come from EndpointSlices only). */
  readonly selector: Labels | null;
  readonly affinitySeconds: number | null;
  readonly publishNotReady: boolean;
  /** Local: clients in the cluster reach, by a cluster address, only backends of their own node. */
  readonly internalTrafficPolicy: "Cluster" | "Local";
  /** Local: clients outside reach, by an outside address, only backends of the node that they came to. */
  readonly externalTrafficPolicy: "Cluster" | "Local";
  /** Port of every node at which a load balancer asks whether a backend is there; null: nobody asks. */
  readonly healthCheckNodePort: number | null;
  /** Which clients outside may use its load balancer's addresses (loadBalancerSourceRanges); null: all. */
  readonly sourceRanges: SourceRanges | null;
  /** Of the kinds of address that its type brings those that it is to have (service.cilium.io/type). Not set: all. */
  readonly exposed?: readonly ("ClusterIP" | "NodePort" | "LoadBalancer")[];
  /** The nodes that serve it (service.cilium.io/node-selector, service.cilium.io/node). Not set: all. */
  readonly nodes?: Selector;
  /** How backends on other nodes answer clients outside (service.cilium.io/forwarding-mode). Not set: as the node's settings say. */
  readonly forwarding?: "snat" | "dsr";
  /** What chooses a backend for clients inside (service.cilium.io/lb-algorithm). Not set: as the node's settings say. */
  readonly selection?: "random" | "maglev";
  /** What its annotations say of its announcement by BGP (tandem.io/advertise and others). Not set: nothing. */
  readonly advertise?: ServiceAdvertise;
  readonly labels: Labels;
}

/** Kinds of a service's address, as `Service` fields name them, that BGP may announce. */
export type AdvertisedKind = "ClusterIP" | "ExternalIPs" | "LoadBalancer";

/** Not set, each: as the node's settings say. */
export interface ServiceAdvertise {
  /** true: as the settings name kinds; empty: none. */
  readonly kinds?: true | readonly AdvertisedKind[];
  /** "64512:100" (RFC 1997), "64512:1:2" (RFC 8092). */
  readonly communities?: readonly string[];
  /** LOCAL_PREF, which only peers of the own AS see. */
  readonly localPref?: number;
  /** How often the own AS is added to the path. */
  readonly prepend?: number;
}

export interface SourceRanges {
  /** allow: those of the prefixes alone; deny: all but those. */
  readonly policy: "allow" | "deny";
  readonly prefixes: readonly Prefix[];
}

export interface EndpointSliceRow {
  readonly namespace: string;
  readonly name: string;
  /** Label kubernetes.io/service-name. */
  readonly service: string;
  readonly family: 4 | 6;
  /** Share of each of its endpoints in Maglev tables against others', up to 65535; 0: they get nothing new. Not set: 1. */
  readonly weight?: number;
  readonly endpoints: readonly {
    readonly addresses: readonly Address[];
    readonly ready: boolean;
    readonly serving: boolean;
    readonly terminating: boolean;
    readonly node: string | null;
    /** For clients of which zones and nodes it is meant (discovery/v1, EndpointHints); null: nothing is said. */
    readonly hints: { readonly zones: readonly string[]; readonly nodes: readonly string[] } | null;
  }[];
  readonly ports: readonly { readonly name: string; readonly protocol: Protocol; readonly port: number }[];
}

/** A policy object as it was written (already decoded YAML/JSON), validated by compute/policy. */
export interface PolicyRow {
  readonly kind: "NetworkPolicy" | "CiliumNetworkPolicy" | "CiliumClusterwideNetworkPolicy";
  /** Empty for clusterwide. */
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly generation: number;
  /** The object's `spec` and `specs`, as given. */
  readonly spec: unknown;
  readonly specs: readonly unknown[] | null;
}

/** A CiliumCIDRGroup: blocks of addresses that policies refer to by name or by labels. */
export interface CidrGroupRow {
  readonly name: string;
  readonly labels: Labels;
  readonly externalCidrs: readonly Prefix[];
}

/** What a DNS name has given to clients on this node, as long as policies may count on it. */
export interface NameRow {
  /** As `dns-names.ts` writes names: lower case, without the final dot. */
  readonly name: string;
  /** LocalEndpointRow.containerId of the pod that was answered; not set: they count for all pods. */
  readonly endpoint?: string;
  readonly addresses: readonly Address[];
}

/** A pod of this node as the CNI plugin made it. */
export interface LocalEndpointRow {
  /** "namespace/pod". */
  readonly pod: string;
  /** Of the Pod object, null where the runtime did not say: a pod of the same name with another uid is another pod. */
  readonly uid: string | null;
  readonly containerId: string;
  /** 1-65535, stable for the life of the endpoint. */
  readonly id: number;
  readonly ifindex: number;
  readonly ifname: string;
  readonly netns: string;
  readonly ipv4: Address | null;
  readonly ipv6: Address | null;
  /** 6 bytes as "aa:bb:cc:dd:ee:ff". */
  readonly podMac: string;
  readonly hostMac: string;
  /** Whether policy drops of this pod are only reported; null: as the agent's setting says. */
  readonly policyAuditMode: boolean | null;
}

/** A device of this node that leads to other nodes. */
export interface UplinkRow {
  readonly ifindex: number;
  readonly name: string;
  readonly mtu: number;
  /** No Ethernet header: tun-*. */
  readonly l3: boolean;
}

/** An address that this node itself answers on: of global scope, on a device that is no pod's. */
export interface LocalAddressRow {
  readonly address: Address;
  /** Name of a device that has it. */
  readonly device: string;
}

/** Addresses of one device that traffic of this node may have as its source: not link-local, in the kernel's order of choice. */
export interface DeviceAddressesRow {
  readonly ifindex: number;
  /** With the length of the prefix that is on the link. */
  readonly addresses: readonly { readonly address: Address; readonly length: number }[];
}

/** Who sees the own addresses of pods although no route says so. */
export interface NonMasqueradeRow {
  readonly prefix: Prefix;
}

/** A route of the main table to a pod CIDR or another prefix that matters. */
export interface RouteFactRow {
  readonly destination: Prefix;
  readonly protocol: number;
  readonly nextHops: readonly { readonly gateway: Address | null; readonly ifindex: number; readonly device: string }[];
  readonly metric: number;
  readonly mtu: number | null;
  /** ms since the epoch when this agent first saw it so. */
  readonly since: number;
}

/** A BGP neighbour of this node's speaker (kube-router). */
export interface BgpPeerRow {
  readonly address: Address;
  /** 0: not known before the first session. */
  readonly asn: number;
  /** ESTABLISHED, ACTIVE, … (RFC 4271 section 8.2.2). */
  readonly state: string;
  readonly adminDown: boolean;
  /** ms since the epoch since when the session stands, or is gone; null: there was none. */
  readonly since: number | null;
  /** Seconds of silence that end the session; 0: not negotiated. */
  readonly holdSeconds: number;
  readonly gracefulRestart: boolean;
  /** Prefixes of all families. */
  readonly received: number;
  readonly accepted: number;
  readonly advertised: number;
}

/** The best path to a prefix, as this node's speaker chose it. */
export interface BgpPathRow {
  readonly prefix: Prefix;
  readonly nextHop: Address | null;
  /** Whom it came from; null: this node announces it. */
  readonly peer: Address | null;
  /** "65000 64513", sets in braces; "" within the own AS. */
  readonly asPath: string;
  readonly localPref: number | null;
  readonly med: number | null;
  /** Also large ones. */
  readonly communities: readonly string[];
  /** Who brought it into the AS, where that is told (route reflectors). */
  readonly originatorId: string | null;
  /** Kept from a session that is gone (graceful restart). */
  readonly stale: boolean;
  /** Attributes that are not read, by name ("unknown type 99"). */
  readonly others: readonly string[];
}

/** All tables by name, keyed as said. `Tables` in `store.ts` holds them with their indexes and change feed. */
export interface TableRows {
  readonly namespaces: NamespaceRow; // name
  readonly nodes: NodeRow; // name
  readonly pods: PodRow; // namespace/name
  readonly services: ServiceRow; // namespace/name
  readonly endpointSlices: EndpointSliceRow; // namespace/name
  readonly policies: PolicyRow; // kind/namespace/name
  readonly cidrGroups: CidrGroupRow; // name
  readonly names: NameRow; // name
  readonly localEndpoints: LocalEndpointRow; // containerId
  readonly uplinks: UplinkRow; // ifindex
  readonly localAddresses: LocalAddressRow; // address text
  readonly deviceAddresses: DeviceAddressesRow; // ifindex
  readonly routes: RouteFactRow; // prefix text
  readonly nonMasquerade: NonMasqueradeRow; // prefix text
  readonly bgpPeers: BgpPeerRow; // address text
  readonly bgpPaths: BgpPathRow; // prefix text
  readonly nodeHealth: NodeHealthRow; // name of the node
}

export type TableName = keyof TableRows;
export type { ConditionSink };
