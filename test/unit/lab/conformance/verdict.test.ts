import test from "ava";
import { type Attempt, planProbe, type ProbePlan } from "../../../../src/lab/conformance/attempts.ts";
import { Outcomes } from "../../../../src/lab/conformance/outcomes.ts";
import type { CaseProbe } from "../../../../src/lab/conformance/case.ts";
import type { Outcome } from "../../../../src/lab/conformance/outcome.ts";
import { judge } from "../../../../src/lab/conformance/verdict.ts";
import { Who } from "../../../../src/lab/conformance/who.ts";
import { conformanceCase, probe, shop } from "./support.ts";

const who = new Who(conformanceCase(shop));
const direct = planProbe(probe("shop/front", "shop/cart"), who);
const nobody = planProbe(probe("shop/front", "svc/shop/empty"), who);

const answer = (name: string): Outcome => ({ kind: "answer", name, ms: 1 });
const silence: Outcome = { kind: "silence" };
const refused: Outcome = { kind: "refused", why: "ECONNREFUSED" };

function outcome(plan: ProbePlan, expect: CaseProbe["expect"], ...outcomes: readonly Outcome[]) {
  const { status, seen } = judge(probe("shop/front", "shop/cart", { expect }), plan, outcomes);
  return `${status}: ${seen}`;
}

test("an answer is an allow, silence a deny, each only where it is expected", (t) => {
  t.is(outcome(direct, "allow", answer("shop/cart")), "passed: answered by shop/cart");
  t.is(outcome(direct, "deny", answer("shop/cart")), "failed: answered by shop/cart");
  t.is(outcome(direct, "deny", silence), "passed: no answer");
  t.is(outcome(direct, "allow", silence), "failed: no answer");
});

test("a refusal is neither: somebody got the packet", (t) => {
  t.is(outcome(direct, "deny", refused), "failed: refused (ECONNREFUSED)");
  t.is(outcome(direct, "allow", refused), "failed: refused (ECONNREFUSED)");
});

test("a service that nobody is behind may refuse or be silent, but not answer", (t) => {
  t.regex(outcome(nobody, "deny", refused), /^passed/);
  t.regex(outcome(nobody, "deny", silence), /^passed/);
  t.is(outcome(nobody, "deny", answer("shop/cart")), "failed: answered by shop/cart instead of nobody");
});

test("an answer of somebody else is a failure, whatever was expected", (t) => {
  t.is(outcome(direct, "allow", answer("outside")), "failed: answered by outside instead of shop/cart");
  t.regex(outcome(direct, "deny", answer("outside")), /^failed/);
});

test("what could not be sent is never a deny", (t) => {
  const failed: Outcome = { kind: "failed", why: "EADDRNOTAVAIL" };
  t.is(outcome(direct, "deny", failed), "failed: could not be sent (EADDRNOTAVAIL)");
  t.regex(outcome({ kind: "broken", reason: "no such pod" }, "deny"), /^failed: no such pod/);
  t.regex(outcome({ kind: "impossible", reason: "no family" }, "deny"), /^passed: no family/);
  t.regex(outcome({ kind: "impossible", reason: "no family" }, "allow"), /^failed/);
});

test("of a service all backends have to answer for an allow, and one that does not is a deny", (t) => {
  const both = planProbe(probe("shop/front", "svc/shop/both"), who);
  if (both.kind !== "send") throw new Error(both.reason);
  const of = (count: number) => both.attempts.map((_, i) => (i < count ? answer("shop/cart") : silence));
  t.is(outcome(both, "allow", ...of(36)), "passed: answered by shop/cart");
  t.is(outcome(both, "allow", ...of(35)), "failed: 35 of 36: answered by shop/cart; 1 of 36: no answer");
  t.regex(outcome(both, "deny", ...of(35)), /^passed/);
  t.regex(outcome(both, "deny", ...of(36)), /^failed/);
  t.regex(outcome(both, "deny", ...of(35).slice(0, -1), refused), /^failed/);
});

test("what only a proxy can show is not passed without one", (t) => {
  t.regex(outcome(direct, "forbidden", refused), /^failed/);
  t.regex(outcome(direct, "forbidden", silence), /^failed/);
});

const forbidden: Outcome = { kind: "forbidden", how: "REFUSED", ms: 1 };

test("the proxy's own answer is what it says, neither an allow nor a deny", (t) => {
  t.is(outcome(direct, "refused", forbidden), "passed: forbidden (REFUSED)");
  t.is(outcome(direct, "refused", answer("shop/cart")), "failed: answered by shop/cart");
  t.is(outcome(direct, "deny", forbidden), "failed: forbidden (REFUSED)");
  const request = { kind: "dns", name: "a.test", type: "A" } as const;
  const asked = (given: Outcome) => judge(probe("shop/front", "shop/cart", { request }), direct, [given]).status;
  t.is(asked(forbidden), "failed");
  t.is(outcome(direct, "allow", forbidden), "passed: forbidden (REFUSED)", "nothing was asked: the port is open");
});

const attempt = (arrivesAt: string | null): Attempt => ({
  place: "shop/front",
  protocol: arrivesAt === null ? "tcp" : "icmp",
  asked: null,
  source: "10.0.0.1",
  destination: "10.0.0.2",
  port: 80,
  servers: ["shop/cart"],
  arrivesAt,
});

test("an outcome counts from the right prober only, once, and never for a later case", (t) => {
  const outcomes = new Outcomes();
  const first = outcomes.expect(attempt(null));
  outcomes.take({ id: first, place: "shop/cart", outcome: refused });
  outcomes.take({ id: first, place: "shop/front", outcome: { kind: "arrived" } });
  t.is(outcomes.of(first), null);
  outcomes.take({ id: first, place: "shop/front", outcome: answer("shop/cart") });
  outcomes.take({ id: first, place: "shop/front", outcome: refused });
  t.deepEqual(outcomes.of(first), answer("shop/cart"));
  outcomes.forget();
  const second = outcomes.expect(attempt("shop/cart"));
  t.not(second, first);
  outcomes.take({ id: first, place: "shop/front", outcome: refused });
  outcomes.take({ id: second, place: "shop/front", outcome: { kind: "arrived" } });
  t.is(outcomes.of(second), null, "an error that quotes it came back to its sender");
  outcomes.take({ id: second, place: "shop/cart", outcome: { kind: "arrived" } });
  t.deepEqual(outcomes.of(second), { kind: "arrived" });
});
