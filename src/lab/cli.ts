/** `tandem lab …` */
import { type Command, InvalidArgumentError, Option } from "commander";
import { agentLog } from "./agents.ts";
import { proxyLog } from "./proxies.ts";
import { registerTestCommand } from "./conformance/cli.ts";
import { LabError } from "./errors.ts";
import { apiServerSource } from "./kube/source.ts";
import { Lab } from "./lab.ts";
import { type OverlayType, overlayTypes } from "./overlay.ts";
import { type RouterDaemon, routerDaemons, type Topology, topologies } from "./plan.ts";
import { labNames } from "./records.ts";
import { runAttached } from "./run.ts";
import { formatStatus } from "./status.ts";

interface Named {
  readonly name: string;
}

export function registerLabCommands(program: Command): void {
  const lab = program
    .command("lab")
    .description("A cluster on this machine: nodes and pods as network namespaces, routed by BGP");
  const command = (usage: string, description: string) =>
    lab.command(usage).description(description).option("--name <name>", "which lab", "demo");

  command("up", "make a lab and wait until its pods run and every node has every route")
    .option("--nodes <n>", "number of nodes", positive, 3)
    .option("-f, --filename <path...>", "manifests to apply: files or folders", [])
    .option("--external <name...>", "hosts behind the top-of-rack router", ["client"])
    .addOption(new Option("--topology <name>", "who peers with whom by BGP").choices([...topologies]).default("fabric"))
    .addOption(
      new Option("--tor <daemon>", "what speaks BGP in the top-of-rack routers")
        .choices([...routerDaemons])
        .default("bird"),
    )
    .addOption(
      new Option(
        "--overlay [type]",
        "kube-router's tunnels (ipip): full, to every node, needs --topology mesh; subnet, to none",
      )
        .choices([...overlayTypes])
        .preset("full"),
    )
    .option(
      "--graceful-restart",
      "as kube-router's --bgp-graceful-restart; its manifest has it, so --kube-router has it, too",
    )
    .option("--no-graceful-restart", "without, also with --kube-router")
    .option("--api-server [path-or-url]", "a real API server: a script that starts one, or the URL of one that runs")
    .option("--kubeconfig <file>", "credentials for --api-server URL")
    .option("--kube-router <path>", "this kube-router on each node instead of what plays it; needs --api-server")
    .option("--no-agents", "nodes and BGP only")
    .option("--no-proxies", "agents only: ports with L7 rules are closed")
    .action(
      guard(async (options: Named & UpOptions) => {
        const { name, nodes, filename, external, topology, gracefulRestart, agents, proxies } = options;
        const { overlay, apiServer, kubeconfig, kubeRouter, tor } = options;
        const api =
          apiServer === undefined ? undefined : await apiServerSource(apiServer, kubeconfig ?? null, process.env);
        const progress = (text: string) => process.stderr.write(`${text}\n`);
        const made = await Lab.up({
          name,
          nodes,
          manifests: filename,
          externals: external,
          topology,
          tor,
          agents,
          proxies,
          progress,
          ...(gracefulRestart !== undefined && { gracefulRestart }),
          ...(overlay !== undefined && { overlay }),
          ...(api && { api }),
          ...(kubeRouter !== undefined && { kubeRouter }),
        });
        process.stdout.write(`${formatStatus(await made.status())}\n`);
      }),
    );
  command("apply", "make the lab hold what these manifests say")
    .requiredOption("-f, --filename <path...>", "files or folders")
    .action(
      guard(async ({ name, filename }: Named & { filename: string[] }) => (await Lab.open(name)).apply(filename)),
    );
  command("delete", "delete what these manifests name")
    .requiredOption("-f, --filename <path...>", "files or folders")
    .action(
      guard(async ({ name, filename }: Named & { filename: string[] }) => (await Lab.open(name)).delete(filename)),
    );
  command("exec <target> <command...>", "run a command in NAMESPACE/POD, node/NAME, external/NAME or tor").action(
    guard(async (target: string, words: string[], { name }: Named) => {
      process.exitCode = await runAttached(await (await Lab.open(name)).commandIn(target, words));
    }),
  );
  command("agent <node> <args...>", "run tandem against the agent of a node: lab agent node-1 -- status").action(
    guard(async (node: string, args: string[], { name }: Named) => {
      process.exitCode = await runAttached((await Lab.open(name)).agentCommand(node, args));
    }),
  );
  command("status", "nodes, pods, services and externals with addresses, namespaces and BGP sessions")
    .option("--json", "as JSON", false)
    .action(
      guard(async ({ name, json }: Named & { json: boolean }) => {
        const status = await (await Lab.open(name)).status();
        process.stdout.write(`${json ? JSON.stringify(status, null, 2) : formatStatus(status)}\n`);
      }),
    );
  command("list", "names of the labs on this machine").action(
    guard(async () => void process.stdout.write((await labNames()).map((name) => `${name}\n`).join(""))),
  );
  command("logs <node>", "the log of a node's agent")
    .option("--proxy", "of its proxy instead", false)
    .option("--follow", "go on", false)
    .action(
      guard(async (node: string, { name, follow, proxy }: Named & { follow: boolean; proxy: boolean }) => {
        const file = (proxy ? proxyLog : agentLog)((await Lab.open(name)).node(node));
        process.exitCode = await runAttached(["tail", "-n", "+1", ...(follow ? ["-F"] : []), file]);
      }),
    );
  command("restart-agent <node>", "stop a node's agent in order, start it, wait until it is ready").action(
    guard(async (node: string, { name }: Named) => {
      const opened = await Lab.open(name);
      await opened.stopAgent(node);
      await opened.startAgent(node);
    }),
  );
  command("kill-agent <node>", "kill -9 a node's agent; restart-agent brings it back").action(
    guard(async (node: string, { name }: Named) => void (await (await Lab.open(name)).stopAgent(node, "SIGKILL"))),
  );
  command("restart-proxy <node>", "another proxy takes a node's flows over, then the one before ends").action(
    guard(async (node: string, { name }: Named) => {
      const opened = await Lab.open(name);
      const isThere = (await opened.status()).nodes.some((each) => each.name === node && each.proxy.pid !== null);
      await (isThere ? opened.replaceProxy(node) : opened.startProxy(node));
    }),
  );
  command("kill-proxy <node>", "kill -9 a node's proxy; restart-proxy brings it back").action(
    guard(async (node: string, { name }: Named) => void (await (await Lab.open(name)).stopProxy(node, "SIGKILL"))),
  );
  command("kill-bgp <node>", "kill -9 what plays kube-router on a node: the others lose their routes to it").action(
    guard(async (node: string, { name }: Named) => (await Lab.open(name)).stopBgp(node)),
  );
  command("stop-bgp <node>", "end it as a rollout does (SIGTERM); with graceful restart nobody loses routes").action(
    guard(async (node: string, { name }: Named) => (await Lab.open(name)).stopBgp(node, "SIGTERM")),
  );
  command("start-bgp <node>", "start it again and wait until every route is back").action(
    guard(async (node: string, { name }: Named) => {
      const opened = await Lab.open(name);
      await opened.startBgp(node);
      await opened.waitForRoutes();
    }),
  );
  registerTestCommand(lab, positive, guard);
  command("down", "remove a lab, whatever is left of it")
    .option("--all", "every lab of this machine", false)
    .action(
      guard(async ({ name, all }: Named & { all: boolean }) => {
        for (const each of all ? await labNames() : [name])
          await Lab.down(each, (text) => void process.stderr.write(`${text}\n`));
      }),
    );
}

interface UpOptions {
  readonly nodes: number;
  readonly filename: string[];
  readonly external: string[];
  readonly topology: Topology;
  readonly tor: RouterDaemon;
  readonly gracefulRestart?: boolean;
  readonly overlay?: OverlayType;
  readonly agents: boolean;
  readonly proxies: boolean;
  readonly apiServer?: string | true;
  readonly kubeconfig?: string;
  readonly kubeRouter?: string;
}

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError("not a number of at least 1");
  return value;
}

/** A failure that the lab explains ends with its text and exit code 1, not with a stack. */
function guard<A extends unknown[]>(action: (...args: A) => Promise<void>): (...args: A) => Promise<void> {
  return async (...args) => {
    try {
      await action(...args);
    } catch (error) {
      if (!(error instanceof LabError)) throw error;
      process.stderr.write(`${error.message}\n`);
      process.exitCode = 1;
    }
  };
}
