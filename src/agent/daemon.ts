/** What every long-running process does around its work: ends in order by a signal, at once by a second one or a mistake, and says why. */
import { TandemError } from "../lib/errors.ts";
import type { Logger } from "../model/logging.ts";
import { NativeError } from "../native/index.ts";

const signals = ["SIGTERM", "SIGINT"] as const;

export interface Stopping {
  readonly log: Logger;
  /** What the log says when it begins. */
  readonly message: string;
  readonly stop: () => Promise<void>;
  /** ms that `stop` may take. */
  readonly limitMs: number;
}

/** From now on signals and mistakes end the process. */
export function endBySignals({ log, message, stop, limitMs }: Stopping): void {
  const crash = (error: unknown) => {
    log.error({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }, "uncaught error");
    process.exit(1);
  };
  process.on("uncaughtException", crash);
  process.on("unhandledRejection", crash);
  const end = (signal: NodeJS.Signals) => {
    log.info({ signal }, message);
    // The second signal ends it at once.
    for (const name of signals) process.removeAllListeners(name).on(name, () => process.exit(1));
    setTimeout(() => process.exit(1), limitMs).unref();
    stop().then(() => process.exit(0), crash);
  };
  for (const name of signals) process.on(name, end);
}

/** @param name of the program, before its last words */
export async function runProgram(name: string, main: (argv: readonly string[]) => Promise<void>): Promise<void> {
  try {
    await main(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`${name}: ${lastWords(error)}\n`);
    process.exit(1);
  }
}

/** Whoever starts it reads this, a person or a supervisor: one line, no stack for what is explained. */
function lastWords(error: unknown): string {
  if (error instanceof TandemError) return `${error.code}: ${error.object}: ${error.message} (${error.remedy})`;
  if (error instanceof NativeError) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
