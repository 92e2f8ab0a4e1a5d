/** `tandem fqdn …`: names of DNS in policies, and the addresses that they have given. */
import type { Command } from "commander";
import type { FqdnCacheDto, FqdnCleanedDto, FqdnNameDto } from "../api/dto.ts";
import { agentCommand, type CliContext, clientOf, type CommonOptions, printJson } from "./context.ts";
import { listCommand } from "./lists.ts";
import { table } from "./table.ts";

interface CleanOptions extends CommonOptions {
  readonly matchpattern?: string;
}

export function registerFqdn(context: CliContext, program: Command): void {
  const fqdn = program.command("fqdn").description("names of DNS in policies (toFQDNs), and their addresses");
  const cache = fqdn.command("cache").description("addresses that names have given");
  listCommand<FqdnCacheDto>(
    context,
    agentCommand(cache, "list", "every address, and for how long it holds"),
    "/v1/fqdn/cache",
    (rows) =>
      table(
        ["POD", "SOURCE", "FQDN", "TTL", "IPS"],
        rows.flatMap(({ pod, name, addresses }) =>
          addresses.map(({ address, ttlSeconds, source }) => [pod ?? "all", source, name, `${ttlSeconds}s`, address]),
        ),
      ),
  );
  registerClean(context, cache);
  listCommand<FqdnNameDto>(
    context,
    agentCommand(fqdn, "names", "names and patterns in policies of this node's pods, and what is known of them"),
    "/v1/fqdn/names",
    (rows) =>
      table(
        ["FQDN", "KIND", "NAMES", "IPS", "SETS", "ANSWERED", "PROBLEM"],
        rows.map((row) => [
          row.text,
          row.kind,
          row.names.length,
          row.addresses,
          row.policySets.join("\n"),
          row.answered ?? (row.resolved ? "not yet" : "not asked"),
          row.error ?? "-",
        ]),
      ),
  );
}

function registerClean(context: CliContext, cache: Command): void {
  const command = agentCommand(
    cache,
    "clean",
    "forgets addresses and asks for the names of policies again: connections with what they no longer give end",
  )
    .option("-p, --matchpattern <pattern>", "only of names like this, as *.example.com")
    .addHelpText(
      "after",
      `
Examples:
  tandem fqdn cache clean
  tandem fqdn cache clean --matchpattern '*.example.com'
`,
    );
  command.action(async ({ matchpattern, json }: CleanOptions) => {
    const client = clientOf(context, command);
    const cleaned = await client.post<FqdnCleanedDto>("/v1/fqdn/cache/clean", {
      pattern: matchpattern ?? null,
    });
    if (json === true) return printJson(context, cleaned);
    context.write(`forgotten: ${cleaned.forgotten} address${cleaned.forgotten === 1 ? "" : "es"}\n`);
  });
}
