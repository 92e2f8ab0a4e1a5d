/** One case on a lab that has become its cluster: all probes at once, and what came of each. */
import { setTimeout as sleep } from "node:timers/promises";
import { LabError } from "../errors.ts";
import { type Attempt, type Listener, planProbe, type ProbePlan } from "./attempts.ts";
import type { CaseProbe, ConformanceCase } from "./case.ts";
import { groupBy } from "./groups.ts";
import { pendingReason } from "./pending.ts";
import type { ProbeEvent, Prober } from "./prober.ts";
import { sendRequest } from "./requests.ts";
import { awaitsAnswer, judge, type Outcome, type Verdict } from "./verdict.ts";
import type { Who } from "./who.ts";

export interface Patience {
  /** ms without any new answer after which those who have none are denied. */
  readonly denyMs: number;
  /** ms that a connection may take which has to be allowed: a machine may be busy, and packets may be lost. */
  readonly allowMs: number;
}

/** ms that a request waits which is to have no answer. */
const deniedRequestMs = 3_000;

export interface ProbeResult extends Verdict {
  readonly probe: CaseProbe;
  /** Of the slowest answer. */
  readonly ms: number | null;
}

/** Collects what the probers tell. Numbers of attempts are never used again, so what comes late cannot be mistaken. */
export class Outcomes {
  readonly #expected = new Map<number, { readonly attempt: Attempt; outcome: Outcome | null }>();
  #next = 1;
  #lastEvent = 0;

  expect(attempt: Attempt): number {
    const id = this.#next++;
    this.#expected.set(id, { attempt, outcome: null });
    return id;
  }

  take({ id, place, outcome }: ProbeEvent): void {
    const entry = this.#expected.get(id);
    if (entry === undefined || entry.outcome !== null) return;
    // An ICMP error may quote a probe, and come to its sender or to anybody.
    if (outcome.kind === "arrived" ? entry.attempt.arrivesAt !== place : entry.attempt.place !== place) return;
    entry.outcome = outcome;
    this.#lastEvent = performance.now();
  }

  of(id: number): Outcome | null {
    return this.#expected.get(id)?.outcome ?? null;
  }

  get lastEvent(): number {
    return this.#lastEvent;
  }

  forget(): void {
    this.#expected.clear();
  }
}

interface Prepared {
  readonly probe: CaseProbe;
  readonly pending: string | null;
  readonly plan: ProbePlan;
  readonly ids: readonly number[];
}

export async function runCase(
  one: ConformanceCase,
  who: Who,
  probers: ReadonlyMap<string, Prober>,
  outcomes: Outcomes,
  patience: Patience,
): Promise<readonly ProbeResult[]> {
  const prepared = one.probes.map((probe): Prepared => {
    const pending = pendingReason(probe, one);
    const plan: ProbePlan = pending === null ? planProbe(probe, who) : { kind: "impossible", reason: pending };
    return { probe, pending, plan, ids: plan.kind === "send" ? plan.attempts.map((a) => outcomes.expect(a)) : [] };
  });
  const sent = prepared.filter(({ plan }) => plan.kind === "send");
  await listen(sent, probers);
  send(
    sent.filter(({ probe }) => probe.request === null),
    probers,
  );
  const requests = sendRequests(sent, probers, outcomes, patience);
  await wait(sent, outcomes, patience);
  const results = prepared.map(({ probe, pending, plan, ids }): ProbeResult => {
    if (pending !== null) return { probe, status: "pending", seen: pending, ms: null };
    const seen = ids.map((id): Outcome => outcomes.of(id) ?? { kind: "silence" });
    const times = seen.flatMap((outcome) => (outcome.kind === "answer" ? [outcome.ms] : []));
    return { probe, ...judge(probe, plan, seen), ms: times.length === 0 ? null : Math.max(...times) };
  });
  for (const prober of probers.values()) prober.forget();
  await requests;
  outcomes.forget();
  return results;
}

/** Every port is served before anybody knocks. */
async function listen(prepared: readonly Prepared[], probers: ReadonlyMap<string, Prober>): Promise<void> {
  const wanted = prepared.flatMap(({ plan }) => (plan.kind === "send" ? plan.listeners : []));
  // A port that is asked for both speaks HTTP.
  const all = [...wanted].sort((a, b) => Number(a.protocol === "http") - Number(b.protocol === "http"));
  const unique = new Map(all.map((l): [string, Listener] => [`${l.place} ${l.protocol} ${l.port}`, l]));
  const byPlace = [...groupBy(unique.values(), (listener) => listener.place)];
  await Promise.all(byPlace.map(([place, listeners]) => proberOf(probers, place).listen(listeners)));
}

function send(prepared: readonly Prepared[], probers: ReadonlyMap<string, Prober>): void {
  const all = prepared.flatMap(({ plan, ids }) =>
    plan.kind === "send" ? plan.attempts.map((attempt, i) => ({ ...attempt, id: ids[i] ?? 0 })) : [],
  );
  for (const [place, attempts] of groupBy(all, (attempt) => attempt.place)) proberOf(probers, place).try(attempts);
}

/** All at once. Those that are to be denied are given up after a shorter time: each waits for an answer of its own. */
async function sendRequests(
  prepared: readonly Prepared[],
  probers: ReadonlyMap<string, Prober>,
  outcomes: Outcomes,
  { allowMs }: Patience,
): Promise<void> {
  await Promise.all(
    prepared.flatMap(({ probe: { request, expect }, plan, ids }) => {
      if (request === null || plan.kind !== "send") return [];
      return plan.attempts.map((attempt, i) => {
        const prober = proberOf(probers, attempt.place);
        const timeoutMs = expect === "deny" ? deniedRequestMs : allowMs;
        return sendRequest(prober, { ...attempt, id: ids[i] ?? 0 }, request, timeoutMs, (event) =>
          outcomes.take(event),
        );
      });
    }),
  );
}

function proberOf(probers: ReadonlyMap<string, Prober>, place: string): Prober {
  const prober = probers.get(place);
  if (prober === undefined) throw new LabError("LAB_PROBE", place, "has no prober", "");
  return prober;
}

/** Until nothing can change any more: all have answered, or those that must not have been silent for long after the last one. */
async function wait(prepared: readonly Prepared[], outcomes: Outcomes, patience: Patience): Promise<void> {
  const start = performance.now();
  for (;;) {
    const seen = prepared.map(({ probe, ids }) => ({ probe, outcomes: ids.map((id) => outcomes.of(id)) }));
    if (seen.every((one) => !one.outcomes.includes(null))) return;
    const now = performance.now();
    const quiet = now - Math.max(start, outcomes.lastEvent);
    const open = seen.some((one) => awaitsAnswer(one.probe, one.outcomes));
    if (quiet >= patience.denyMs && (!open || now - start >= patience.allowMs)) return;
    await sleep(10);
  }
}
