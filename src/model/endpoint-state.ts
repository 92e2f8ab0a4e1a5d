/**
 * How far a pod of this node is, in the words that users know from Cilium. A state is what the facts say now, and not what was before: that
 * is why a restarted agent cannot get it wrong. Which states may follow one another follows from how facts change; the table says
 * it for those who wait for one.
 */

export type EndpointState =
  | "restoring"
  | "creating"
  | "waiting-for-identity"
  | "waiting-to-regenerate"
  | "regenerating"
  | "ready"
  | "not-ready"
  | "disconnecting";

export interface EndpointFacts {
  /** The agent has computed since it started: until then it knows only what the one before left. */
  readonly computed: boolean;
  /** Its network is being taken down. */
  readonly leaving: boolean;
  /** missing: no computation has seen it; unknown: its Pod object or the number of its labels is not there yet. */
  readonly policy: "missing" | "unknown" | "known";
  /** In the kernel it is closed (or not at all yet), or open with a policy. */
  readonly isOpen: boolean;
  /** Why the kernel does not have the policy that it should; null: nothing keeps it. */
  readonly heldBack: string | null;
  /** Whether changes of the cluster have been on their way into the kernel for longer than usual. */
  readonly pending: PendingChanges;
}

/** waiting: for the next computation; running: it is computed or written. */
export type PendingChanges = "none" | "waiting" | "running";

export interface EndpointCondition {
  readonly state: EndpointState;
  /** Why it is not ready; null where the state says it. */
  readonly reason: string | null;
}

export function endpointCondition(facts: EndpointFacts): EndpointCondition {
  const { computed, leaving, policy, isOpen, heldBack, pending } = facts;
  if (leaving) return { state: "disconnecting", reason: null };
  if (!computed) return { state: "restoring", reason: null };
  if (isOpen) {
    if (heldBack !== null)
      return { state: "waiting-to-regenerate", reason: `${heldBack}; it has the policy of before` };
    return { state: pending === "none" ? "ready" : pendingStates[pending], reason: null };
  }
  if (policy === "missing") return { state: "creating", reason: null };
  if (policy === "unknown")
    return { state: "waiting-for-identity", reason: "its Pod object or its identity is not known yet; it is closed" };
  if (heldBack !== null) return { state: "not-ready", reason: `${heldBack}; it is closed` };
  return { state: pending === "running" ? "regenerating" : "waiting-to-regenerate", reason: null };
}

const pendingStates = { waiting: "waiting-to-regenerate", running: "regenerating" } as const;

/** What comes next when one fact changes; who looks now and then does not see each. Nothing follows the end: the endpoint is gone then. */
export const nextStates: Readonly<Record<EndpointState, readonly EndpointState[]>> = {
  restoring: [
    "creating",
    "waiting-for-identity",
    "waiting-to-regenerate",
    "regenerating",
    "ready",
    "not-ready",
    "disconnecting",
  ],
  creating: ["waiting-for-identity", "waiting-to-regenerate", "regenerating", "ready", "not-ready", "disconnecting"],
  "waiting-for-identity": ["waiting-to-regenerate", "regenerating", "ready", "not-ready", "disconnecting"],
  "waiting-to-regenerate": ["waiting-for-identity", "regenerating", "ready", "not-ready", "disconnecting"],
  regenerating: ["waiting-for-identity", "waiting-to-regenerate", "ready", "not-ready", "disconnecting"],
  "not-ready": ["waiting-for-identity", "waiting-to-regenerate", "regenerating", "disconnecting"],
  ready: ["waiting-to-regenerate", "regenerating", "disconnecting"],
  disconnecting: [],
};
