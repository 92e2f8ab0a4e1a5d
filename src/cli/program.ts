/** The command tree of `tandem`. `tandem lab` is loaded only when it is asked for: the command line starts in half the time. */
import { Command } from "commander";
import type { VersionDto } from "../api/dto.ts";
import { registerAgent } from "./agent.ts";
import { registerBgp } from "./bgp.ts";
import { registerBpf } from "./bpf.ts";
import { registerCleanup } from "./cleanup.ts";
import { registerCni } from "./cni.ts";
import { registerConfig } from "./config.ts";
import { agentCommand, type CliContext, clientOf, type CommonOptions, printJson, socketOption } from "./context.ts";
import { CliError } from "./errors.ts";
import { registerFqdn } from "./fqdn.ts";
import { registerHealth } from "./health.ts";
import { registerLists } from "./lists.ts";
import { registerMetrics } from "./metrics.ts";
import { registerMonitor } from "./monitor.ts";
import { packageVersion } from "./package.ts";
import { registerPolicy } from "./policy/index.ts";
import { registerProxy } from "./proxy.ts";
import { registerRoutes } from "./routes.ts";
import { registerStatus } from "./status.ts";
import { registerWait } from "./wait.ts";

const examples = `
Examples:
  tandem status                        is this node well? (exit code 1: degraded, 2: no agent)
  tandem endpoint list                 pods of this node and whether policy is enforced
  tandem monitor --type drop           what is dropped right now, and why
  tandem policy trace --from shop/web-0 --to shop/api-0 --port 80
                                       why this connection passes, or not
  tandem service trace shop/web-0 10.96.0.1:80
                                       which backend this client gets, and why
  tandem routes                        pod CIDRs of all nodes: next hops, who brought them, why one is missing
  tandem health                        do the other nodes answer, how fast, and why not
  tandem metrics drop                  the node's figures, by name, without a Prometheus
  tandem bgp peers                     sessions of kube-router on this node (also: bgp routes)
  tandem policy test -f DIR -p FILE    what policies do, without a cluster (also validate, trace, show, impact)
  tandem lab up && tandem lab status   a cluster on this machine
`;

/** @param argv arguments after the program's name */
export async function createProgram(context: CliContext, argv: readonly string[]): Promise<Command> {
  const program = new Command("tandem")
    .description("The eBPF half of a Kubernetes node network: asks the agent of this node, or runs a lab")
    .version(packageVersion(), "-V, --version", "version of this program; tandem version also asks the agent")
    .enablePositionalOptions()
    .showHelpAfterError("(run it with --help for what it takes)")
    .addOption(socketOption())
    .addHelpText("after", examples);
  program.configureOutput({ writeOut: context.write, writeErr: context.note });

  registerStatus(context, program);
  registerLists(context, program);
  registerRoutes(context, program);
  registerBgp(context, program);
  registerHealth(context, program);
  registerPolicy(context, program);
  registerFqdn(context, program);
  registerProxy(context, program);
  registerBpf(context, program);
  registerMetrics(context, program);
  registerWait(context, program);
  registerMonitor(context, program);
  registerConfig(context, program);
  registerCni(context, program);
  registerCleanup(context, program);
  registerVersion(context, program);
  registerAgent(context, program);
  if (firstWord(argv) === "lab") (await import("../lab/cli.ts")).registerLabCommands(program);
  else program.command("lab").description("a cluster on this machine: nodes and pods as network namespaces");
  return program;
}

/** The first argument that is neither an option nor the value of --socket. */
function firstWord(argv: readonly string[]): string | undefined {
  return argv.find((word, at) => !word.startsWith("-") && argv[at - 1] !== "--socket");
}

function registerVersion(context: CliContext, program: Command): void {
  const command = agentCommand(program, "version", "versions of this program and of the node's agent");
  command.action(async (options: CommonOptions) => {
    const client = packageVersion();
    const agent = await clientOf(context, command).get<VersionDto>("/v1/version").catch(unreachable);
    if (options.json === true) return printJson(context, { client, agent });
    context.write(`tandem ${client}\n`);
    context.write(
      agent === null ? "agent: not reachable\n" : `agent ${agent.version} on ${agent.node}, kernel ${agent.kernel}\n`,
    );
  });
}

/** Without an agent there still is a version to tell. */
function unreachable(error: unknown): null {
  if (error instanceof CliError && error.exitCode === 2) return null;
  throw error;
}
