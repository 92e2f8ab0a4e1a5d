/**
 * What the agent's unix socket answers: plain JSON, the same fields that `tandem … --json` prints. HTTP over the socket:
 * GET /v1/status, /v1/endpoints, /v1/identities[/ID], /v1/policies, /v1/services, /v1/routes, /v1/health (health-dto.ts), /v1/metrics (metrics-dto.ts), /v1/bgp/peers, /v1/bgp/routes[?of=NODE|all], /v1/bgp/services, /v1/bpf/{ct,ipcache,policy,services},
 * GET /v1/services/NS%2FNAME, GET /v1/service/trace?client=…&to=… (service-dto.ts),
 * GET /v1/endpoints/{ID,NS%2FPOD} (EndpointDetailsDto), GET /v1/policy/trace?from=…&to=…&port=… (policy-dto.ts),
 * POST /v1/endpoints/{ID,NS%2FPOD}/config (EndpointOptionsDto -> EndpointDto),
 * GET /v1/events?type=drop,verdict,flow,l7&from=NS/POD&to=NS/POD (a stream of JSON lines: EventDto | LostEventsDto), GET /v1/version; GET /v1/proxy[/rules] (proxy-dto.ts); POST /v1/cni (CniRequest -> CniResponse).
 * A failure is {error: {code, message, remedy}} with a 4xx or 5xx status.
 */
import type { EndpointState } from "../model/endpoint-state.ts";
import type { Problem, ToldProblem } from "../model/status.ts";
import type { L7Record } from "../native/l7-contract.ts";
import type { ProxyDto } from "./proxy-dto.ts";

/** Whether pods are let onto this node, for which its place in the network is waited for once in a boot. */
export interface NetworkDto {
  /** degraded: the time for it was over. */
  readonly state: "waiting" | "ready" | "degraded";
  /** What is missing; "": nothing. */
  readonly text: string;
  /** Until it is waited for no longer; null: it is not waited for. */
  readonly secondsLeft: number | null;
}

export interface StatusDto {
  readonly ok: boolean;
  readonly node: string;
  readonly version: string;
  /** ISO time of start, and ms from start to ready. */
  readonly started: string;
  readonly readyMs: number | null;
  readonly ready: boolean;
  /** Counts changes of facts: the last one that was seen, and the last one that is in the kernel. */
  readonly revision: { readonly facts: number; readonly applied: number };
  readonly kernel: {
    readonly release: string;
    readonly features: Readonly<Record<string, { readonly supported: boolean; readonly detail: string }>>;
  };
  readonly attach: {
    readonly mode: "tcx" | "clsact";
    readonly endpoints: number;
    readonly uplinks: readonly string[];
    /** Of every uplink; `why` says why it is off. */
    readonly xdp: readonly {
      readonly device: string;
      readonly mode: "native" | "generic" | "off";
      readonly why: string;
    }[];
    /** How packets come to tandem-proxy: by bpf_sk_assign, by a table of nft, or not at all; `why` is empty for the usual way. */
    readonly proxyRedirect: { readonly way: "assign" | "tproxy" | "closed"; readonly why: string };
    readonly cgroup: string | null;
  };
  readonly sources: readonly {
    readonly name: string;
    readonly synced: boolean;
    readonly stale: boolean;
    readonly detail: string;
  }[];
  readonly addresses: readonly {
    readonly family: 4 | 6;
    readonly podCidr: string;
    readonly used: number;
    readonly size: number;
  }[];
  readonly counts: {
    readonly endpoints: number;
    readonly identities: number;
    readonly policies: number;
    readonly services: number;
    readonly backends: number;
  };
  readonly maps: readonly { readonly name: string; readonly entries: number | null; readonly max: number }[];
  readonly reconcilers: readonly {
    readonly name: string;
    readonly writes: number;
    readonly repaired: number;
    readonly failures: number;
    readonly lastError: string | null;
  }[];
  readonly drops: readonly {
    readonly reason: string;
    readonly direction: "ingress" | "egress";
    readonly packets: number;
    readonly bytes: number;
  }[];
  readonly forwarded: readonly {
    readonly direction: "ingress" | "egress";
    readonly packets: number;
    readonly bytes: number;
  }[];
  /** Who enforces L7 rules. */
  readonly proxy: ProxyDto;
  readonly network: NetworkDto;
  readonly routes: { readonly expected: number; readonly present: number; readonly missing: readonly string[] };
  /** Of pods; `from` says what decided: "route to 10.64.2.0/24 (node-2)". */
  readonly mtu: { readonly bytes: number; readonly from: string };
  readonly memory: { readonly rssBytes: number };
  readonly problems: readonly ToldProblem[];
}

/** A pod of this node, or (0, "node/NAME", without a device) the node itself, or (0, without a device) a pod that is not Tandem's. */
export interface EndpointDto {
  readonly id: number;
  readonly pod: string;
  readonly containerId: string;
  readonly ifname: string;
  readonly ifindex: number;
  readonly ipv4: string | null;
  readonly ipv6: string | null;
  readonly identity: number;
  readonly labels: readonly string[];
  /** unmanaged: a pod of this node that has its network from somebody else; no policy is enforced for it here. */
  readonly state: EndpointState | "unmanaged";
  /** Why it is in that state, where the state does not say it. */
  readonly reason: string | null;
  readonly policyRevision: number;
  readonly policySet: number;
  readonly enforcement: { readonly ingress: boolean; readonly egress: boolean };
  /** What policies would drop is reported and let through: `active` now; `own` of this pod, null: as the agent's setting says. */
  readonly policyAuditMode: { readonly active: boolean; readonly own: boolean | null };
}

/** What can be set for one pod. */
export interface EndpointOptionsDto {
  /** null: as the agent's setting says. */
  readonly policyAuditMode: boolean | null;
}

export interface IdentityDto {
  readonly id: number;
  readonly labels: readonly string[];
  readonly references: number;
  readonly reserved: boolean;
}

export interface PolicyDto {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly valid: boolean;
  /** Endpoint ids of this node that it selects. */
  readonly endpoints: readonly number[];
  /** It selects this node itself. */
  readonly ownNode: boolean;
  readonly problems: readonly Problem[];
}

export interface ServiceDto {
  readonly service: string;
  readonly type: string;
  readonly frontend: string;
  readonly protocol: string;
  readonly backends: readonly string[];
  /** Who serves clients outside that come to this node; null: they are not served here. */
  readonly outside: readonly string[] | null;
  /** Who announces the address by BGP, as this node knows: a node, or a next hop; null: nobody. Not set: of the kernel's maps. */
  readonly advertisedBy?: string | null;
}

/** Who brings clients outside to a service's address, as BGP on this node tells it. */
export interface ServiceAdvertisementDto {
  readonly address: string;
  /** "ClusterIP", "ExternalIPs", "LoadBalancer". */
  readonly type: string;
  /** own: this node announces it; learned: a peer told of it; none: nobody did; unknown: BGP is not known here (any more). */
  readonly path: "own" | "learned" | "none" | "unknown";
  /** Name of the node that announces it, else the next hop of the best path; null: nobody that is known. */
  readonly by: string | null;
  /** Ports ("80/TCP") at which a client that comes there gets no answer. */
  readonly unserved: readonly string[];
  /** What this agent makes of it. Not set: the setting advertiseServices is off, or the service is not among those that it is about. */
  readonly advertising?: Pick<BgpServiceDto, "state" | "why">;
}

/** A service address that this agent announces through kube-router's BGP daemon, or not. */
export interface BgpServiceDto {
  readonly address: string;
  readonly type: "ClusterIP" | "ExternalIPs" | "LoadBalancer";
  /** "namespace/name", of all that have it and want it announced. */
  readonly services: readonly string[];
  /**
   * advertised; foreign: somebody else announces it through this daemon;
   * waiting: it is to be announced, and is not yet; withheld: it is not to be.
   */
  readonly state: "advertised" | "foreign" | "waiting" | "withheld";
  readonly why: string;
  readonly communities: readonly string[];
  readonly localPref: number | null;
  /** Times that the own AS is added to the path. */
  readonly prepend: number;
}

/** A service for which a hash of the client chooses, and how its table shares the hashes out. */
export interface MaglevDto {
  /** "namespace/name:port"; empty: the agent does not know it (yet). */
  readonly service: string;
  readonly frontend: string;
  readonly protocol: string;
  /** inside: pods of this node, and the node; outside: whoever comes by an uplink. */
  readonly clients: "inside" | "outside";
  /** 0: without a table hashes are spread over the backends evenly. */
  readonly slots: number;
  /** Of backends and table: equal on every node that chooses alike. */
  readonly digest: string;
  readonly backends: readonly { readonly backend: string; readonly slots: number }[];
}

export interface MaglevTableDto extends MaglevDto {
  /** By slot: position in `backends`; null: that part of the table is not in the kernel. */
  readonly table: readonly (number | null)[];
}

export interface RouteDto {
  readonly node: string;
  readonly podCidr: string;
  readonly present: boolean;
  readonly local: boolean;
  readonly via: readonly string[];
  readonly device: readonly string[];
  /** "bgp (kube-router)", "static", … */
  readonly origin: string;
  readonly since: string | null;
  readonly mtu: number | null;
  /** direct: to the node itself; tunnel: into a device of kube-router's overlay; fabric: by a router between; null: none, or the own node. */
  readonly kind: "direct" | "tunnel" | "fabric" | null;
  /** Why there is none, or what is odd about the one that is there; null: nothing to say. */
  readonly why: RouteReasonDto | null;
}

export interface RouteReasonDto {
  /**
   * Missing: unreachable (the kernel's route leads nowhere), unknown (BGP's daemon is not asked or away), no-peer, peer-down, not-announced, filtered,
   * own (this node announces it), no-next-hop, not-on-link, no-tunnel, not-written. Present: left-over (BGP has no such path any more), stale-path (kept while its
   * peer restarts), own and other-node (the path leads to a node that has not this pod CIDR).
   */
  readonly code: string;
  readonly text: string;
  readonly remedy: string;
}

export interface BgpPeerDto {
  readonly address: string;
  /** The node that has this address; null: it is none of this cluster. */
  readonly node: string | null;
  readonly asn: number;
  readonly state: string;
  readonly adminDown: boolean;
  /** ISO time since when it is established, or is not any more. */
  readonly since: string | null;
  readonly holdSeconds: number;
  readonly gracefulRestart: boolean;
  readonly received: number;
  readonly accepted: number;
  readonly advertised: number;
}

export interface BgpPathDto {
  readonly prefix: string;
  /** Node whose pod CIDR it is or lies in, or whose address is the next hop of a service address; null: neither. */
  readonly node: string | null;
  readonly kind: "pod-cidr" | "service" | "other";
  /** "namespace/name" of those that have this address. */
  readonly services: readonly string[];
  readonly nextHop: string | null;
  /** null: announced by this node. */
  readonly peer: string | null;
  readonly asPath: string;
  readonly localPref: number | null;
  readonly med: number | null;
  readonly communities: readonly string[];
  readonly originatorId: string | null;
  readonly stale: boolean;
  readonly others: readonly string[];
}

export interface CtDto {
  readonly family: 4 | 6;
  readonly protocol: string;
  readonly source: string;
  readonly destination: string;
  readonly state: string;
  readonly idleSeconds: number;
  readonly ageSeconds: number;
  readonly nat: string | null;
  readonly egressRevision: number;
  readonly ingressRevision: number;
}

/** A flow whose source the node replaces. */
export interface NatDto {
  readonly family: 4 | 6;
  readonly protocol: string;
  /** As its initiator sends it. */
  readonly source: string;
  readonly destination: string;
  /** As its peer sees it. */
  readonly newSource: string;
  readonly newDestination: string;
  readonly kind: "masquerade" | "service";
  readonly state: string;
  readonly idleSeconds: number;
}

export interface IpcacheDto {
  readonly address: string;
  readonly identity: number;
  readonly labels: readonly string[];
}

/** What a name of DNS has given. */
export interface FqdnCacheDto {
  readonly name: string;
  /** "namespace/name" of the pod that it counts for; null: for all of this node. */
  readonly pod: string | null;
  readonly addresses: readonly {
    readonly address: string;
    /** Until its time is over. */
    readonly ttlSeconds: number;
    /** lookup: a pod was answered it; agent: the agent asked; connection: its time is over, and a connection keeps it. */
    readonly source: "lookup" | "agent" | "connection";
  }[];
}

/** What policies of this node's pods write about names. */
export interface FqdnNameDto {
  readonly kind: "name" | "pattern";
  readonly text: string;
  /** Policy sets (identities) that use it. */
  readonly policySets: readonly string[];
  /** The agent asks for it. */
  readonly resolved: boolean;
  /** Known names that it means. */
  readonly names: readonly string[];
  /** How many addresses they have together. */
  readonly addresses: number;
  /** Last answer, ISO 8601; null: none yet. */
  readonly answered: string | null;
  /** Why the last question had no answer. */
  readonly error: string | null;
}

export interface FqdnCleanedDto {
  /** Addresses. */
  readonly forgotten: number;
}

export interface PolicyMapDto {
  readonly set: number;
  readonly direction: "ingress" | "egress";
  readonly enforced: boolean;
  readonly groups: readonly {
    readonly group: number;
    readonly action: "deny" | "allow" | "redirect";
    readonly peers: readonly string[];
    readonly ports: readonly string[];
    readonly origins: readonly string[];
  }[];
}

/** A request as the proxy judged it. */
export interface L7EventDto
  extends Pick<L7Record, "protocol" | "verdict" | "reason" | "ruleSet" | "latency" | "http" | "kafka" | "tls" | "dns"> {
  /** "GET api.example.com/v1/items 200". */
  readonly summary: string;
}

export interface EventDto {
  readonly time: string;
  /** l7: a request that the proxy judged. */
  readonly type: "drop" | "verdict" | "flow" | "l7";
  readonly verdict: "allowed" | "denied" | "audit" | "redirected";
  readonly reason: string;
  readonly direction: "ingress" | "egress";
  readonly protocol: string;
  readonly source: {
    readonly address: string;
    readonly port: number;
    readonly identity: number;
    readonly name: string;
  };
  readonly destination: {
    readonly address: string;
    readonly port: number;
    readonly identity: number;
    readonly name: string;
  };
  readonly rules: readonly string[];
  readonly bytes: number;
  /** Of type l7 only. */
  readonly l7?: L7EventDto;
}

/** In the stream of events: so many did not reach this reader because it was slow. */
export interface LostEventsDto {
  readonly type: "lost";
  readonly count: number;
}

export interface VersionDto {
  readonly version: string;
  readonly node: string;
  readonly kernel: string;
}

/** What tandem-cni sends: the plugin's stdin and CNI_* environment, unread. */
export interface CniRequest {
  readonly command: string;
  readonly containerId: string;
  readonly netns: string;
  readonly ifname: string;
  readonly args: string;
  readonly path: string;
  /** stdin as text. */
  readonly config: string;
}

/** exitCode 0 with the result to print, or 1 with a CNI error object. */
export interface CniResponse {
  readonly exitCode: 0 | 1;
  /** JSON text for stdout ("" for DEL). */
  readonly output: string;
}
