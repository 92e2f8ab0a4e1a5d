/** `tandem config`: the settings that an agent started like this would have, each with where it came from. */
import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { type CliContext, type CommonOptions, printJson } from "./context.ts";
import { table } from "./table.ts";

interface ConfigOptions extends CommonOptions {
  readonly config?: string;
  readonly describe?: boolean;
}

export function registerConfig(context: CliContext, program: Command): void {
  const command = program
    .command("config")
    .description("the agent's settings, effective values and where each comes from; takes the agent's flags")
    .option("--json", "print JSON")
    .option("--config <file>", "the agent's file of settings")
    .option("--describe", "every setting there is: type, default, flag, variable")
    .argument("[flags...]", "further flags of the agent, as --node-name n1")
    .allowUnknownOption()
    .addHelpText(
      "after",
      "\nExamples:\n  tandem config --config /etc/tandem/agent.yaml\n  tandem config --describe\n  TANDEM_NODE_NAME=n1 tandem config --json\n",
    );
  command.action(async (flags: readonly string[], options: ConfigOptions) => {
    // Its schema library is half of this program's start: only who asks for settings pays for it.
    const { describeConfig, loadConfigWithSources } = await import("../config/index.ts");
    if (options.describe === true) {
      const settings = describeConfig();
      if (options.json === true) return printJson(context, settings);
      const rows = settings.map((s) => [s.name, s.type, s.default || "required", s.flag, s.variable, s.description]);
      return context.write(table(["SETTING", "TYPE", "DEFAULT", "FLAG", "VARIABLE", "MEANING"], rows));
    }
    const argv = [...(options.config === undefined ? [] : ["--config", options.config]), ...flags];
    const { config, sources } = loadConfigWithSources({
      argv,
      env: context.env,
      readFile: (path) => readFileSync(path, "utf8"),
    });
    const settings = Object.entries(config).map(([name, value]) => ({
      name,
      value: value as unknown,
      source: sources[name as keyof typeof sources],
    }));
    if (options.json === true) return printJson(context, settings);
    const rows = settings.map(({ name, value, source }) => [name, JSON.stringify(value), source]);
    context.write(table(["SETTING", "VALUE", "SOURCE"], rows));
  });
}
