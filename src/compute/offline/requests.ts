/**
 * What becomes of a request over a connection that L7 rules are about: the rules of both ends have to allow it, each by one of all its
 * groups that hold.
 */
import { allowsHttp, allowsKafka, allowsName, type Judgement } from "../l7/judge.ts";
import { type L7Rules, parseDemands } from "../l7/parse-demands.ts";
import type { EndVerdict, Path } from "./connection.ts";
import type { ProbeRequest } from "./probes.ts";
import { vectorsOf } from "./vectors.ts";

export type Answer =
  | "allow"
  /** 403, or what a protocol has for it. */
  | "forbidden"
  /** The code of DNS. */
  | "refused";

/** @returns null: nothing of ours enforces what decides about it, or JavaScript cannot judge it */
export function answerOf({ egress, ingress }: Path, request: ProbeRequest | null): Answer | null {
  const judged = [egress, ingress].map((end) => (end === null ? true : judge(end, request)));
  if (judged.includes(false)) return request?.kind === "dns" ? "refused" : "forbidden";
  return judged.includes(null) ? null : "allow";
}

function judge(end: EndVerdict, request: ProbeRequest | null): Judgement {
  if (end.verdict !== "redirect") return true;
  const rules = rulesOf(end);
  if (rules === null) return null;
  // A connection gets as far as the proxy, whatever is asked then.
  if (request === null) return true;
  switch (request.kind) {
    case "http":
      return allowsHttp(rules, request);
    case "kafka":
      return allowsKafka(rules, request);
    case "dns":
      return allowsName(rules, request.name);
  }
}

/** null: one of them is not enforced, so that its port is closed. */
function rulesOf({ set, side, groups }: EndVerdict): readonly L7Rules[] | null {
  if (set === null) return null;
  const vectors = vectorsOf(set[side]);
  const { guards = 0, denies, allows, demands = [] } = set[side];
  const rules = groups.flatMap((group) =>
    vectors.actionOf(group) === "redirect" ? [parseDemands(demands[group - guards - denies - allows] ?? "")] : [],
  );
  return rules.every((each): each is L7Rules => each !== null) ? rules : null;
}
