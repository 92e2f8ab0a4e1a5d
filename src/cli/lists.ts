/** Commands that print one list of the agent: as JSON, or as columns under Cilium's headings where it has such a list. */
import type { Command } from "commander";
import type { EndpointDto, IdentityDto, ServiceDto } from "../api/dto.ts";
import { agentCommand, type CliContext, clientOf, type CommonOptions, painter, printJson } from "./context.ts";
import { registerEndpointConfig } from "./endpoint-config.ts";
import { registerEndpointGet } from "./endpoint-get.ts";
import { registerServiceGet } from "./service-get.ts";
import { registerServiceTrace } from "./service-trace.ts";
import { type CellInput, table } from "./table.ts";

/** A command that asks one path for an array and prints it. */
export function listCommand<T>(
  context: CliContext,
  command: Command,
  path: string,
  print: (rows: readonly T[]) => string,
): void {
  command.action(async (options: CommonOptions) => {
    const rows = await clientOf(context, command).get<readonly T[]>(path);
    if (options.json === true) printJson(context, rows);
    else context.write(print(rows));
  });
}

export function registerLists(context: CliContext, program: Command): void {
  const red = painter(context, "red");
  const green = painter(context, "green");

  const endpoint = program
    .command("endpoint")
    .description("pods of this node, and the node itself, as the datapath knows them");
  listCommand<EndpointDto>(
    context,
    agentCommand(
      endpoint,
      "list",
      "every pod of this node, and the node itself (reserved:host) that policies of nodes are about",
    ),
    "/v1/endpoints",
    (rows) =>
      table(
        endpointHeadings,
        rows.map((row) => endpointRow(row, { good: green, bad: red })),
      ),
  );
  registerEndpointGet(context, endpoint);
  registerEndpointConfig(context, endpoint);

  const identity = program.command("identity").description("sets of labels that policy speaks of, and their numbers");
  listCommand<IdentityDto>(context, agentCommand(identity, "list", "every identity"), "/v1/identities", (rows) =>
    table(
      ["ID", "LABELS", "REFCOUNT"],
      rows.map((row) => [row.id, row.labels.join("\n"), row.references]),
    ),
  );
  const identityGet = agentCommand(identity, "get <id>", "one identity as JSON, by its number");
  identityGet.action(async (id: string) => {
    printJson(context, await clientOf(context, identityGet).get(`/v1/identities/${encodeURIComponent(id)}`));
  });

  const service = program.command("service").description("services that this node balances");
  listCommand<ServiceDto>(
    context,
    agentCommand(service, "list", "every service address and its backends"),
    "/v1/services",
    (rows) =>
      table(
        [...serviceHeadings, "ANNOUNCED BY"],
        rows.map((row) => [...serviceRow(row), row.advertisedBy ?? "-"]),
      ),
  );
  registerServiceGet(context, service);
  registerServiceTrace(context, service);
}

const endpointHeadings = [
  "ENDPOINT",
  "POLICY (ingress)\nENFORCEMENT",
  "POLICY (egress)\nENFORCEMENT",
  "IDENTITY",
  "LABELS (source:key[=value])",
  "IPv6",
  "IPv4",
  "STATUS",
  "POD",
];

function endpointRow(
  row: EndpointDto,
  paint: { readonly good: (text: string) => string; readonly bad: (text: string) => string },
): readonly CellInput[] {
  return [
    row.state === "unmanaged" ? "-" : row.id,
    enforcement(row.enforcement.ingress, row),
    enforcement(row.enforcement.egress, row),
    row.identity,
    row.labels.join("\n"),
    row.ipv6 ?? "",
    row.ipv4 ?? "",
    { text: row.state, paint: row.state === "ready" ? paint.good : paint.bad },
    row.pod,
  ];
}

function enforcement(closed: boolean, { policyAuditMode }: EndpointDto): string {
  return `${closed ? "Enabled" : "Disabled"}${policyAuditMode.active ? " (Audit)" : ""}`;
}

export const serviceHeadings = ["SERVICE", "FRONTEND", "SERVICE TYPE", "BACKEND"] as const;

export function serviceRow(row: ServiceDto): readonly CellInput[] {
  const backends = row.backends.map((backend, at) => `${at + 1} => ${backend}/${row.protocol} (active)`);
  const nobody = row.backends.length === 0 ? "none: connections are refused" : "none: dropped";
  const outside = row.outside === null ? [] : [`from outside => ${row.outside.join(", ") || nobody}`];
  return [
    row.service,
    `${row.frontend}/${row.protocol}`,
    row.type,
    [backends.join("\n") || "none: connections are refused", ...outside].join("\n"),
  ];
}
