/** From what came of a probe's packets to its verdict. A time-out is a deny, a refusal is none: somebody got the packet. */
import type { Attempt, ProbePlan } from "./attempts.ts";
import type { CaseProbe } from "./case.ts";
import type { Outcome } from "./outcome.ts";

export interface Verdict {
  readonly status: "passed" | "failed";
  /** "answered by shop/cart", "no answer", … */
  readonly seen: string;
}

export function judge(probe: CaseProbe, plan: ProbePlan, outcomes: readonly Outcome[]): Verdict {
  if (plan.kind === "broken") return { status: "failed", seen: plan.reason };
  if (plan.kind === "impossible") return verdict(probe.expect === "deny", plan.reason);
  const { attempts, nobodyBehind } = plan;
  const seen = describe(attempts, outcomes);
  const strange = outcomes.some(
    (outcome, i) =>
      outcome.kind === "failed" || (outcome.kind === "answer" && !attempts[i]?.servers.includes(outcome.name)),
  );
  if (strange || outcomes.length !== attempts.length) return verdict(false, seen);
  const forbidden = ({ kind }: Outcome) => kind === "forbidden";
  if (probe.expect === "forbidden" || probe.expect === "refused") return verdict(outcomes.every(forbidden), seen);
  // Who only opens a connection, and is told by the proxy that it may not ask this, has opened it.
  const open = ({ kind }: Outcome) =>
    kind === "answer" || kind === "arrived" || (kind === "forbidden" && probe.request === null);
  const answered = outcomes.every(open);
  const refused = outcomes.some(({ kind }) => kind === "refused");
  if (probe.expect === "allow") return verdict(answered, seen);
  return verdict(!answered && !outcomes.some(forbidden) && (!refused || nobodyBehind), seen);
}

function verdict(passed: boolean, seen: string): Verdict {
  return { status: passed ? "passed" : "failed", seen };
}

/** "7 of 24: answered by shop/a; 17 of 24: no answer". */
function describe(attempts: readonly Attempt[], outcomes: readonly Outcome[]): string {
  const counts = new Map<string, number>();
  outcomes.forEach((outcome, i) => {
    const text = describeOne(outcome, attempts[i]);
    counts.set(text, (counts.get(text) ?? 0) + 1);
  });
  const total = outcomes.length;
  return [...counts].map(([text, count]) => (count === total ? text : `${count} of ${total}: ${text}`)).join("; ");
}

function describeOne(outcome: Outcome, attempt: Attempt | undefined): string {
  switch (outcome.kind) {
    case "answer": {
      const { servers = [] } = attempt ?? {};
      if (outcome.name === "-") return "answered";
      return `answered by ${outcome.name}${servers.includes(outcome.name) ? "" : ` instead of ${servers.join(", ") || "nobody"}`}`;
    }
    case "forbidden":
      return `forbidden (${outcome.how})`;
    case "arrived":
      return "arrived";
    case "refused":
      return `refused (${outcome.why})`;
    case "failed":
      return `could not be sent (${outcome.why})`;
    case "silence":
      return "no answer";
  }
}

/** Whether more waiting may still change the verdict from failed to passed: these probes get the long time. */
export function awaitsAnswer(probe: CaseProbe, outcomes: readonly (Outcome | null)[]): boolean {
  return probe.expect !== "deny" && outcomes.includes(null);
}
