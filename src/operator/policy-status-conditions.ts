/** What a policy's status says: whether it was understood, and how many nodes have it in their kernel. Pure. */
import type { PolicyCondition, PolicyStatus } from "../kube-objects/index.ts";
import { isRecord } from "../kube/index.ts";
import type { Problem } from "../model/status.ts";
import type { PolicyCounts } from "./policy-status-progress.ts";
import type { ViewedPolicy } from "./policy-status-view.ts";

/** Problems that one message tells, and nodes that it names. */
const mostProblems = 5;
const mostNodes = 3;
/** Characters of a problem: a message holds 32,768. */
const mostText = 2_000;

type Enforcement = NonNullable<PolicyStatus["enforcement"]>;
/** Without its time: that depends on what was there before. */
export type Statement = Required<Omit<PolicyCondition, "lastTransitionTime">>;

export interface WantedStatus {
  readonly conditions: readonly Statement[];
  /** null: what is there stays. */
  readonly enforcement: Enforcement | null;
}

/** @param counts null: nothing is known of agents now */
export function wantedStatus(policy: ViewedPolicy, counts: PolicyCounts | null): WantedStatus {
  const valid = validity(policy);
  const known = conditionOf(policy.status, "Enforced")?.observedGeneration === policy.generation;
  if (counts === null || (counts.undetermined > 0 && known)) return { conditions: [valid], enforcement: null };
  const { wanted, enforcing, failing } = counts;
  return {
    conditions: [valid, enforced(policy, counts)],
    enforcement: { wanted, enforcing, failing: failing.length },
  };
}

function validity({ valid, problems, generation: observedGeneration }: ViewedPolicy): Statement {
  const about = { type: "Valid", observedGeneration } as const;
  const errors = problems.filter(({ severity }) => severity === "error");
  if (!valid) {
    const reason = errors[0]?.code ?? "POLICY_INVALID";
    return { ...about, status: "False", reason, message: problemText(errors) };
  }
  const but = problems.length === 0 ? "" : `; ${problemText(problems)}`;
  return { ...about, status: "True", reason: "Understood", message: `it was understood${but}` };
}

function problemText(problems: readonly Problem[]): string {
  const texts = problems.slice(0, mostProblems).map(({ field, message, remedy }) => {
    return `${field === "" ? "" : `${field}: `}${message}; ${remedy}`.slice(0, mostText);
  });
  const more = problems.length - texts.length;
  return [...texts, ...(more > 0 ? [`and ${more} more`] : [])].join(". ");
}

function enforced({ valid, generation: observedGeneration }: ViewedPolicy, counts: PolicyCounts): Statement {
  const { wanted, enforcing, failing } = counts;
  const about = { type: "Enforced", observedGeneration } as const;
  if (!valid) {
    const message = "it is not valid: nodes go on with the last version of it that was, if there was one";
    return { ...about, status: "False", reason: "Invalid", message };
  }
  if (wanted === 0) {
    return { ...about, status: "Unknown", reason: "NoAgents", message: "no agent has told of its policies" };
  }
  const message = `${enforcing} of ${wanted} nodes`;
  if (enforcing === wanted) return { ...about, status: "True", reason: "Enforced", message };
  if (failing.length === 0) return { ...about, status: "False", reason: "Progressing", message };
  const named = failing.slice(0, mostNodes).join(", ");
  const more = failing.length > mostNodes ? ` and ${failing.length - mostNodes} more` : "";
  return {
    ...about,
    status: "False",
    reason: "Refused",
    message: `${message}; ${named}${more} could not take it, see tandem status there`,
  };
}

/** What is written, and how that differs from what is there. */
export interface StatusChange {
  /** A merge patch of the status. */
  readonly patch: PolicyStatus;
  /**
   * validity: it says something else of the policy itself, or of another generation
   * progress: nodes have come further, or fallen back
   * count: all nodes have it, as before, but there is another number of them
   */
  readonly kind: "validity" | "progress" | "count";
}

/** @param now ms since the epoch. @returns null: it says all that already */
export function statusChange({ status }: ViewedPolicy, wanted: WantedStatus, now: number): StatusChange | null {
  const changed = wanted.conditions.filter((statement) => !says(conditionOf(status, statement.type), statement));
  const counted = wanted.enforcement === null || sameCounts(status.enforcement, wanted.enforcement);
  if (changed.length === 0 && counted) return null;
  const others = conditionsOf(status).filter(({ type }) => wanted.conditions.every((each) => each.type !== type));
  const conditions = wanted.conditions.map((statement): PolicyCondition => {
    const before = conditionOf(status, statement.type);
    const since = before?.status === statement.status ? before.lastTransitionTime : undefined;
    return { ...statement, lastTransitionTime: since ?? `${new Date(now).toISOString().slice(0, 19)}Z` };
  });
  return {
    patch: {
      conditions: [...others, ...conditions],
      ...(wanted.enforcement === null ? {} : { enforcement: wanted.enforcement }),
    },
    kind: kindOf(status, wanted, changed),
  };
}

function kindOf(
  status: ViewedPolicy["status"],
  { conditions }: WantedStatus,
  changed: readonly Statement[],
): StatusChange["kind"] {
  if (changed.some(({ type }) => type === "Valid")) return "validity";
  const enforcement = conditions.find(({ type }) => type === "Enforced");
  const before = conditionOf(status, "Enforced");
  const stays = before?.status === "True" && before.observedGeneration === enforcement?.observedGeneration;
  return stays && enforcement?.status === "True" ? "count" : "progress";
}

function says(condition: PolicyCondition | null, statement: Statement): boolean {
  return (
    condition !== null &&
    condition.status === statement.status &&
    condition.observedGeneration === statement.observedGeneration &&
    condition.reason === statement.reason &&
    condition.message === statement.message
  );
}

function sameCounts(found: unknown, wanted: Enforcement): boolean {
  return (
    isRecord(found) &&
    found.wanted === wanted.wanted &&
    found.enforcing === wanted.enforcing &&
    found.failing === wanted.failing
  );
}

/** As they are, whoever wrote them: types of others pass through as they came. */
function conditionsOf(status: ViewedPolicy["status"]): readonly PolicyCondition[] {
  const { conditions } = status;
  return Array.isArray(conditions) ? ((conditions as readonly unknown[]).filter(isRecord) as never) : [];
}

function conditionOf(status: ViewedPolicy["status"], type: string): PolicyCondition | null {
  return conditionsOf(status).find((condition) => condition.type === type) ?? null;
}
