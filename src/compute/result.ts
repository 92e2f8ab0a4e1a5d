/** What a computation answers, and what it asks of its surroundings. */
import type { Problem } from "../model/status.ts";
import type { TableSnapshot } from "../model/store.ts";
import type { PolicyRow } from "../model/tables.ts";
import type { LoadBalancerMode } from "./services/candidates.ts";
import type { DesiredState } from "./desired.ts";
import type { ServiceRules } from "./services/index.ts";

/** Gives sets of labels their numbers. The same key gets the same number as long as it is in use, but for what `renumbered` tells. */
export interface IdentityAllocator {
  /**
   * @param key canonical text of the labels (`labelTexts` joined)
   * @param node where a pod of these labels runs; "": it is not known
   * @returns an identity that is not reserved: at least 256 in its lower 16 bits
   * @throws TandemError IDENTITIES_EXHAUSTED; IDENTITY_PENDING and IDENTITY_DELAYED of those who have to ask others for a number
   */
  numberFor(key: string, node: string): number;
  /**
   * Keys whose number may be another since the last call, or none: everybody in a cluster uses the same number for a set of labels, and
   * two nodes may have met a new set at once. Missing in allocators that have nobody to agree with.
   */
  renumbered?(): Iterable<string>;
}

/** Codes of `numberFor` while a number is on its way: as usual, or for longer than it should be. */
export const identityPending = "IDENTITY_PENDING";
export const identityDelayed = "IDENTITY_DELAYED";

export interface ComputationOptions {
  /** Name of this node, as its Node object has it. */
  readonly nodeName: string;
  readonly identities: IdentityAllocator;
  /** default: pods that a policy selects are closed; always: all pods; never: none. */
  readonly policyEnforcement: "default" | "always" | "never";
  /** What policies would drop is reported and let through, unless an endpoint says otherwise. Not set: no. */
  readonly policyAuditMode?: boolean;
  /** Policies of nodes may close what a node needs to stay in its cluster. Not set: no. */
  readonly allowLockout?: boolean;
  /** Families whose packets leave in the node's name where nobody knows pods. Not set: none. */
  readonly masquerade?: ReadonlySet<4 | 6>;
  /** How backends on other nodes answer clients outside. Not set: snat. */
  readonly loadBalancerMode?: LoadBalancerMode;
  /** What services may ask for. Not set: everything that is nobody's. */
  readonly services?: ServiceRules;
  /** What chooses a backend for clients inside. Not set: random. */
  readonly serviceSelection?: "random" | "maglev";
  /** Clients outside may use cluster addresses of services. Not set: no. */
  readonly externalClusterIps?: boolean;
  /** Backends on nodes whose pods do not answer this node get nothing new from it. Not set: no. */
  readonly healthActs?: boolean;
  /** Names that one pod was given are that pod's alone (NameRow.endpoint), which costs each such pod a set of its own. Not set: there are none. */
  readonly namesPerEndpoint?: boolean;
  /** Annotations of pods for L7 visibility count. Not set: they do. */
  readonly visibility?: boolean;
  /** `ComputeResult.lastValid` of a computation before this one, which goes on where that one ended. */
  readonly lastValid?: ReadonlyMap<string, PolicyRow>;
}

export interface ComputedIdentity {
  readonly id: number;
  /** "k8s:key=value", sorted; reserved ones as Cilium writes them. */
  readonly labels: readonly string[];
  /** Pods of the cluster that have it. */
  readonly references: number;
  readonly reserved: boolean;
}

export interface ComputedPolicy {
  readonly kind: PolicyRow["kind"];
  readonly namespace: string;
  readonly name: string;
  readonly valid: boolean;
  /** "namespace/name" of the pods that it selects, sorted. */
  readonly pods: readonly string[];
  /** It selects this node itself. */
  readonly ownNode: boolean;
  readonly problems: readonly Problem[];
}

export interface ComputeResult {
  readonly desired: DesiredState;
  /** "namespace/name" -> identity. */
  readonly identityOfPod: ReadonlyMap<string, number>;
  /** Number -> its labels: as `IdentityAllocator.numberFor` was asked for them, and one by one. Without the reserved ones. */
  readonly identitiesInUse: ReadonlyMap<number, { readonly key: string; readonly texts: readonly string[] }>;
  /** In use, and the reserved ones; sorted by number. Made when it is asked for, as are `policies`. */
  readonly identities: readonly ComputedIdentity[];
  readonly policies: readonly ComputedPolicy[];
  /** Key of the table -> the row in force: as it is, or the last valid one of a policy that became invalid. */
  readonly lastValid: ReadonlyMap<string, PolicyRow>;
  /** Of policies, services, pods and addresses: everything that could not be taken as it was written. */
  readonly problems: readonly Problem[];
}

export interface Computation {
  /**
   * A fresh computation gives the same answer for the same tables and `lastValid`, unless a number is on its way for labels that changed:
   * their pods are meanwhile what they were. Else it remembers only to be quick.
   */
  compute(snapshot: TableSnapshot): ComputeResult;
}
