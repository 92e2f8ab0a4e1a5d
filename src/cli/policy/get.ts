/** `tandem policy get`: policies as the agent of this node understood them. */
import type { Command } from "commander";
import type { PolicyDto } from "../../api/dto.ts";
import { agentCommand, type CliContext, clientOf, type CommonOptions, painter, printJson } from "../context.ts";
import { problemLines } from "../problems.ts";
import { type CellInput, table } from "../table.ts";

export function registerPolicyGet(context: CliContext, policy: Command): void {
  const get = agentCommand(
    policy,
    "get [name]",
    "the agent's policies: all, or those named NAME or NAMESPACE/NAME",
  ).addHelpText("after", "\nExamples:\n  tandem policy get\n  tandem policy get shop/api --json\n");
  get.action(async (name: string | undefined, options: CommonOptions) => {
    const all = await clientOf(context, get).get<readonly PolicyDto[]>("/v1/policies");
    const rows = all.filter(
      (row) => name === undefined || row.name === name || `${row.namespace}/${row.name}` === name,
    );
    if (name !== undefined && rows.length === 0) {
      context.note(`there is no policy ${name} on this node\n`);
      context.setExitCode(1);
    }
    if (options.json === true) return printJson(context, rows);
    const problems = rows.flatMap((row) => row.problems);
    context.write(
      table(
        ["KIND", "NAMESPACE", "NAME", "VALID", "ENDPOINTS"],
        rows.map((row) => policyRow(context, row)),
      ),
    );
    if (problems.length > 0) context.write(`\n${problemLines(context, problems)}`);
  });
}

function policyRow(context: CliContext, row: PolicyDto): readonly CellInput[] {
  return [
    row.kind,
    row.namespace || "-",
    row.name,
    row.valid ? "True" : { text: "False", paint: painter(context, "red") },
    [...(row.ownNode ? ["node"] : []), ...row.endpoints].join(",") || "-",
  ];
}
