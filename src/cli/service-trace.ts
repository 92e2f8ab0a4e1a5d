/** `tandem service trace`: which backend a client of this node, or one outside, gets at a service's address, and why. */
import type { Command } from "commander";
import type { ServiceCandidateDto, ServiceTraceDto } from "../api/service-dto.ts";
import { agentCommand, type CliContext, clientOf, type CommonOptions, painter, printJson } from "./context.ts";
import { CliError } from "./errors.ts";
import { table } from "./table.ts";

export function registerServiceTrace(context: CliContext, service: Command): void {
  const command = agentCommand(
    service,
    "trace <client> <destination>",
    "which backend a client gets at ADDRESS:PORT[/PROTOCOL] (TCP if none is said), and why not the others",
  ).addHelpText(
    "after",
    `
A client is NAMESPACE/POD or node/NAME of this node, or an address outside of the cluster. Clients on other nodes are for the agents there.
Endpoints that the client may get come with what policies say of its connection to them; policy trace explains that verdict.

Examples:
  tandem service trace shop/web-0 10.96.0.10:53/UDP
  tandem service trace 198.51.100.7 203.0.113.10:443
  tandem service trace node/worker-1 '[fd00:96::1]:80' --json
`,
  );
  command.action(async (client: string, to: string, options: CommonOptions) => {
    const path = `/v1/service/trace?${new URLSearchParams({ client, to })}`;
    const answer = await clientOf(context, command).get<ServiceTraceDto>(path).catch(told);
    if (options.json === true) printJson(context, answer);
    else context.write(traceText(context, answer));
  });
}

function told(error: unknown): never {
  if (error instanceof CliError && (error.code === "TRACE_END" || error.code === "TRACE_FLOW")) {
    const { code, remedy } = error;
    // Without the request that the agent was asked by.
    const message = error.message.slice(error.message.indexOf(": ") + 2);
    throw new CliError({ code, message, remedy, exitCode: 2 });
  }
  throw error;
}

const outcomes = {
  backend: { colour: "green", text: "A BACKEND" },
  refused: { colour: "red", text: "REFUSED" },
  dropped: { colour: "red", text: "DROPPED" },
  "not translated": { colour: "yellow", text: "NOT TRANSLATED" },
} as const;

function traceText(context: CliContext, trace: ServiceTraceDto): string {
  const { client, destination, protocol, service, type, scope, how, outcome, because, candidates, choices } = trace;
  const who = client.name === client.address ? client.name : `${client.name} (${client.address})`;
  const lines = [
    painter(context, "bold")(`${who} -> ${destination}/${protocol}`),
    service === null ? "of no service" : `${type} of service ${service}`,
    `client ${scope === "inside" ? "on this node" : "outside"}: ${how}`,
  ];
  if (candidates.length > 0) {
    const rows = candidates.map((each) => candidateRow(context, each));
    lines.push("", table(["ENDPOINT", "STATE", "NODE", "ZONE", "FOR THIS CLIENT", "POLICY"], rows).trimEnd());
  }
  for (const { backend, by, clientPort, state, idleSeconds } of choices) {
    const what = by === "flow" ? `flow from port ${clientPort} (${state})` : "affinity";
    lines.push(`in the kernel: ${what} -> ${backend}, used ${idleSeconds} s ago`);
  }
  const { colour, text } = outcomes[outcome];
  lines.push("", `a new connection gets: ${painter(context, colour)(text)}, ${because}`);
  const { facts, applied } = trace.revision;
  const present = applied >= facts ? "all of it is in the kernel" : `the kernel has revision ${applied}`;
  lines.push(`by what ${trace.node} knows at revision ${facts}; ${present}`);
  return `${lines.join("\n")}\n`;
}

function candidateRow(
  context: CliContext,
  { backend, state, node, zone, local, leftOut, verdict }: ServiceCandidateDto,
) {
  const words = { allow: "ALLOW", deny: "DENY", l7: "L7 DECIDES" } as const;
  const colours = { allow: "green", deny: "red", l7: "yellow" } as const;
  return [
    backend,
    state,
    local ? `${node} (this one)` : (node ?? "-"),
    zone ?? "-",
    leftOut ?? { text: "yes", paint: painter(context, "green") },
    verdict === null ? "-" : { text: words[verdict], paint: painter(context, colours[verdict]) },
  ];
}
