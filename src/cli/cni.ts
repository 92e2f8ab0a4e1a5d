/** `tandem cni`: puts the plugin and its configuration into the runtime's folders by hand, looks at them, takes them away. No agent is asked. */
import { readFileSync } from "node:fs";
import type { Command } from "commander";
import type { Installation } from "../cni/install/index.ts";
import { packageRoot } from "../lab/runtime.ts";
import { TandemError } from "../lib/errors.ts";
import { type CliContext, type CommonOptions, printJson } from "./context.ts";
import { CliError } from "./errors.ts";
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

  action(cni, "status", "what is installed; exit code 1: not both files, or another configuration comes first").action(
    async (flags: readonly string[], options: CniOptions) => {
      const state = await attempt(async () => (await installationOf(context, flags, options)).state());
      context.setExitCode(state.installed && state.before.length === 0 ? 0 : 1);
      if (options.json === true) return printJson(context, state);
      const rows = [
        ...state.files.map((file) => [file.path, file.state]),
        ...state.before.map((path) => [path, "comes before Tandem's"]),
        ...state.backups.map((path) => [path, "backup"]),
      ];
      context.write(table(["FILE", "STATE"], rows));
    },
  );

  action(cni, "install", "write both files now; what stands in the way is kept as *.tandem-backup").action(
    async (flags: readonly string[], options: CniOptions) => {
      const problems = await attempt(async () => (await installationOf(context, flags, options)).install(true));
      if (options.json === true) return printJson(context, { problems });
      for (const { object, message, remedy } of problems) context.note(`${object}: ${message} (${remedy})\n`);
      context.write("installed\n");
    },
  );

  action(cni, "uninstall", "remove what Tandem wrote and give back what it put aside").action(
    async (flags: readonly string[], options: CniOptions) => {
      const done = await attempt(async () => (await installationOf(context, flags, options)).uninstall());
      if (options.json === true) return printJson(context, done);
      const rows = [
        ...done.removed.map((path) => [path, "removed"]),
        ...done.restored.map((path) => [path, "given back"]),
        ...done.left.map((path) => [path, "left: somebody else changed it, or took its name"]),
      ];
      context.write(rows.length === 0 ? "nothing was installed\n" : table(["FILE", "WHAT"], rows));
    },
  );
}

function action(parent: Command, name: string, description: string): Command {
  return parent
    .command(name)
    .description(description)
    .option("--json", "print JSON")
    .option("--config <file>", "the agent's file of settings")
    .argument("[flags...]", "further flags of the agent, as --cni-bin-dir /opt/cni/bin")
    .allowUnknownOption();
}

async function installationOf(
  context: CliContext,
  flags: readonly string[],
  options: CniOptions,
): Promise<Installation> {
  // Loaded only when asked for: the schema library is half of this program's start.
  const [{ loadConfig }, { Installation: Made, pluginOf }] = await Promise.all([
    import("../config/index.ts"),
    import("../cni/install/index.ts"),
  ]);
  const argv = [...(options.config === undefined ? [] : ["--config", options.config]), ...flags];
  // The node's name plays no part here, so nobody has to give it.
  const env = { TANDEM_NODE_NAME: "unnamed", ...context.env };
  const config = loadConfig({ argv, env, readFile: (path) => readFileSync(path, "utf8") });
  return new Made({ plugin: pluginOf(packageRoot()), config });
}

/** @throws CliError what the installation says */
async function attempt<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!(cause instanceof TandemError)) throw cause;
    const { code, object, message, remedy } = cause;
    throw new CliError({ code, message: `${object}: ${message}`, remedy, exitCode: 1, cause });
  }
}
