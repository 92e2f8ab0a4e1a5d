/** A trace for people. */
import type { PolicyTraceDto } from "../../api/policy-dto.ts";
import type {
  KernelVerdict,
  PolicyAction,
  PolicyTrace,
  TraceEnd,
  TraceParty,
  TracePath,
} from "../../model/policy-reports.ts";
import { type CliContext, painter } from "../context.ts";

const words: Readonly<Record<PolicyAction, string>> = { allow: "ALLOW", deny: "DENY", redirect: "L7 DECIDES" };

/** @param trace of manifests, or of an agent */
export function traceText(context: CliContext, trace: PolicyTrace | PolicyTraceDto): string {
  const { title, service, paths, nowhere } = trace;
  const about = "node" in trace ? trace : null;
  const lines = [painter(context, "bold")(title)];
  if (service !== null && service.address !== null) {
    const backends = `${paths.length} ready backend${paths.length === 1 ? "" : "s"}`;
    lines.push(`service svc/${service.name} at ${service.address}: ${backends}, each is judged by itself`);
  }
  if (nowhere !== null) lines.push(nowhere);
  const [first] = paths;
  if (first !== undefined) lines.push(...partyLines("from", first.source));
  for (const [index, path] of paths.entries()) {
    if (service !== null) {
      lines.push("", `backend ${index + 1} of ${paths.length}: ${path.destination.name} ${path.flowText}`);
    }
    lines.push(...pathLines(context, path, about?.node ?? null));
  }
  lines.push("", `verdict: ${verdictText(context, trace)}`);
  if (about !== null) lines.push(revisionText(about));
  return `${lines.join("\n")}\n`;
}

function verdictText(context: CliContext, { verdict, paths }: PolicyTrace): string {
  const text = painted(context, verdict === "l7" ? "redirect" : verdict);
  if (verdict === "l7") return `${text} (no proxy enforces L7 rules yet: until then it is dropped)`;
  const denying = paths.flatMap(({ ends }) => ends).filter((end) => end.verdict === "deny");
  const audited = denying.length > 0 && denying.every(({ audit }) => audit === true);
  return audited ? `${text} (audit mode lets it through and reports it)` : text;
}

function revisionText({ node, revision: { facts, applied } }: PolicyTraceDto): string {
  const present = applied >= facts ? "all of it is in the kernel" : `the kernel has revision ${applied}`;
  return `by what ${node} knows at revision ${facts}; ${present}`;
}

function painted(context: CliContext, verdict: PolicyAction): string {
  const colour = { allow: "green", deny: "red", redirect: "yellow" } as const;
  return painter(context, colour[verdict])(words[verdict]);
}

const kinds: Readonly<Record<TraceParty["kind"], string>> = {
  pod: "pod",
  node: "node",
  unmanaged: "an address of a pod CIDR that no pod has",
  outside: "outside of the cluster",
};

function partyLines(word: string, { kind, name, address, node, identity, about }: TraceParty): readonly string[] {
  const where = kind === "pod" ? ` on ${node ?? "no node"}` : "";
  const who = name === address ? name : `${name} (${address})`;
  const known = identity === null ? "" : `, identity ${identity}`;
  const lines = [`${word.padEnd(5)}${who}, ${kinds[kind]}${where}${known}`];
  if (identity !== null) lines.push(`     ${about}`);
  return lines;
}

function pathLines(context: CliContext, { destination, ends }: TracePath, node: string | null): readonly string[] {
  const lines = partyLines("to", destination);
  if (ends.length === 0) return [...lines, "a pod or node to itself: never subject to policy"];
  return [...lines, ...ends.flatMap((end) => endLines(context, end, node))];
}

/** @param node of the agent that was asked; null: none was */
function endLines(context: CliContext, end: TraceEnd, node: string | null): readonly string[] {
  const { side, subject, verdict, because, basis, enforced, closedBy, lookup, groups, near } = end;
  const lines = [`${side} of ${subject}: ${painted(context, verdict)}`];
  const tell = (text: string) => lines.push(`  ${text}`);
  if (basis !== "refused") {
    if (enforced) tell(`closed by ${closedBy.join(", ")}`);
    else if (lookup !== null) tell("open, with rules that deny");
  }
  if (lookup !== null) {
    const both = groups.map(({ group }) => group);
    tell(
      `groups of rules that name the peer: ${listText(lookup.peer)}; that hold the port: ${listText(lookup.port)}; both: ${listText(both)}`,
    );
  }
  for (const [index, { group, action, ports, origins }] of groups.entries()) {
    const kind = action === "redirect" ? "L7" : action;
    tell(`${index === 0 ? "=>" : "  "} group ${group} (${kind}, ${ports}): ${origins.join(", ")}`);
  }
  tell(because);
  for (const text of near) tell(`near: ${text}`);
  if (node !== null) for (const text of agentLines(end, node)) tell(text);
  return lines;
}

function agentLines({ node: judging, verdict, audit, kernel }: TraceEnd, node: string): readonly string[] {
  if (judging === null) return [];
  if (judging !== node) return [`judged on ${judging}: ask its agent what its kernel has`];
  const lines = audit === true && verdict === "deny" ? ["audit mode: it is let through, and reported"] : [];
  return kernel === undefined ? lines : [...lines, kernelText(kernel, verdict)];
}

function kernelText(kernel: KernelVerdict | null, verdict: PolicyAction): string {
  if (kernel === null) return "in the kernel: nothing yet, so that the pod is closed";
  const by = kernel.group === null ? "no group of rules" : `group ${kernel.group}`;
  const same = kernel.verdict === verdict ? "the same" : `${words[kernel.verdict]}, which is not the same`;
  return `in the kernel: ${same}, by ${by}`;
}

function listText(groups: readonly number[]): string {
  return groups.length === 0 ? "none" : groups.join(", ");
}
