/** `tandem bpf maglev …`: the tables by which a hash of the client chooses a service's backend, as the kernel has them. */
import type { Command } from "commander";
import type { MaglevDto, MaglevTableDto } from "../api/dto.ts";
import { agentCommand, type CliContext, clientOf, type CommonOptions, printJson } from "./context.ts";
import { listCommand } from "./lists.ts";
import { table } from "./table.ts";

const path = "/v1/bpf/maglev";

export function registerBpfMaglev(context: CliContext, bpf: Command): void {
  const maglev = bpf.command("maglev").description("tables by which a hash of the client chooses a service's backend");
  listCommand<MaglevDto>(
    context,
    agentCommand(maglev, "list", "every service for which a hash chooses, with the digest of its table"),
    path,
    (rows) =>
      table(
        ["SERVICE", "FRONTEND", "CLIENTS", "SLOTS", "DIGEST", "BACKENDS"],
        rows.map((row) => [row.service, frontendOf(row), row.clients, row.slots, row.digest, row.backends.length]),
      ),
  );
  const get = agentCommand(
    maglev,
    "get <service>",
    "the tables of one service: NAMESPACE/NAME or ADDRESS:PORT",
  ).addHelpText(
    "after",
    `
Nodes whose digests are equal choose the same backend for every client. --json has the table itself: for each slot a position among the
backends. A hash h of 32 bits picks slot h * slots / 2^32.

Examples:
  tandem bpf maglev get shop/web
  tandem bpf maglev get 203.0.113.10:80
  tandem bpf maglev get '[2001:db8::10]:80' --json | jq '.[0].table[0:8]'
`,
  );
  get.action(async (service: string, options: CommonOptions) => {
    const tables = await clientOf(context, get).get<readonly MaglevTableDto[]>(
      `${path}/${encodeURIComponent(service)}`,
    );
    if (options.json === true) printJson(context, tables);
    else context.write(tables.map(tableText).join("\n"));
  });
}

function tableText(row: MaglevTableDto): string {
  const missing = row.table.filter((at) => at === null).length;
  const head = [
    `${row.service || "a service of unknown name"} at ${frontendOf(row)}, for clients ${row.clients}`,
    row.slots === 0
      ? "no table: hashes are spread over the backends evenly"
      : `${row.slots} slots, digest ${row.digest}`,
    ...(missing === 0
      ? []
      : [`${missing} slots are not in the kernel: what falls there is dropped until the agent has repaired it`]),
  ];
  const rows = row.backends.map(({ backend, slots }) => [
    backend,
    row.slots === 0 ? "-" : slots,
    share(slots, row.slots),
  ]);
  return `${head.join("\n")}\n${table(["BACKEND", "SLOTS", "SHARE"], rows)}`;
}

const frontendOf = ({ frontend, protocol }: MaglevDto): string => `${frontend}/${protocol}`;

const share = (slots: number, of: number): string => (of === 0 ? "-" : `${((slots / of) * 100).toFixed(2)}%`);
