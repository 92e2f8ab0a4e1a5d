/** `tandem cleanup`: takes everything of Tandem off this node, when no agent runs on it. */
import type { Command } from "commander";
import type { CleanupStep, ForeignStep, Owner } from "../cleanup/index.ts";
import { type CliContext, type CommonOptions, printJson } from "./context.ts";
import { CliError } from "./errors.ts";
import { attempt, nodeConfig, nodeOptions } from "./node-config.ts";
import { table } from "./table.ts";

interface CleanupOptions extends CommonOptions {
  readonly config?: string;
  readonly dryRun?: boolean;
  readonly pods?: boolean;
  readonly kubeProxy?: boolean;
  readonly kubeRouterServices?: boolean;
  readonly yes?: boolean;
}

const help = `
An agent that ends leaves its node as it is: what is pinned goes on judging and translating. This command takes it away: the runtime's CNI
configuration (what was put aside comes back), programs, maps, links, routes, and the agent's files. Doing it again does what is left.

  kubectl drain node-1 --ignore-daemonsets && kubectl -n kube-system delete daemonset tandem-agent
  tandem cleanup --dry-run --config /etc/tandem/agent.yaml
  tandem cleanup --yes --config /etc/tandem/agent.yaml

With --kube-proxy or --kube-router-services it leaves Tandem alone and takes away what those left: chains of iptables, tables of nftables, services of
IPVS with their device, ipsets. It refuses while they run. It needs their tools on the node (iptables-nft, iptables-legacy, nft, ipset, ipvsadm), and
tells which of them it did not find.

  tandem cleanup --kube-proxy --dry-run
  tandem cleanup --kube-proxy --yes
`;

export function registerCleanup(context: CliContext, program: Command): void {
  nodeOptions(program, "cleanup", "take everything of Tandem off this node; exit code 1: something is left")
    .option("--dry-run", "show what there is, and remove nothing")
    .option("--pods", "also cut off pods that have their network from Tandem")
    .option("--kube-proxy", "take away kube-proxy's rules instead")
    .option("--kube-router-services", "take away the rules of kube-router's service proxy and firewall instead")
    .option("--yes", "do it")
    .addHelpText("after", help)
    .action(async (flags: readonly string[], options: CleanupOptions) => {
      const dryRun = options.dryRun === true;
      if (!dryRun && options.yes !== true) {
        const message =
          ownersOf(options).length > 0
            ? "this removes rules of this node that others wrote"
            : "this removes programs, maps, routes and files of this node";
        throw new CliError({
          code: "NOT_CONFIRMED",
          message,
          remedy: "--yes does it, --dry-run shows it",
          exitCode: 1,
        });
      }
      const steps = await attempt(async (): Promise<readonly (CleanupStep | ForeignStep)[]> => {
        const [{ cleanUpNode, removeForeign }, { loadNative }, { runTool: run }] = await Promise.all([
          import("../cleanup/index.ts"),
          import("../native/index.ts"),
          import("../native/run-tool.ts"),
        ]);
        const owners = ownersOf(options);
        if (owners.length > 0) {
          const removed: ForeignStep[] = [];
          for (const owner of owners)
            removed.push(...(await removeForeign({ native: loadNative(), run, owner, dryRun })));
          return removed;
        }
        const config = await nodeConfig(context, flags, options);
        return cleanUpNode({ native: loadNative(), run, config, dryRun, pods: options.pods === true });
      });
      if (steps.some(({ failed }) => failed)) context.setExitCode(1);
      if (options.json === true) return printJson(context, { dryRun, steps });
      const whose = ownersOf(options).join(" and ") || "Tandem";
      context.write(steps.length === 0 ? `nothing of ${whose} is on this node\n` : shown(steps, dryRun));
    });
}

function ownersOf({ kubeProxy, kubeRouterServices }: CleanupOptions): readonly Owner[] {
  return [
    ...(kubeProxy === true ? ["kube-proxy" as const] : []),
    ...(kubeRouterServices === true ? ["kube-router" as const] : []),
  ];
}

function shown(steps: readonly (CleanupStep | ForeignStep)[], dryRun: boolean): string {
  const rows = steps.map(({ what, object, outcome }) => [what, object, dryRun ? "" : outcome]);
  return table(dryRun ? ["WHAT", "OBJECT", ""] : ["WHAT", "OBJECT", "OUTCOME"], rows);
}
