/** One case on a lab that has become its cluster: all probes at once, and what came of each. */
import { setTimeout as sleep } from "node:timers/promises";
import { type Listener, planProbe, type ProbePlan } from "./attempts.ts";
import type { CaseProbe, ConformanceCase } from "./case.ts";
import { groupBy } from "./groups.ts";
import { isSilent } from "./greeting.ts";
import { Lookups } from "./lookups.ts";
import type { Outcomes } from "./outcomes.ts";
import { type Prober, proberOf } from "./prober.ts";
import { sendRequest } from "./requests.ts";
import type { Resolver } from "./resolver.ts";
import { planRounds, type Round } from "./rounds.ts";
import type { Outcome } from "./outcome.ts";
import { awaitsAnswer, judge, type Verdict } from "./verdict.ts";
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

interface Prepared {
  readonly probe: CaseProbe;
  readonly plan: ProbePlan;
}

interface Sent extends Prepared {
  readonly ids: readonly number[];
}

/** Where and how a case is run. */
export interface Running {
  readonly who: Who;
  readonly probers: ReadonlyMap<string, Prober>;
  readonly outcomes: Outcomes;
  readonly resolver: Resolver;
  readonly patience: Patience;
}

/** Results in the order of the probes. */
export async function runCase(one: ConformanceCase, running: Running): Promise<readonly ProbeResult[]> {
  const { probers, resolver, who } = running;
  const prepared = one.probes.map((probe): Prepared => ({ probe, plan: planProbe(probe, who, isSilent(probe, one)) }));
  await listen(prepared, probers);
  const rounds = planRounds(prepared);
  const isResolving = rounds.some(({ records }) => records.size > 0);
  const results: ProbeResult[] = [];
  for (const round of rounds) {
    if (isResolving) await resolver.become(round);
    results.push(...(await runRound(round, running)));
  }
  // The next case's clients have learned nothing.
  if (isResolving) await resolver.become({ records: new Map() });
  return results.sort((a, b) => a.probe.number - b.probe.number);
}

async function runRound(round: Round<Prepared>, running: Running): Promise<readonly ProbeResult[]> {
  const { outcomes, patience, probers, resolver, who } = running;
  const probes = round.probes.map(({ probe }) => probe);
  const lookups = new Lookups(resolver.lookups(probes, who), probers, outcomes);
  await lookups.all(patience.allowMs);
  const sent = round.probes.map(
    ({ probe, plan }): Sent => ({
      probe,
      plan,
      ids: plan.kind === "send" ? plan.attempts.map((attempt) => outcomes.expect(attempt)) : [],
    }),
  );
  send(sent, probers);
  const requests = sendRequests(sent, probers, outcomes, patience);
  await wait(sent, outcomes, patience, () => lookups.repeat());
  const results = sent.map(({ probe, plan, ids }): ProbeResult => {
    const seen = ids.map((id): Outcome => outcomes.of(id) ?? { kind: "silence" });
    const times = seen.flatMap((outcome) => (outcome.kind === "answer" ? [outcome.ms] : []));
    const missing = lookups.missing(who.end(probe.from)?.place ?? "", namesOf(probe));
    if (missing.length > 0) {
      return { probe, status: "failed", seen: `the client was not told of ${missing.join(", ")}`, ms: null };
    }
    return { probe, ...judge(probe, plan, seen), ms: times.length === 0 ? null : Math.max(...times) };
  });
  // What is answered after the names of this round were forgotten would be learned for the next.
  await lookups.settle();
  for (const prober of probers.values()) prober.forget();
  await requests;
  outcomes.forget();
  return results;
}

/** That its client has to be told of. */
function namesOf({ resolved }: CaseProbe): readonly string[] {
  return resolved.filter(({ addresses }) => addresses.length > 0).map(({ name }) => name);
}

/** Every port is served before anybody knocks. */
async function listen(prepared: readonly Prepared[], probers: ReadonlyMap<string, Prober>): Promise<void> {
  const wanted = prepared.flatMap(({ plan }) => (plan.kind === "send" ? plan.listeners : []));
  // A port that is wanted for both speaks the protocol.
  const speaks = ({ protocol }: Listener) => Number(["http", "dns", "kafka"].includes(protocol));
  const all = [...wanted].sort((a, b) => speaks(a) - speaks(b));
  const unique = new Map(all.map((l): [string, Listener] => [`${l.place} ${l.protocol} ${l.port}`, l]));
  const byPlace = [...groupBy(unique.values(), (listener) => listener.place)];
  await Promise.all(byPlace.map(([place, listeners]) => proberOf(probers, place).listen(listeners)));
}

/** All but what curl sends. */
function send(sent: readonly Sent[], probers: ReadonlyMap<string, Prober>): void {
  const all = sent.flatMap(({ probe, plan, ids }) =>
    plan.kind === "send" && probe.request?.kind !== "http"
      ? plan.attempts.map((attempt, i) => ({ ...attempt, id: ids[i] ?? 0 }))
      : [],
  );
  for (const [place, attempts] of groupBy(all, (attempt) => attempt.place)) proberOf(probers, place).try(attempts);
}

/** All at once. Those that are to be denied are given up after a shorter time: each waits for an answer of its own. */
async function sendRequests(
  sent: readonly Sent[],
  probers: ReadonlyMap<string, Prober>,
  outcomes: Outcomes,
  { allowMs }: Patience,
): Promise<void> {
  await Promise.all(
    sent.flatMap(({ probe: { request, expect }, plan, ids }) => {
      if (request?.kind !== "http" || plan.kind !== "send") return [];
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

/** Until nothing can change any more: all have answered, or those that must not have been silent for long after the last one. */
async function wait(
  sent: readonly Sent[],
  outcomes: Outcomes,
  patience: Patience,
  meanwhile: () => void,
): Promise<void> {
  const start = performance.now();
  for (;;) {
    const seen = sent.map(({ probe, ids }) => ({ probe, outcomes: ids.map((id) => outcomes.of(id)) }));
    if (seen.every((one) => !one.outcomes.includes(null))) return;
    const now = performance.now();
    const quiet = now - Math.max(start, outcomes.lastEvent);
    const open = seen.some((one) => awaitsAnswer(one.probe, one.outcomes));
    if (quiet >= patience.denyMs && (!open || now - start >= patience.allowMs)) return;
    if (open) meanwhile();
    await sleep(10);
  }
}
