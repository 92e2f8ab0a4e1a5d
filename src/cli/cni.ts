/** `tandem cni`: puts the plugin and its configuration into the runtime's folders by hand, looks at them, takes them away. No agent is asked. */
import type { Command } from "commander";
import type { Installation } from "../cni/install/index.ts";
import { packageRoot } from "../lab/runtime.ts";
import { systemClock } from "../lib/clock.ts";
import { type CliContext, type CommonOptions, printJson } from "./context.ts";
import { attempt, nodeConfig, nodeOptions } from "./node-config.ts";
import { table } from "./table.ts";

interface CniOptions extends CommonOptions {
  readonly config?: string;
}

export function registerCni(context: CliContext, program: Command): void {
  const cni = program
    .command("cni")
    .description("the CNI plugin and its configuration in the container runtime's folders")
    .addHelpText(
      "after",
      "\nFolders and names are the agent's settings cniBinDir, cniConfDir, cniConfName, cniVersion, cniChained:\n  tandem cni status --config /etc/tandem/agent.yaml\n  tandem cni uninstall --cni-conf-dir /host/etc/cni/net.d\n",
    );

  nodeOptions(
    cni,
    "status",
    "what is installed; exit code 1: not both files, or another configuration comes first",
  ).action(async (flags: readonly string[], options: CniOptions) => {
    const state = await attempt(async () => (await installationOf(context, flags, options)).state());
    context.setExitCode(state.installed && state.before.length === 0 ? 0 : 1);
    if (options.json === true) return printJson(context, state);
    const rows = [
      ...state.files.map((file) => [file.path, file.state]),
      ...state.before.map((path) => [path, "comes before Tandem's"]),
      ...state.backups.map((path) => [path, "backup"]),
    ];
    if (state.withdrawn) context.note("taken away by tandem cni uninstall: the agent does not put it back\n");
    context.write(table(["FILE", "STATE"], rows));
  });

  nodeOptions(cni, "install", "write both files now; what stands in the way is kept as *.tandem-backup").action(
    async (flags: readonly string[], options: CniOptions) => {
      const problems = await attempt(async () => (await installationOf(context, flags, options)).install(true));
      if (options.json === true) return printJson(context, { problems });
      for (const { object, message, remedy } of problems) context.note(`${object}: ${message} (${remedy})\n`);
      context.write("installed\n");
    },
  );

  nodeOptions(
    cni,
    "uninstall",
    "remove what Tandem wrote, give back what it put aside, and keep the agent from writing it again until install",
  ).action(async (flags: readonly string[], options: CniOptions) => {
    const done = await attempt(async () => (await installationOf(context, flags, options)).uninstall(true));
    if (options.json === true) return printJson(context, done);
    const rows = [
      ...done.removed.map((path) => [path, "removed"]),
      ...done.restored.map((path) => [path, "given back"]),
      ...done.left.map((path) => [path, "left: somebody else changed it, or took its name"]),
    ];
    context.write(rows.length === 0 ? "nothing was installed\n" : table(["FILE", "WHAT"], rows));
  });
}

async function installationOf(
  context: CliContext,
  flags: readonly string[],
  options: CniOptions,
): Promise<Installation> {
  const [config, { Installation: Made, pluginOf }] = await Promise.all([
    nodeConfig(context, flags, options),
    import("../cni/install/index.ts"),
  ]);
  return new Made({ plugin: pluginOf(packageRoot()), config, clock: systemClock });
}
