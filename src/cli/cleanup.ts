/** `tandem cleanup`: takes everything of Tandem off this node, when no agent runs on it. */
import type { Command } from "commander";
import type { CleanupStep } from "../cleanup/index.ts";
import { type CliContext, type CommonOptions, printJson } from "./context.ts";
import { CliError } from "./errors.ts";
import { attempt, nodeConfig, nodeOptions } from "./node-config.ts";
import { table } from "./table.ts";

interface CleanupOptions extends CommonOptions {
  readonly config?: string;
  readonly dryRun?: boolean;
  readonly pods?: boolean;
  readonly yes?: boolean;
}

const help = `
An agent that ends leaves its node as it is: what is pinned goes on judging and translating. This command takes it away: the runtime's CNI
configuration (what was put aside comes back), programs, maps, links, routes, and the agent's files. Doing it again does what is left.

  kubectl drain node-1 --ignore-daemonsets && kubectl -n kube-system delete daemonset tandem-agent
  tandem cleanup --dry-run --config /etc/tandem/agent.yaml
  tandem cleanup --yes --config /etc/tandem/agent.yaml
`;

export function registerCleanup(context: CliContext, program: Command): void {
  nodeOptions(program, "cleanup", "take everything of Tandem off this node; exit code 1: something is left")
    .option("--dry-run", "show what there is, and remove nothing")
    .option("--pods", "also cut off pods that have their network from Tandem")
    .option("--yes", "do it")
    .addHelpText("after", help)
    .action(async (flags: readonly string[], options: CleanupOptions) => {
      const dryRun = options.dryRun === true;
      if (!dryRun && options.yes !== true) {
        const message = "this removes programs, maps, routes and files of this node";
        throw new CliError({
          code: "NOT_CONFIRMED",
          message,
          remedy: "--yes does it, --dry-run shows it",
          exitCode: 1,
        });
      }
      const steps = await attempt(async () => {
        const [{ cleanUpNode }, { loadNative }] = await Promise.all([
          import("../cleanup/index.ts"),
          import("../native/index.ts"),
        ]);
        const config = await nodeConfig(context, flags, options);
        return cleanUpNode({ native: loadNative(), config, dryRun, pods: options.pods === true });
      });
      if (steps.some(({ failed }) => failed)) context.setExitCode(1);
      if (options.json === true) return printJson(context, { dryRun, steps });
      context.write(steps.length === 0 ? "nothing of Tandem is on this node\n" : shown(steps, dryRun));
    });
}

function shown(steps: readonly CleanupStep[], dryRun: boolean): string {
  const rows = steps.map(({ what, object, outcome }) => [what, object, dryRun ? "" : outcome]);
  return table(dryRun ? ["WHAT", "OBJECT", ""] : ["WHAT", "OBJECT", "OUTCOME"], rows);
}
