/** What every command works with: where it prints, what colours it has, how it finds the agent. */
import { styleText } from "node:util";
import { type Command, Option } from "commander";
import { AgentClient } from "./client.ts";
import type { Paint } from "./table.ts";

export const defaultSocket = "/run/tandem/agent.sock";

export interface CliContext {
  readonly write: (text: string) => void;
  /** Warnings and explanations that are not the answer. */
  readonly note: (text: string) => void;
  readonly setExitCode: (code: number) => void;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly colour: boolean;
  /** Ends what goes on for ever (monitor). */
  readonly signal: AbortSignal;
}

export interface CommonOptions {
  readonly json?: boolean;
  readonly socket?: string;
}

export type Colour = "red" | "green" | "yellow" | "cyan" | "gray" | "bold";

/** Plain text where colour is off. */
export function painter(context: CliContext, colour: Colour): Paint {
  // The caller decided already whether the output is a terminal; styleText must not decide again.
  return context.colour ? (text) => styleText(colour, text, { validateStream: false }) : (text) => text;
}

/** Adds what every command of the agent has. */
export function agentCommand(parent: Command, usage: string, description: string): Command {
  return parent
    .command(usage)
    .description(description)
    .addOption(new Option("--json", "print the API's JSON"))
    .addOption(socketOption());
}

export function socketOption(): Option {
  return new Option("--socket <path>", `the agent's unix socket (env TANDEM_SOCKET, default ${defaultSocket})`);
}

/** --socket of the command, then of `tandem` itself, then the environment. */
export function clientOf(context: CliContext, command: Command): AgentClient {
  for (let at: Command | null = command; at !== null; at = at.parent) {
    const { socket } = at.opts<CommonOptions>();
    if (socket !== undefined) return new AgentClient(socket);
  }
  return new AgentClient(context.env.TANDEM_SOCKET ?? defaultSocket);
}

export function printJson(context: CliContext, value: unknown): void {
  context.write(`${JSON.stringify(value, null, 2)}\n`);
}
