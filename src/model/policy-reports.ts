/**
 * What policies say about a connection and about one pod or node, as plain data: made by compute, offline and in an agent alike, served by the
 * API and printed by the command line, so that all three tell the same.
 */
export type PolicyDirection = "ingress" | "egress";

/** redirect: L7 rules decide. */
export type PolicyAction = "allow" | "deny" | "redirect";

/** As a whole: an L7 verdict is called by its name. */
export type TraceVerdict = "allow" | "deny" | "l7";

export interface TraceParty {
  readonly kind: "pod" | "node" | "unmanaged" | "outside";
  /** "shop/web", "node/worker-1", or its address. */
  readonly name: string;
  readonly address: string;
  /** Where it runs; null for what is on no node. */
  readonly node: string | null;
  /** As the other end's node sees it; null where nobody judges. */
  readonly identity: number | null;
  readonly labels: readonly string[];
  /** The identity in words: "app=web in shop", "other nodes"; "" without one. */
  readonly about: string;
}

export interface TraceGroup {
  readonly group: number;
  readonly action: PolicyAction;
  /** "TCP 80, 443". */
  readonly ports: string;
  /** "NetworkPolicy shop/db ingress[0]" */
  readonly origins: readonly string[];
}

/** What the kernel of the agent's node says of the packet, by its own maps. */
export interface KernelVerdict {
  readonly verdict: PolicyAction;
  /** The group that decides; null: the default. */
  readonly group: number | null;
}

/** What one end says. */
export interface TraceEnd {
  readonly side: PolicyDirection;
  /** Whose policies they are. */
  readonly subject: string;
  /** Whose kernel judges it; null: nobody's. */
  readonly node: string | null;
  readonly verdict: PolicyAction;
  readonly because: string;
  /** Those that decide; none where nothing matched. */
  readonly rules: readonly string[];
  readonly basis: "unpoliced" | "open" | "group" | "default" | "refused";
  readonly enforced: boolean;
  readonly closedBy: readonly string[];
  /** Groups that name the peer, and those that hold the port; null: there are no groups. */
  readonly lookup: { readonly peer: readonly number[]; readonly port: readonly number[] } | null;
  /** Those that do both, the deciding one first. */
  readonly groups: readonly TraceGroup[];
  /** Rules that come near, where nothing allows it: "X names this peer, but allows TCP 80". */
  readonly near: readonly string[];
  /** An agent's, of an end on its node: audit mode lets through what this end denies. */
  readonly audit?: boolean;
  /** An agent's, of an end on its node; null: the end has no policy in the kernel, or is closed until it has. */
  readonly kernel?: KernelVerdict | null;
}

/** The way to one destination. */
export interface TracePath {
  readonly verdict: TraceVerdict;
  /** IANA number; port of the destination, ICMP: type << 8. */
  readonly flow: { readonly protocol: number; readonly port: number };
  /** "TCP 80" */
  readonly flowText: string;
  readonly source: TraceParty;
  readonly destination: TraceParty;
  /** Egress of the source, then ingress of the destination; none for traffic of a pod or node to itself. */
  readonly ends: readonly TraceEnd[];
}

export interface PolicyTrace {
  /** "shop/web -> shop/api TCP 80" */
  readonly title: string;
  /** The worst of all paths. */
  readonly verdict: TraceVerdict;
  readonly service: { readonly name: string; readonly address: string | null } | null;
  /** Why there is no path. */
  readonly nowhere: string | null;
  /** One for each backend of a service. */
  readonly paths: readonly TracePath[];
}

export interface RulePeer {
  /** "app=web in shop", "the pod's own node", "10.0.0.0/8 except 10.1.0.0/16, outside of the cluster". */
  readonly text: string;
  /** Those that it stands for, sorted. */
  readonly pods: readonly string[];
}

export interface RuleGroup {
  readonly group: number;
  readonly action: PolicyAction;
  readonly ports: string;
  readonly peers: readonly RulePeer[];
  /** What L7 rules demand; "" otherwise. */
  readonly l7: string;
  readonly origins: readonly string[];
}

export interface RuleDirection {
  readonly direction: PolicyDirection;
  readonly default: "allow" | "deny";
  readonly closedBy: readonly string[];
  /** In the order in which they decide. */
  readonly groups: readonly RuleGroup[];
}

/** The resolved rules of one pod or node. */
export interface ResolvedRules {
  /** "shop/web", "node/worker-1" */
  readonly subject: string;
  readonly node: string;
  readonly addresses: readonly string[];
  readonly identity: number;
  readonly labels: readonly string[];
  /** The identity in words. */
  readonly about: string;
  /** Other pods of the same identity. */
  readonly sharedWith: number;
  /** Policies, sorted. */
  readonly selectedBy: readonly string[];
  /** Key of the compiled set; null: none. */
  readonly set: string | null;
  /** Why the rules are refused; null: they hold. */
  readonly refused: string | null;
  readonly directions: readonly RuleDirection[];
}
