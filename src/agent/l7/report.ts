/** Rules of the proxy with what became of requests: sums of all proxies that are there, as one may be handing over to another. */
import type { DeniedCount, ProxyInstanceDto, ProxyRulesDto, RefusedRules, RuleCount } from "../../api/proxy-dto.ts";
import type { L7Book } from "./tables.ts";

export function rulesReport(
  book: Pick<L7Book, "kept">,
  instances: readonly Pick<ProxyInstanceDto, "stats">[],
  refused: readonly RefusedRules[],
): ProxyRulesDto {
  const { ruleSets, sets } = book.kept;
  const counts = new Map<number, RuleCount>();
  const denied = new Map<string, DeniedCount>();
  for (const { stats } of instances) {
    for (const each of stats?.rules ?? []) counts.set(each.ruleSet, added(counts.get(each.ruleSet), each));
    for (const each of stats?.denied ?? []) {
      const key = [each.protocol, each.direction, each.source, each.destination].join(" ");
      denied.set(key, { ...each, requests: each.requests + (denied.get(key)?.requests ?? 0) });
    }
  }
  const users = new Map<number, string[]>();
  for (const set of sets) {
    for (const direction of ["egress", "ingress"] as const) {
      for (const id of new Set(set[direction].map(([, ruleSet]) => ruleSet))) {
        users.set(id, [...(users.get(id) ?? []), `${direction} of policy set ${set.set}`]);
      }
    }
  }
  return {
    rules: ruleSets.map(({ id, text }) => {
      const { requests = 0, answered = 0, latencySum = 0, latencyMax = 0 } = counts.get(id) ?? {};
      return {
        ruleSet: id,
        protocol: text.split(/[ \n]/, 1)[0] ?? "",
        text,
        usedBy: users.get(id) ?? [],
        requests,
        latencyMean: answered === 0 ? null : Math.round(latencySum / answered),
        latencyMax: answered === 0 ? null : latencyMax,
        refused: refused.find(({ ruleSet }) => ruleSet === id)?.message ?? null,
      };
    }),
    denied: [...denied.values()].sort((a, b) => b.requests - a.requests),
  };
}

function added(before: RuleCount | undefined, more: RuleCount): RuleCount {
  if (before === undefined) return more;
  return {
    ruleSet: more.ruleSet,
    requests: before.requests + more.requests,
    answered: before.answered + more.answered,
    latencySum: before.latencySum + more.latencySum,
    latencyMax: Math.max(before.latencyMax, more.latencyMax),
  };
}
