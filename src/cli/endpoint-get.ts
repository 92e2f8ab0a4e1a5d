/** `tandem endpoint get`: one pod of this node, or the node itself, with its verdict tables. */
import type { Command } from "commander";
import type { EndpointDetailsDto } from "../api/policy-dto.ts";
import { agentCommand, type CliContext, clientOf, type CommonOptions, painter, printJson } from "./context.ts";
import { rulesText } from "./policy/rules-text.ts";

export function registerEndpointGet(context: CliContext, endpoint: Command): void {
  const command = agentCommand(
    endpoint,
    "get <endpoint>",
    "one pod by endpoint number or NAMESPACE/POD, or the node itself (node/NAME), with its resolved rules",
  ).addHelpText(
    "after",
    `
For each direction the default and the groups of rules in the order in which they decide (denies, allows, L7): ports, peers with the
pods that they stand for, and the policies behind them.

Examples:
  tandem endpoint get shop/web-0
  tandem endpoint get 7 --json | jq .rules.directions
`,
  );
  command.action(async (id: string, options: CommonOptions) => {
    const path = `/v1/endpoints/${encodeURIComponent(id)}`;
    const row = await clientOf(context, command).get<EndpointDetailsDto>(path);
    if (options.json === true) printJson(context, row);
    else context.write(detailsText(context, row));
  });
}

function detailsText(context: CliContext, row: EndpointDetailsDto): string {
  const { id, pod, state, reason, ipv4, ipv6, ifname, identity, labels, enforcement, policyAuditMode, rules } = row;
  const addresses = [ipv4, ipv6].filter((address) => address !== null).join(", ") || "no address";
  const inKernel = row.policySet === 0 ? "no policy set in the kernel" : `policy set ${row.policySet} in the kernel`;
  const paint = painter(context, state === "ready" ? "green" : "red");
  const lines = [
    `${painter(context, "bold")(pod)}: ${state === "unmanaged" ? "" : `endpoint ${id}, `}${paint(state)}, ${addresses}${ifname === "" ? "" : `, ${ifname}`}`,
    `identity ${identity}: ${labels.join(" ") || "not known yet"}`,
    `policy: ingress ${enforced(enforcement.ingress)}, egress ${enforced(enforcement.egress)}${policyAuditMode.active ? ", audit mode: drops are reported, not made" : ""}`,
    `${inKernel}, revision ${row.policyRevision}`,
  ];
  if (reason !== null) lines.splice(1, 0, reason);
  if (rules === null) lines.push("its Pod object is not known yet: it has no rules, and is closed");
  else {
    lines.push(`selected by ${rules.selectedBy.join(", ") || "no policy"}`);
    if (rules.refused !== null) lines.push(`its rules are refused, and it keeps those of before: ${rules.refused}`);
  }
  return `${lines.join("\n")}\n${rules === null ? "" : rulesText(context, rules.directions)}`;
}

function enforced(closed: boolean): string {
  return closed ? "enforced" : "open";
}
