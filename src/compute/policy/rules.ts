/**
 * Policies of every kind, read and normalised: what the compiler and the resolver work on. Nothing here knows of YAML, and nothing
 * of addresses that pods have at the moment.
 */
import type { NamePattern } from "../../model/dns-names.ts";
import type { Prefix } from "../../model/ip.ts";
import type { Selector } from "../../model/labels.ts";
import type { Problem } from "../../model/status.ts";

export type Direction = "ingress" | "egress";
export type Action = "deny" | "allow" | "redirect";

/** IANA protocol numbers. */
export const protocolNumbers = { ICMP: 1, TCP: 6, UDP: 17, ICMPv6: 58, SCTP: 132 } as const;

/** Addresses in `prefix` but in none of `except`. */
export interface Block {
  readonly prefix: Prefix;
  readonly except: readonly Prefix[];
  /** Counts for peers outside of the cluster only. */
  readonly outsideOnly: boolean;
}

export type Entity =
  | "all"
  | "cluster"
  | "host"
  | "remote-node"
  | "world"
  | "world-ipv4"
  | "world-ipv6"
  | "kube-apiserver"
  | "health"
  | "init"
  | "unmanaged"
  | "ingress"
  | "none";

export type Peer =
  | { readonly kind: "any" }
  /** Pods by labels. `narrowed`: what the subject's policies require of peers counts too. */
  | { readonly kind: "pods"; readonly selector: Selector; readonly narrowed: boolean }
  | { readonly kind: "entity"; readonly entity: Entity }
  | { readonly kind: "block"; readonly block: Block }
  /** Addresses of CiliumCIDRGroups, outside of the cluster only; without those in `except`. */
  | { readonly kind: "group"; readonly group: GroupReference; readonly except: readonly Prefix[] }
  /** Nodes by the labels of their Node objects, but never the subject's own: that is the entity `host`. */
  | { readonly kind: "nodes"; readonly selector: Selector }
  /** What the names have given, outside of the cluster only. */
  | { readonly kind: "names"; readonly pattern: NamePattern }
  /** Services by name (null: any) and labels in a namespace (null: all). */
  | {
      readonly kind: "service";
      readonly namespace: string | null;
      readonly name: string | null;
      readonly selector: Selector;
    };

export type GroupReference =
  /** `field`: where it is written, "spec.egress[0].toCIDRSet[0].cidrGroupRef". */
  | { readonly kind: "name"; readonly name: string; readonly field: string }
  | { readonly kind: "labels"; readonly selector: Selector };

/** Ports of the destination. ICMP types are ports too: type << 8 is the first, so that one type is 256 of them. */
export type Port =
  | { readonly kind: "everything" }
  | { readonly kind: "range"; readonly protocol: number; readonly first: number; readonly last: number }
  | { readonly kind: "named"; readonly protocol: number; readonly name: string };

/** One entry of a policy, matching where one of the peers and one of the ports do. No peers or no ports: never. */
export interface Rule {
  readonly direction: Direction;
  readonly action: Action;
  readonly peers: readonly Peer[];
  readonly ports: readonly Port[];
  /** Canonical text of the L7 rules of a redirect; "" otherwise. */
  readonly l7: string;
  /** "NetworkPolicy shop/db ingress[0]". */
  readonly origin: string;
}

/** A condition on the endpoint peers of other rules; it grants nothing. Those of deny rules narrow deny rules only, as Cilium does. */
export interface Requires {
  readonly direction: Direction;
  readonly denies: boolean;
  readonly selector: Selector;
}

/** One subject with its rules: a NetworkPolicy, or one of the specs of a Cilium policy. */
export interface Spec {
  readonly subject: Selector;
  /** Directions that this one puts into default deny. */
  readonly isolates: { readonly ingress: boolean; readonly egress: boolean };
  readonly rules: readonly Rule[];
  /** What endpoint peers of all Cilium policies of the subject must also match, in rules that allow and in rules that deny. */
  readonly requires: readonly Requires[];
}

export interface ParsedPolicy {
  /** "CiliumNetworkPolicy shop/api". */
  readonly object: string;
  /** No error among the problems. Otherwise there are no specs: a policy holds whole or not at all. */
  readonly valid: boolean;
  readonly specs: readonly Spec[];
  readonly problems: readonly Problem[];
}
