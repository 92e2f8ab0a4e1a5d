/**
 * What compute hands to the datapath: what has to hold in the kernel of this node, in terms of the field and not of map bytes.
 * Keys identify entries over time, so that a reconciler can compare. Same tables in, same desired state out, in any order.
 */
import type { NamePattern } from "../model/dns-names.ts";
import type { Address, Prefix } from "../model/ip.ts";
import type { LocalEndpointRow, SourceRanges, UplinkRow } from "../model/tables.ts";

export interface DesiredIdentity {
  readonly address: Address;
  readonly identity: number;
  readonly localNode: boolean;
  readonly node: boolean;
}

/** Sorted group numbers, < 512. */
export type Groups = readonly number[];

/** Patterns of names of DNS, each with the groups that name it. */
export type CompiledNames = readonly { readonly pattern: NamePattern; readonly groups: Groups }[];

/** One prefix with the groups that hold for it. */
export interface CompiledPrefix {
  readonly prefix: Prefix;
  readonly groups: Groups;
}

/** One direction of a compiled set. */
export interface CompiledDirection {
  /** Default deny holds. */
  readonly enforced: boolean;
  /** Groups before the denies that allow: only a node's own set has some. */
  readonly guards?: number;
  readonly denies: number;
  readonly allows: number;
  readonly redirects: number;
  /** Canonical text of what each redirecting group demands, in their order. Not set: there are none. */
  readonly demands?: readonly string[];
  /** Groups of prefixes that count only for peers outside of the cluster. */
  readonly outsideOnly: Groups;
  /** identity (0: any peer) -> groups. */
  readonly peers: ReadonlyMap<number, Groups>;
  /** The longest prefix carries all shorter ones' groups that hold. */
  readonly prefixes: readonly CompiledPrefix[];
  /** Whose addresses are among the prefixes too, as far as they are known. Not set: no rule is about names. */
  readonly names?: CompiledNames;
  /** bits: 0 every protocol; 8: every port of protocol; 8+n: n bits of port. The longest carries the shorter ones' groups. */
  readonly ports: readonly {
    readonly protocol: number;
    readonly port: number;
    readonly bits: number;
    readonly groups: Groups;
  }[];
  /** Per group: which rules it came from, for `policy get` and the monitor ("NetworkPolicy shop/db ingress[0]"). */
  readonly origins: readonly (readonly string[])[];
}

/**
 * What of a set comes from names of DNS, apart: it changes often, one address at a time, and the rest of the set does not. Only rules about
 * what pods may reach (egress) name them.
 */
export interface NamedPrefixes {
  /** Key of the set as its rules give it, which several pods may have. */
  readonly set: string;
  /** Of the set without addresses of names: the same as long as its rules say the same, and for each pod its own where names are a pod's own. */
  readonly base: string;
  /** Of egress, without addresses of names. */
  readonly prefixes: readonly CompiledPrefix[];
  /** Entries to add, or to have instead of those of an equal prefix; by the address's text. An entry that stays is the same object. */
  readonly entries: ReadonlyMap<string, CompiledPrefix>;
}

/** A policy set: what applies to one local identity. Two pods of equal labels share it. */
export interface CompiledSet {
  /** Stable name of its subject, e.g. the identity number as text. */
  readonly key: string;
  /** Digest of everything below: equal content, equal digest. */
  readonly digest: string;
  readonly egress: CompiledDirection;
  readonly ingress: CompiledDirection;
  /** Not set: no rule is about names. */
  readonly named?: NamedPrefixes;
  /** Not null: refused (more than 512 groups, …); the pods keep their last good set, deny if there was none. */
  readonly refused: string | null;
}

export interface DesiredEndpoint {
  readonly row: LocalEndpointRow;
  readonly identity: number;
  /** CompiledSet.key; null while pod, identity or policy is not known: the endpoint stays closed. */
  readonly set: string | null;
  readonly audit: boolean;
}

/** The node itself. */
export interface DesiredHost {
  /** CompiledSet.key */
  readonly set: string;
  readonly audit: boolean;
}

export interface DesiredBackend {
  readonly address: Address;
  readonly port: number;
  /** Its share of a Maglev table against the others', 1-65535. Not set: 1. */
  readonly weight?: number;
}

export interface DesiredFrontend {
  readonly address: Address;
  readonly port: number;
  /** IANA number: 6, 17, 132. */
  readonly protocol: number;
  readonly external: boolean;
  /** A port of the node, which its own servers may not have. Not set: no. */
  readonly nodePort?: boolean;
  readonly affinitySeconds: number | null;
  /** Sorted; same family as the address. */
  readonly backends: readonly DesiredBackend[];
  /** Who serves clients outside, who come by an uplink. Not set: it is not translated for them. */
  readonly outside?: readonly DesiredBackend[];
  /** Which clients outside may use it; prefixes of the address's family, none of them twice. Not set: all. */
  readonly sources?: SourceRanges;
  /** Of those the ones on other nodes answer the clients themselves. Not set: by this node, which asks them in its name. */
  readonly directReturn?: boolean;
  /** Of those that get no new connections the ones that still serve: as they end, or for other nodes. Not set: none. */
  readonly others?: readonly DesiredBackend[];
  /** What chooses for clients inside; for those outside it is always a Maglev table. Not set: chance. */
  readonly selection?: "maglev";
  /** "namespace/name:port". */
  readonly service: string;
}

/** A port of this node that answers whether a service has backends here (core/v1, ServiceSpec.healthCheckNodePort). */
export interface DesiredHealthCheck {
  readonly port: number;
  readonly namespace: string;
  readonly name: string;
  /** Pods of this node that serve clients outside. */
  readonly localEndpoints: number;
}

/** A prefix inside of which pods' own addresses are kept, or are not, as an exception from a shorter one. */
export interface DesiredNativePrefix {
  readonly prefix: Prefix;
  readonly keep: boolean;
}

/** The source of what leaves by a device in this node's name; null: there is none. */
export interface DesiredDeviceSource {
  readonly ifindex: number;
  readonly ipv4: Address | null;
  readonly ipv6: Address | null;
}

export interface DesiredState {
  /** By the address's text. */
  readonly identities: ReadonlyMap<string, DesiredIdentity>;
  readonly clusterPrefixes: readonly Prefix[];
  readonly endpoints: readonly DesiredEndpoint[];
  /** Not set: no policy selects this node, so that its own traffic is not judged. */
  readonly host?: DesiredHost;
  readonly sets: readonly CompiledSet[];
  readonly frontends: readonly DesiredFrontend[];
  /** By port; each once. Not set: none. */
  readonly healthChecks?: readonly DesiredHealthCheck[];
  /** Addresses of services that other nodes serve and this one does not; sorted, each once. Not set: none. */
  readonly elsewhere?: readonly Address[];
  readonly uplinks: readonly UplinkRow[];
  /** By the prefix's text. Not set: none, as nothing is masqueraded. */
  readonly nativePrefixes?: ReadonlyMap<string, DesiredNativePrefix>;
  /** By ifindex. Not set: none. */
  readonly deviceSources?: readonly DesiredDeviceSource[];
  /** Of this node, to be closed. Not set: the node is not known (yet, or its Node is gone), which changes nothing. */
  readonly podCidrs?: readonly Prefix[];
}
