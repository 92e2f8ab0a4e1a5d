/** What the datapath tells of itself and of the kernel, in the field's terms; the agent makes DTOs of it. */
import type { Address, Prefix } from "../model/ip.ts";
import type { Features } from "../native/bpf-contract.ts";

export type Direction = "egress" | "ingress";

/** An address with a port in host order. */
export interface Endpoint {
  readonly address: Address;
  readonly port: number;
}

export interface ReconcilerReport {
  readonly name: string;
  /** Entries written or deleted since the start. */
  readonly writes: number;
  /** Entries that differed from what this agent had written, found by the slow comparison. */
  readonly repaired: number;
  readonly failures: number;
  readonly lastError: string | null;
}

/** How from_wire is on an uplink. */
export interface WireReport {
  /** Name of the uplink. */
  readonly device: string;
  readonly mode: "native" | "generic" | "off";
  /** Why it is off; empty: it is not. */
  readonly why: string;
}

/** How packets come to the L7 proxy. */
export interface RedirectReport {
  /** bpf_sk_assign, a table of nft, or not at all. */
  readonly way: "assign" | "tproxy" | "closed";
  /** Empty: it is the usual one. */
  readonly why: string;
}

export interface DatapathReport {
  /** Empty until they were probed. */
  readonly features: Features;
  readonly mode: "tcx" | "clsact";
  /** Endpoints with both programs attached. */
  readonly attachedEndpoints: number;
  /** Names of uplinks with both programs attached. */
  readonly attachedUplinks: readonly string[];
  /** Of every uplink. */
  readonly xdp: readonly WireReport[];
  readonly proxyRedirect: RedirectReport;
  readonly cgroup: string | null;
  readonly reconcilers: readonly ReconcilerReport[];
  /** entries: null where counting would cost too much. */
  readonly maps: readonly { readonly name: string; readonly entries: number | null; readonly max: number }[];
}

export interface TrafficCount {
  /** Number of `reasons.h`; 0 is forwarded. */
  readonly reason: number;
  readonly direction: Direction;
  readonly packets: number;
  readonly bytes: number;
}

/** What the kernel has of one endpoint. */
export interface EndpointState {
  readonly state: "closed" | "ready";
  readonly policyRevision: number;
  /** Number of the policy set, 0: none. */
  readonly policySet: number;
  /** Why it does not have the policy of the last update. Not set: it has. */
  readonly heldBack?: string;
}

export interface KernelFlow {
  readonly family: 4 | 6;
  /** IANA number. */
  readonly protocol: number;
  /** Who opened it. */
  readonly source: Endpoint;
  readonly destination: Endpoint;
  /** "opening", "established", "closing", "unreplied", "replied", "service" (client and its backend choice). */
  readonly state: string;
  readonly idleSeconds: number;
  readonly ageSeconds: number;
  /** What replies show instead of the destination, or the backend that was chosen. */
  readonly nat: Endpoint | null;
  readonly egressRevision: number;
  readonly ingressRevision: number;
}

/** A flow whose source this node replaces, as its initiator sends it. */
export interface KernelRenaming {
  readonly family: 4 | 6;
  /** IANA number. */
  readonly protocol: number;
  readonly source: Endpoint;
  readonly destination: Endpoint;
  /** What its peer sees. */
  readonly to: { readonly source: Endpoint; readonly destination: Endpoint };
  /** service: to a backend on another node. */
  readonly kind: "masquerade" | "service";
  /** As of KernelFlow. */
  readonly state: string;
  readonly idleSeconds: number;
}

/** The backend that a client had last. */
export interface KernelAffinity {
  /** netns: all sockets of a network namespace, by its cookie; socket: one that sends datagrams. */
  readonly client:
    | { readonly kind: "address"; readonly address: Address }
    | { readonly kind: "netns" | "socket"; readonly cookie: bigint };
  readonly service: Endpoint;
  readonly protocol: number;
  readonly backend: Endpoint;
  readonly idleSeconds: number;
}

export interface KernelIdentity {
  readonly address: Address;
  readonly identity: number;
}

export interface KernelGroup {
  readonly group: number;
  readonly action: "deny" | "allow" | "redirect";
  /** Identities (0: any peer) and prefixes that name it. */
  readonly identities: readonly number[];
  readonly prefixes: readonly Prefix[];
  /** bits as in CompiledDirection.ports. */
  readonly ports: readonly { readonly protocol: number; readonly port: number; readonly bits: number }[];
  readonly origins: readonly string[];
}

export interface KernelPolicySet {
  readonly set: number;
  readonly direction: Direction;
  readonly enforced: boolean;
  readonly groups: readonly KernelGroup[];
}

/** What one end says of a packet. */
export interface PolicyJudgement {
  readonly verdict: "allow" | "deny" | "redirect";
  /** The group that decides; null: the default. */
  readonly group: number | null;
}

/** Flows that began at one address of a service since it came. */
export interface ServiceFlowCount {
  readonly frontend: Endpoint;
  readonly protocol: number;
  readonly outside: boolean;
  readonly begun: number;
}

export interface KernelService {
  readonly frontend: Endpoint;
  readonly protocol: number;
  /** For clients who come by an uplink; else for the node's pods and its own processes. */
  readonly outside: boolean;
  readonly backends: readonly Endpoint[];
}

/** A service for which a hash of the client chooses. */
export interface KernelMaglev extends KernelService {
  /** By slot: position in `backends`; null: that part of the table is not there. Empty: hashes are spread over the backends evenly. */
  readonly table: readonly (number | null)[];
}

/** One record of the ring, decoded (struct event of types.h). */
export interface DatapathEvent {
  /** ns of CLOCK_MONOTONIC. */
  readonly timeNs: bigint;
  readonly type: "drop" | "verdict" | "flow";
  readonly reason: number;
  readonly direction: Direction;
  readonly protocol: number;
  readonly allowed: boolean;
  readonly audit: boolean;
  /** Allowed as far as the L7 proxy, which has the last word. */
  readonly proxied: boolean;
  readonly reply: boolean;
  readonly source: Endpoint;
  readonly destination: Endpoint;
  readonly sourceIdentity: number;
  readonly destinationIdentity: number;
  readonly ifindex: number;
  /** Endpoint number, 0: none. */
  readonly endpoint: number;
  /** Rules behind the verdict ("NetworkPolicy shop/db ingress[0]"), by policy set and lowest group; empty: none. */
  readonly rules: readonly string[];
  /** Bytes of the packet. */
  readonly length: number;
}

/** Records as they came, decoded only if somebody asks. */
export interface EventBatch {
  readonly count: number;
  decode(): readonly DatapathEvent[];
}
