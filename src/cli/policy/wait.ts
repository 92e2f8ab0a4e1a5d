/** `tandem policy wait`: until the kernel of this node has what the agent was told. */
import { type Command, InvalidArgumentError } from "commander";
import type { StatusDto } from "../../api/dto.ts";
import { agentCommand, type CliContext, clientOf, type CommonOptions, printJson } from "../context.ts";
import { CliError } from "../errors.ts";

interface WaitOptions extends CommonOptions {
  readonly revision?: number;
  /** s */
  readonly timeout: number;
}

/** ms between two questions. */
const intervalMs = 50;

export function registerPolicyWait(context: CliContext, policy: Command): void {
  const wait = agentCommand(
    policy,
    "wait",
    "wait until the kernel of this node has every change that the agent has seen",
  )
    .option("--revision <number>", "this revision of the facts instead (status --json: revision.facts)", wholeNumber)
    .option("--timeout <seconds>", "give up after so long, with exit code 1", seconds, 30)
    .addHelpText(
      "after",
      `
Revisions count the changes that this agent has seen since it started. A manifest that was written a moment ago may not be among them:
take the revision before writing, and wait for a higher one.

Examples:
  tandem policy wait
  tandem policy wait --revision 42 --timeout 5
`,
    );
  wait.action(async (options: WaitOptions) => {
    const client = clientOf(context, wait);
    const deadline = performance.now() + options.timeout * 1000;
    let wanted = options.revision ?? null;
    for (;;) {
      const { revision } = await client.get<StatusDto>("/v1/status");
      wanted ??= revision.facts;
      if (revision.applied >= wanted) {
        if (options.json === true) printJson(context, { revision: wanted, applied: revision.applied });
        else context.write(`revision ${wanted} is in the kernel (applied ${revision.applied})\n`);
        return;
      }
      if (context.signal.aborted || performance.now() >= deadline) throw late(wanted, revision, options.timeout);
      await new Promise((resolve) => setTimeout(resolve, intervalMs));
    }
  });
}

function late(wanted: number, { facts, applied }: StatusDto["revision"], timeout: number): CliError {
  const seen = facts < wanted ? `the agent has seen ${facts} so far` : `the agent has seen it`;
  return new CliError({
    code: "POLICY_WAIT_TIMEOUT",
    message: `revision ${wanted} is not in the kernel after ${timeout} s: ${seen}, the kernel has ${applied}`,
    remedy:
      facts < wanted
        ? "revisions begin anew with the agent: ask status for the present one"
        : "tandem status tells what is in the way",
    exitCode: 1,
  });
}

function wholeNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError("not a revision (0, 1, 2, ...)");
  return Number(text);
}

function seconds(text: string): number {
  const value = Number(text);
  if (text === "" || !Number.isFinite(value) || value < 0) throw new InvalidArgumentError("not a number of seconds");
  return value;
}
