/** `tandem endpoint config`: options of one pod, as Cilium calls them. */
import type { Command } from "commander";
import type { EndpointDto, EndpointOptionsDto } from "../api/dto.ts";
import { agentCommand, type CliContext, clientOf, type CommonOptions, printJson } from "./context.ts";
import { CliError } from "./errors.ts";

const option = "PolicyAuditMode";
/** The words of Cilium's command line too. */
const words: ReadonlyMap<string, boolean | null> = new Map([
  ["true", true],
  ["enabled", true],
  ["false", false],
  ["disabled", false],
  ["default", null],
]);

export function registerEndpointConfig(context: CliContext, endpoint: Command): void {
  const command = agentCommand(
    endpoint,
    "config <endpoint> [option=value...]",
    "shows and sets options of one pod, by endpoint number or NAMESPACE/POD",
  ).addHelpText(
    "after",
    `
${option}=true|false|default: what policies would drop is reported (tandem monitor: audit) and let through; default follows the
agent's setting policyAuditMode. It is kept over restarts of the agent, and ends with the pod.

Examples:
  tandem endpoint config shop/web-0
  tandem endpoint config shop/web-0 ${option}=true
`,
  );
  command.action(async (id: string, settings: readonly string[], options: CommonOptions) => {
    const path = `/v1/endpoints/${encodeURIComponent(id)}`;
    const client = clientOf(context, command);
    const row =
      settings.length === 0
        ? await client.get<EndpointDto>(path)
        : await client.post<EndpointDto>(`${path}/config`, parseSettings(settings));
    if (options.json === true) printJson(context, row.policyAuditMode);
    else context.write(`${option}: ${shown(row.policyAuditMode)}\n`);
  });
}

function parseSettings(settings: readonly string[]): EndpointOptionsDto {
  let wanted: boolean | null = null;
  for (const setting of settings) {
    const [, name, value] = /^([^=]+)=(.*)$/.exec(setting) ?? [];
    const word = words.get((value ?? "").toLowerCase());
    if (name?.toLowerCase() !== option.toLowerCase() || word === undefined) {
      throw new CliError({
        code: "ENDPOINT_OPTION",
        message: `${JSON.stringify(setting)} is not an option with its value`,
        remedy: `write ${option}=true, ${option}=false or ${option}=default`,
        exitCode: 2,
      });
    }
    wanted = word;
  }
  return { policyAuditMode: wanted };
}

function shown({ active, own }: EndpointDto["policyAuditMode"]): string {
  return `${active ? "Enabled" : "Disabled"}${own === null ? " (the agent's setting)" : ""}`;
}
