/** `tandem policy trace`: the decision about one connection, step by step; on manifests, or asked of the agent with what it knows now. */
import type { Command } from "commander";
import type { PolicyTraceDto } from "../../api/policy-dto.ts";
import type { FlowTexts } from "../../compute/offline/flow-text.ts";
import { isMistake, traceConnection } from "../../compute/offline/trace.ts";

import { type CliContext, clientOf, printJson } from "../context.ts";
import { CliError } from "../errors.ts";
import { noteAssumed, warnOfErrors } from "./findings.ts";
import { readFlow } from "./flow-options.ts";
import { readManifests } from "./manifests.ts";
import { traceText } from "./trace-text.ts";

export interface TraceOptions extends FlowTexts {
  /** Not set: the agent is asked. */
  readonly filename?: readonly string[];
  readonly json: boolean;
  readonly from: string;
  readonly to: string;
  readonly family?: "4" | "6";
  readonly allowLockout: boolean;
}

export async function trace(context: CliContext, command: Command, options: TraceOptions): Promise<void> {
  if (options.filename === undefined) await traceOnAgent(context, command, options);
  else traceManifests(context, { ...options, filename: options.filename });
}

function traceManifests(context: CliContext, options: TraceOptions & { readonly filename: readonly string[] }): void {
  const flow = readFlow(options);
  const { from, to, allowLockout } = options;
  const { cluster, findings, assumed } = readManifests(options.filename, { allowLockout });
  const family = options.family === undefined ? null : options.family === "4" ? 4 : 6;
  const answer = traceConnection(cluster, { from, to, flow, family });
  if (isMistake(answer)) throw wrongEnd(`--${answer.message}`, answer.remedy);
  warnOfErrors(context, findings);
  if (findings.some(({ severity }) => severity === "error")) context.setExitCode(1);
  if (options.json) printJson(context, { ...answer, assumed });
  else {
    noteAssumed(context, assumed);
    context.write(traceText(context, answer));
  }
}

async function traceOnAgent(context: CliContext, command: Command, options: TraceOptions): Promise<void> {
  // A port that is none is told without an agent.
  readFlow(options);
  const { from, to, port, icmp, icmp6, family } = options;
  const query = new URLSearchParams({ from, to });
  for (const [name, value] of Object.entries({ port, icmp, icmp6, family })) {
    if (value !== undefined) query.set(name, value);
  }
  const path = `/v1/policy/trace?${query}`;
  const answer = await clientOf(context, command).get<PolicyTraceDto>(path).catch(told);
  if (options.json) printJson(context, answer);
  else context.write(traceText(context, answer));
}

function told(error: unknown): never {
  if (error instanceof CliError && error.code === "TRACE_END") {
    // Without the request that the agent was asked by.
    throw wrongEnd(`--${error.message.slice(error.message.indexOf(": ") + 2)}`, error.remedy);
  }
  throw error;
}

function wrongEnd(message: string, remedy: string): CliError {
  return new CliError({ code: "TRACE_END", message, remedy, exitCode: 2 });
}
