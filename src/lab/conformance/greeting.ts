/**
 * Where a connection alone shows nothing but that it is open: ports that L7 rules hold, as a proxy has nothing to pass on before something is asked,
 * and ports over which the case sends requests, as their servers greet nobody.
 */
import type { CaseProbe, ConformanceCase } from "./case.ts";
import { isIcmp } from "./case.ts";

/** Whether the server's name would not come by itself to whoever connects as this probe does. */
export function isSilent(probe: CaseProbe, { policies, probes }: ConformanceCase): boolean {
  if (probe.request !== null || isIcmp(probe.protocol)) return false;
  if (policies.some((policy) => isClosedByL7(policy, probe))) return true;
  const asksHere = ({ protocol, request, to, port }: CaseProbe) =>
    request !== null && protocol === "TCP" && to === probe.to && port === probe.port;
  return probe.protocol === "TCP" && probes.some(asksHere);
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
