/** `tandem health`: whether the other nodes answer this one over the data path, how fast, and what their silence means. */
import type { Command } from "commander";
import type { NodeHealthDto, NodePathDto } from "../api/health-dto.ts";
import { agentCommand, type CliContext, clientOf, type CommonOptions, painter, printJson } from "./context.ts";
import { CliError } from "./errors.ts";
import { type CellInput, table } from "./table.ts";

export function registerHealth(context: CliContext, program: Command): void {
  const command = agentCommand(
    program,
    "health [node]",
    "whether other nodes and the ways to their pods answer, and how fast",
  );
  command.addHelpText(
    "after",
    `
PATH: icmp and tcp ask the node's address, pods an address of its pod CIDR, over each device of the route if there are several. LAST is the last answer;
P50 and P99 are of the last 64. What is wrong is told below the list with what to do.

Exit code: 0 all nodes answer, 1 one does not, or only partly.

Examples:
  tandem health
  tandem health node-2 --json | jq '.[].paths'
`,
  );
  command.action(async (node: string | undefined, options: CommonOptions) => {
    const all = await clientOf(context, command).get<readonly NodeHealthDto[]>("/v1/health");
    const rows = node === undefined ? all : all.filter((row) => row.node === node);
    if (node !== undefined && rows.length === 0) throw unknownNode(node);
    if (options.json === true) printJson(context, rows);
    else context.write(formatHealth(context, rows));
    if (rows.some(({ state, problems }) => state === "unreachable" || problems.length > 0)) context.setExitCode(1);
  });
}

function formatHealth(context: CliContext, rows: readonly NodeHealthDto[]): string {
  if (rows.length === 0) return "no other node is probed\n";
  const green = painter(context, "green");
  const red = painter(context, "red");
  const state = (text: string): CellInput => ({
    text,
    paint: text === "reachable" || text === "answers" ? green : text === "unknown" ? null : red,
  });
  const list = table(
    ["NODE", "STATE", "PATH", "ADDRESS", "DEVICE", "ANSWER", "SINCE", "LAST", "P50", "P99", "LOST"],
    rows.flatMap((row) =>
      row.paths.map((path, at): readonly CellInput[] => [
        at === 0 ? row.node : "",
        at === 0 ? state(row.state) : "",
        path.kind,
        path.address,
        path.device ?? "-",
        state(path.state),
        path.since,
        path.answered ?? "-",
        msText(path.p50Ms),
        msText(path.p99Ms),
        lostText(path),
      ]),
    ),
  );
  const notes = rows.flatMap(({ node, problems, paths }) => [
    ...problems.map(({ text, remedy }) => `${node}: ${text}\n  -> ${remedy}\n`),
    ...paths.flatMap(({ kind, address, told }) => (told === null ? [] : [`${node}: ${kind} ${address}: ${told}\n`])),
  ]);
  return notes.length === 0 ? list : `${list}\n${notes.join("")}`;
}

const msText = (ms: number | null) => (ms === null ? "-" : `${ms.toFixed(ms < 10 ? 2 : 0)} ms`);

const lostText = ({ sent, lost }: NodePathDto) => `${lost}/${sent}`;

function unknownNode(node: string): CliError {
  return new CliError({
    code: "NODE_UNKNOWN",
    message: `node ${node} is not probed`,
    remedy:
      "this node does not probe itself, nor anybody with the setting healthProbe off; others are listed by: tandem health",
    exitCode: 1,
  });
}
