/**
 * What the API says about one service: GET /v1/services/NS%2FNAME -> ServiceDetailsDto; and about one client of one:
 * GET /v1/service/trace?client=END&to=ADDRESS:PORT/PROTOCOL -> ServiceTraceDto. An END is NAMESPACE/POD, node/NAME or an address.
 */
import type { ToldProblem } from "../model/status.ts";
import type { ServiceAdvertisementDto, StatusDto } from "./dto.ts";

export interface ServicePoliciesDto {
  readonly internalTrafficPolicy: "Cluster" | "Local";
  readonly externalTrafficPolicy: "Cluster" | "Local";
  /** null: sessionAffinity None. */
  readonly affinitySeconds: number | null;
  readonly publishNotReadyAddresses: boolean;
  readonly healthCheckNodePort: number | null;
  /** null: all clients outside. */
  readonly sourceRanges: { readonly policy: "allow" | "deny"; readonly prefixes: readonly string[] } | null;
  /** Kinds of address by service.cilium.io/type; null: those of its type. */
  readonly exposed: readonly string[] | null;
  /** Labels of the nodes that serve it, as "key in (a,b)", all of which they have; null: all nodes. */
  readonly nodes: readonly string[] | null;
}

export interface ServiceFrontendDto {
  /** "10.96.0.1:80", "[fd00::1]:80". */
  readonly frontend: string;
  readonly protocol: string;
  /** "ClusterIP", "NodePort", "ExternalIPs", "LoadBalancer". */
  readonly type: string;
  readonly servicePort: number;
  /** For clients on this node. */
  readonly inside: readonly string[];
  /** For clients who come by an uplink; null: it is not translated for them. */
  readonly outside: readonly string[] | null;
  /** That began here since the address came, by clients on this node and by those outside. */
  readonly flows: { readonly inside: number; readonly outside: number };
  /** The kernel has it like this. */
  readonly inKernel: boolean;
}

export interface ServiceBackendDto {
  readonly backend: string;
  readonly protocol: string;
  readonly servicePort: number;
  readonly state: "ready" | "terminating" | "not ready";
  readonly node: string | null;
  readonly zone: string | null;
  /** On the agent's node. */
  readonly local: boolean;
}

export interface ServiceDetailsDto {
  readonly service: string;
  readonly type: string;
  readonly policies: ServicePoliciesDto;
  /** Those that this node serves, by address. */
  readonly frontends: readonly ServiceFrontendDto[];
  /** Its addresses that BGP may announce. */
  readonly advertisements: readonly ServiceAdvertisementDto[];
  /** All, whatever their state. */
  readonly backends: readonly ServiceBackendDto[];
  readonly problems: readonly ToldProblem[];
}

/** As they were written. */
export interface ServiceQuestionDto {
  readonly client: string;
  readonly to: string;
}

export interface ServiceCandidateDto extends ServiceBackendDto {
  /** Why the client gets nothing new from it; null: it may be the one. */
  readonly leftOut: string | null;
  /** What policies say of the client's connection to it; null: they have no say, or it cannot be told. */
  readonly verdict: "allow" | "deny" | "l7" | null;
}

/** What the kernel has of the client and the service. */
export interface ServiceChoiceDto {
  readonly backend: string;
  /** flow: a connection or a talk under way; affinity: sessionAffinity, or a socket's own. */
  readonly by: "flow" | "affinity";
  /** Of the flow; null: of an affinity. */
  readonly clientPort: number | null;
  readonly state: string;
  readonly idleSeconds: number;
}

export interface ServiceTraceDto {
  /** Of the agent. */
  readonly node: string;
  readonly revision: StatusDto["revision"];
  readonly client: { readonly name: string; readonly address: string };
  readonly destination: string;
  readonly protocol: string;
  /** null: no service has that address and port on this node. */
  readonly service: string | null;
  readonly type: string | null;
  /** Where its packets or sockets are translated. */
  readonly scope: "inside" | "outside";
  readonly how: string;
  /** What becomes of a new connection. */
  readonly outcome: "backend" | "refused" | "dropped" | "not translated";
  readonly because: string;
  readonly candidates: readonly ServiceCandidateDto[];
  readonly choices: readonly ServiceChoiceDto[];
}
