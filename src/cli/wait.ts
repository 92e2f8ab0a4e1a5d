/** `tandem wait`: for what has to come before something else when a node boots, as its datapath before kube-router attracts traffic. */
import { setTimeout as sleep } from "node:timers/promises";
import { type Command, InvalidArgumentError, Option } from "commander";
import { bootId, type BootMarks, readMarks } from "../api/boot-file.ts";
import type { StatusDto } from "../api/dto.ts";
import { agentCommand, type CliContext, clientOf, type CommonOptions, printJson } from "./context.ts";
import { CliError } from "./errors.ts";

/** ms between two looks. */
const intervalMs = 500;
/** Exit code of who was stopped by SIGINT, as a shell has it. */
const interrupted = 130;

const targets = ["datapath", "network"] as const;
type Target = (typeof targets)[number];

interface WaitOptions extends CommonOptions {
  readonly timeout: number;
}

export function registerWait(context: CliContext, program: Command): void {
  const command = agentCommand(program, "wait <what>", "until this node has its datapath, or its network")
    .addOption(new Option("--timeout <seconds>", "how long").argParser(readSeconds).default(120))
    .addHelpText(
      "after",
      `
WHAT: datapath   programs are on their hooks, services and policies in the maps. It holds on when the agent is replaced or away.
      network    pods are let in: BGP's session stands and enough routes are there, or the agent's networkTimeout is over.

Exit code: 0 it is so, 1 not within the time, or there is no such WHAT.

Examples:
  tandem wait datapath --timeout 300     before kube-router starts: an init container of its pod
  tandem wait network && echo "pods may come"
`,
    );
  command.action(async (what: string, options: WaitOptions) => {
    const target = targets.find((each) => each === what);
    if (target === undefined) throw unknownTarget(what);
    const client = clientOf(context, command);
    const boot = bootId();
    const until = performance.now() + options.timeout * 1000;
    for (let said = false; ; said = true) {
      const marks = await readMarks(client.socket, boot);
      if (holds(target, marks)) {
        const status = await client.get<StatusDto>("/v1/status").catch(() => null);
        if (options.json === true) printJson(context, { ...marks, agent: status !== null });
        else context.write(reached(target, marks, status));
        return;
      }
      if (performance.now() >= until) throw await late(target, options.timeout, client);
      if (!said) context.note(`waiting for the ${target} of this node, ${options.timeout} s at most\n`);
      await sleep(intervalMs, undefined, { signal: context.signal }).catch(() => undefined);
      if (context.signal.aborted) return context.setExitCode(interrupted);
    }
  });
}

function holds(target: Target, { datapath, network }: BootMarks): boolean {
  return target === "datapath" ? datapath : network !== "waiting";
}

function reached(target: Target, { network }: BootMarks, status: StatusDto | null): string {
  const agent = status === null ? " (no agent answers at the moment: the kernel goes on by itself)" : "";
  if (target === "datapath") return `the datapath is in place${agent}\n`;
  return network === "ready"
    ? `the network is ready${agent}\n`
    : `pods are let in, without all of the network${agent}: tandem status\n`;
}

/** With what the agent says of it, if there is one. */
async function late(target: Target, seconds: number, client: ReturnType<typeof clientOf>): Promise<CliError> {
  const why = await client.get<StatusDto>("/v1/status").then(
    ({ ready, network }) => (target === "network" && ready ? network.text : "the agent is starting"),
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );
  return new CliError({
    code: "WAIT_TIMEOUT",
    message: `this node has no ${target} after ${seconds} s: ${why}`,
    remedy: "tandem status; read the agent's log, and kube-router's",
    exitCode: 1,
  });
}

function unknownTarget(what: string): CliError {
  return new CliError({
    code: "WAIT_UNKNOWN",
    message: `nothing is called ${what} here`,
    remedy: `it is one of: ${targets.join(", ")}`,
    exitCode: 1,
  });
}

function readSeconds(text: string): number {
  const seconds = Number(text);
  if (!/^\d+$/.test(text) || seconds > 86_400) throw new InvalidArgumentError("is no number of seconds, 0 to 86400.");
  return seconds;
}
