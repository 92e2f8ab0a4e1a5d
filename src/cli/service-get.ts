/** `tandem service get`: one service with its addresses, all its endpoints and what is told of it. */
import type { Command } from "commander";
import type { ServiceAdvertisementDto } from "../api/dto.ts";
import type { ServiceDetailsDto, ServiceFrontendDto } from "../api/service-dto.ts";
import { agentCommand, type CliContext, clientOf, type CommonOptions, painter, printJson } from "./context.ts";
import { table } from "./table.ts";

export function registerServiceGet(context: CliContext, service: Command): void {
  const command = agentCommand(
    service,
    "get <service>",
    "one service, by NAMESPACE/NAME: addresses, endpoints with their state, policies, problems",
  ).addHelpText(
    "after",
    `
Addresses are those that this node serves, with how many backends clients on the node have there (INSIDE) and clients who come by an
uplink (OUTSIDE; "-": it is not translated for them), and how many flows both began since the address came. Addresses are then
told with who announces them by BGP, as this node knows: itself, or whom the fabric tells of. Endpoints are all that there are: who gets none, and why, says service trace.

Examples:
  tandem service get shop/web
  tandem service get shop/web --json | jq .backends
`,
  );
  command.action(async (id: string, options: CommonOptions) => {
    const path = `/v1/services/${encodeURIComponent(id)}`;
    const details = await clientOf(context, command).get<ServiceDetailsDto>(path);
    if (options.json === true) printJson(context, details);
    else context.write(detailsText(context, details));
  });
}

function detailsText(
  context: CliContext,
  { service, type, policies, frontends, advertisements, backends, problems }: ServiceDetailsDto,
): string {
  const [green, yellow, red] = (["green", "yellow", "red"] as const).map((colour) => painter(context, colour));
  const paints = { ready: green, terminating: yellow, "not ready": red } as const;
  const parts = [`${painter(context, "bold")(service)}: ${type}\n${policiesText(policies)}`];
  parts.push(
    frontends.length === 0
      ? "no address is served on this node\n"
      : table(["FRONTEND", "KIND", "INSIDE", "OUTSIDE", "NEW FLOWS", "IN THE KERNEL"], frontends.map(frontendRow)),
  );
  if (advertisements.length > 0)
    parts.push(table(["ADDRESS", "KIND", "ANNOUNCED BY", "SERVED THERE"], advertisements.map(advertisementRow)));
  const own = advertisements.flatMap(({ address, advertising }) =>
    advertising === undefined ? [] : [`${address}: ${advertising.state} by this agent: ${advertising.why}`],
  );
  if (own.length > 0) parts.push(`${own.join("\n")}\n`);
  const rows = backends.map(({ backend, protocol, servicePort, state, node, zone, local }) => [
    `${backend}/${protocol}`,
    servicePort,
    { text: state, paint: paints[state] ?? null },
    local ? `${node} (this one)` : (node ?? "-"),
    zone ?? "-",
  ]);
  parts.push(rows.length === 0 ? "no endpoint\n" : table(["ENDPOINT", "OF PORT", "STATE", "NODE", "ZONE"], rows));
  for (const { severity, code, field, message, remedy } of problems) {
    const paint = severity === "error" ? red : yellow;
    const place = field === "" ? "" : `${field}: `;
    parts.push(`${paint?.(`${severity} ${code}`) ?? code}: ${place}${message}\n  ${remedy}\n`);
  }
  return parts.join("\n");
}

function frontendRow({ frontend, protocol, type, inside, outside, flows, inKernel }: ServiceFrontendDto) {
  const begun = `${flows.inside} inside, ${flows.outside} outside`;
  return [`${frontend}/${protocol}`, type, inside.length, outside?.length ?? "-", begun, inKernel ? "yes" : "not yet"];
}

const pathTexts = { own: " (this one)", learned: "", none: "nobody known", unknown: "BGP is not known" } as const;

function advertisementRow({ address, type, path, by, unserved }: ServiceAdvertisementDto) {
  const served = unserved.length === 0 ? "yes" : `not ${unserved.join(", ")}`;
  return [address, type, `${by ?? ""}${pathTexts[path]}`, by === null ? "-" : served];
}

function policiesText(policies: ServiceDetailsDto["policies"]): string {
  const { internalTrafficPolicy, externalTrafficPolicy, affinitySeconds, sourceRanges, exposed } = policies;
  const lines = [`traffic policy: inside ${internalTrafficPolicy}, outside ${externalTrafficPolicy}`];
  if (affinitySeconds !== null) lines.push(`session affinity: by client, ${affinitySeconds} s`);
  if (sourceRanges !== null) {
    const ranges = sourceRanges.prefixes.join(", ") || "nobody";
    lines.push(`clients outside, of the load balancer's addresses: ${sourceRanges.policy} ${ranges}`);
  }
  if (policies.healthCheckNodePort !== null) lines.push(`health check node port: ${policies.healthCheckNodePort}`);
  if (policies.publishNotReadyAddresses) lines.push("endpoints that are not ready are published");
  if (policies.nodes !== null) lines.push(`served on nodes with: ${policies.nodes.join(", ")}`);
  if (exposed !== null) lines.push(`exposed as: ${exposed.join(", ") || "nothing"}`);
  return `${lines.join("\n")}\n`;
}
