/**
 * What a live run cannot show yet, told from the content of policies and probes alone: requests of DNS and Kafka, names, which a run does not publish,
 * and connections over which nothing is asked, where a rule is about what is asked. Nothing else may be pending.
 */
import type { CaseProbe, ConformanceCase } from "./case.ts";
import { isIcmp } from "./case.ts";

/** Why this probe has to wait; null: it can be run. */
export function pendingReason(probe: CaseProbe, { policies, probes }: ConformanceCase): string | null {
  if (probe.application === "dns") return "dns: a run has no DNS server";
  if (probe.application === "kafka") return "kafka: a run has no broker";
  if (probe.application === "http") return null;
  if (probe.resolved) return "toFQDNs: names are not published by a run";
  if (probe.expect === "allow" && !isIcmp(probe.protocol) && policies.some((policy) => isClosedByL7(policy, probe))) {
    return "an L7 rule holds this port: nothing is answered before something is asked";
  }
  const asksHere = ({ request, to, port }: CaseProbe) => request !== null && to === probe.to && port === probe.port;
  if (probe.expect === "allow" && probe.protocol === "TCP" && probes.some(asksHere)) {
    return "this port speaks HTTP: nothing is answered before something is asked";
  }
  return null;
}

interface Rule {
  readonly [section: string]: unknown;
}

interface PortRule {
  readonly ports?: readonly { readonly port?: string; readonly protocol?: string; readonly endPort?: number }[];
  readonly rules?: object;
}

function rulesOf(policy: { readonly [field: string]: unknown }): readonly Rule[] {
  const { spec, specs } = policy as { readonly spec?: Rule; readonly specs?: readonly Rule[] };
  return [...(spec ? [spec] : []), ...(specs ?? [])];
}

/** Whether, in one direction of one rule, the port is allowed with L7 rules only. */
function isClosedByL7(policy: { readonly [field: string]: unknown }, probe: CaseProbe): boolean {
  return rulesOf(policy).some((rule) =>
    ["ingress", "egress"].some((direction) => {
      const entries = (Array.isArray(rule[direction]) ? rule[direction] : []) as readonly {
        readonly toPorts?: readonly PortRule[];
      }[];
      const holding = entries
        .flatMap(({ toPorts }) => toPorts ?? [])
        .filter(({ ports }) => (ports ?? []).some((port) => holds(port, probe)));
      const isL7 = ({ rules }: PortRule) => rules !== undefined && rules !== null && Object.keys(rules).length > 0;
      return holding.length > 0 && holding.every(isL7);
    }),
  );
}

function holds(
  { port, protocol, endPort }: { readonly port?: string; readonly protocol?: string; readonly endPort?: number },
  probe: CaseProbe,
): boolean {
  if (protocol !== undefined && protocol !== "ANY" && protocol !== probe.protocol) return false;
  const number = Number(port);
  return number === 0 || (probe.port >= number && probe.port <= Math.max(number, endPort ?? 0));
}
