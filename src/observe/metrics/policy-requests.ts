/**
 * Requests by the policy whose L7 rules judged them. The proxy knows rules by number only, and forgets those that are gone: what it counted since its
 * last word is added here to the policies that the rules come from, so that a policy's figure never goes back when its rules change.
 */
import type { RuleCount } from "../../api/proxy-dto.ts";
import type { CompiledDirection, CompiledSet } from "../../compute/desired.ts";
import type { Family, Sample } from "./exposition.ts";

/** Policies that have series of their own. */
export const maxPolicies = 500;
/** Processes whose last word is remembered: they come again when the connection broke. */
const mostProcesses = 8;
const other = "other";
const verdicts = ["allowed", "denied"] as const;

interface Origin {
  readonly protocol: string;
  /** "shop/api"; of a clusterwide one "/deny-all". */
  readonly policies: ReadonlySet<string>;
}

interface Counted {
  readonly allowed: number;
  readonly denied: number;
}

export class PolicyRequests {
  /** By number of the rules. */
  #origins = new Map<number, Origin>();
  /** Rules that hold now. */
  #present: ReadonlySet<number> = new Set();
  #isFollowing = false;
  /** By process, then by rules. */
  readonly #seen = new Map<string, ReadonlyMap<number, Counted>>();
  /** By policy, then by protocol and verdict. */
  readonly #sums = new Map<string, Map<string, number>>();

  /** Policies as the kernel has them. @param ruleSets numbers of the rules that the proxy has, with their canonical text */
  follow(ruleSets: readonly { readonly id: number; readonly text: string }[], sets: readonly CompiledSet[]): void {
    const byText = new Map<string, Set<string>>();
    for (const { egress, ingress } of sets) for (const each of [egress, ingress]) addOrigins(byText, each);
    for (const { id, text } of ruleSets) {
      const policies = byText.get(text);
      // Rules of a set that is on its way out have none: they keep those that they had.
      if (policies !== undefined) this.#origins.set(id, { protocol: text.split(" ")[0] ?? "", policies });
    }
    this.#present = new Set(ruleSets.map(({ id }) => id));
    this.#isFollowing = true;
  }

  /** @param process whose counts these are, all since its start */
  take(process: string, rules: readonly RuleCount[]): void {
    // Before it is known what the rules are, nothing is lost by waiting: the counts are sums.
    if (!this.#isFollowing) return;
    const before = this.#seen.get(process);
    const now = new Map<number, Counted>();
    for (const { ruleSet, requests: allowed, denied = 0 } of rules) {
      now.set(ruleSet, { allowed, denied });
      const origin = this.#origins.get(ruleSet);
      if (origin === undefined) continue;
      const last = before?.get(ruleSet) ?? { allowed: 0, denied: 0 };
      this.#add(origin, "allowed", since(last.allowed, allowed));
      this.#add(origin, "denied", since(last.denied, denied));
    }
    this.#seen.delete(process);
    this.#seen.set(process, now);
    for (const oldest of this.#seen.keys()) {
      if (this.#seen.size <= mostProcesses) break;
      this.#seen.delete(oldest);
    }
    for (const id of this.#origins.keys()) if (!this.#present.has(id) && !now.has(id)) this.#origins.delete(id);
  }

  metrics(): readonly Family[] {
    return [
      {
        name: "tandem_l7_policy_requests_total",
        type: "counter",
        help: "Requests that L7 rules of a policy judged; what rules of several policies say counts for each.",
        samples: [...this.#sums].flatMap(([policy, sums]) => samplesOf(policy, sums)),
      },
      {
        name: "tandem_l7_policies_in_other",
        type: "gauge",
        help: "Policies with L7 rules beyond the bound, whose requests are in one series.",
        samples: [{ labels: {}, value: this.#inOther() }],
      },
    ];
  }

  #add({ protocol, policies }: Origin, verdict: (typeof verdicts)[number], requests: number): void {
    if (requests === 0) return;
    for (const policy of policies) {
      const sums = this.#sumsOf(policy);
      const key = `${protocol} ${verdict}`;
      sums.set(key, (sums.get(key) ?? 0) + requests);
    }
  }

  #sumsOf(policy: string): Map<string, number> {
    const known = this.#sums.get(policy);
    if (known !== undefined) return known;
    const named = this.#sums.size - Number(this.#sums.has(other));
    if (named >= maxPolicies && policy !== other && !this.#forgetOne()) return this.#sumsOf(other);
    const sums = new Map<string, number>();
    this.#sums.set(policy, sums);
    return sums;
  }

  /** @returns false: all that have series have rules now */
  #forgetOne(): boolean {
    const present = this.#policies();
    for (const policy of this.#sums.keys()) {
      if (policy !== other && !present.has(policy)) return this.#sums.delete(policy);
    }
    return false;
  }

  #policies(): ReadonlySet<string> {
    const present = [...this.#origins].filter(([id]) => this.#present.has(id));
    return new Set(present.flatMap(([, { policies }]) => [...policies]));
  }

  #inOther(): number {
    const named = this.#sums.size - Number(this.#sums.has(other));
    return named < maxPolicies ? 0 : [...this.#policies()].filter((policy) => !this.#sums.has(policy)).length;
  }
}

/** Of a process that counts anew less than before: all of it. */
function since(before: number, now: number): number {
  return now >= before ? now - before : now;
}

function samplesOf(policy: string, sums: ReadonlyMap<string, number>): readonly Sample[] {
  const [namespace = "", name = ""] = policy === other ? [other, other] : policy.split("/");
  return [...sums].map(([key, value]) => {
    const [protocol = "", verdict = ""] = key.split(" ");
    return { labels: { namespace, policy: name, protocol, verdict }, value };
  });
}

/** Policies by the text of their rules. Groups that redirect are a direction's last. */
function addOrigins(byText: Map<string, Set<string>>, { demands = [], origins }: CompiledDirection): void {
  const first = origins.length - demands.length;
  for (const [at, text] of demands.entries()) {
    const policies = byText.get(text) ?? new Set();
    byText.set(text, policies);
    for (const origin of origins[first + at] ?? []) policies.add(policyOf(origin));
  }
}

/** @param origin "CiliumNetworkPolicy shop/api egress[0]" */
function policyOf(origin: string): string {
  const [, object = origin] = origin.split(" ");
  return object.includes("/") ? object : `/${object}`;
}
