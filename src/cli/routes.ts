/** `tandem routes`: which pod CIDRs this node reaches, how, and why not. */
import type { Command } from "commander";
import type { RouteDto } from "../api/dto.ts";
import { agentCommand, type CliContext, clientOf, type CommonOptions, painter, printJson } from "./context.ts";
import { CliError } from "./errors.ts";
import { type CellInput, table } from "./table.ts";

export function registerRoutes(context: CliContext, program: Command): void {
  const command = agentCommand(
    program,
    "routes [node]",
    "pod CIDRs of all nodes, or of one: next hops, who brought the route, and why one is missing",
  );
  command.addHelpText(
    "after",
    `
KIND: direct (to the node itself), tunnel (a device of kube-router's overlay), fabric (by a router between). What is odd about a route, or why
there is none, is told below the list with what to do; it is known while kube-router's API answers (setting gobgp).

Examples:
  tandem routes
  tandem routes node-2 --json | jq '.[].why'
`,
  );
  command.action(async (node: string | undefined, options: CommonOptions) => {
    const all = await clientOf(context, command).get<readonly RouteDto[]>("/v1/routes");
    const rows = node === undefined ? all : all.filter((row) => row.node === node);
    if (node !== undefined && rows.length === 0) throw unknownNode(node, all);
    if (options.json === true) printJson(context, rows);
    else context.write(formatRoutes(context, rows));
  });
}

function formatRoutes(context: CliContext, rows: readonly RouteDto[]): string {
  const red = painter(context, "red");
  const green = painter(context, "green");
  const list = table(
    ["NODE", "POD CIDR", "STATE", "VIA", "DEVICE", "ORIGIN", "MTU", "KIND", "SINCE"],
    rows.map((row): readonly CellInput[] => [
      row.node,
      row.podCidr,
      row.local ? "local" : row.present ? { text: "present", paint: green } : { text: "missing", paint: red },
      row.via.join("\n") || "-",
      [...new Set(row.device)].join("\n") || "-",
      row.origin || "-",
      row.mtu ?? "-",
      row.kind ?? "-",
      row.since ?? "-",
    ]),
  );
  const reasons = rows.flatMap(({ node, podCidr, why }) =>
    why === null ? [] : [`${podCidr} (${node}): ${why.text}\n  -> ${why.remedy}\n`],
  );
  return reasons.length === 0 ? list : `${list}\n${reasons.join("")}`;
}

function unknownNode(node: string, rows: readonly RouteDto[]): CliError {
  const names = [...new Set(rows.map((row) => row.node))];
  const some = names.length > 8 ? `${names.slice(0, 8).join(", ")}, …` : names.join(", ") || "none";
  return new CliError({
    code: "NODE_UNKNOWN",
    message: `there is no node ${node} with a pod CIDR`,
    remedy: `nodes are: ${some}`,
    exitCode: 1,
  });
}
