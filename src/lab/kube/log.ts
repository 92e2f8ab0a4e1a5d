/** The log of the lab's own daemons: JSON lines on stdout. */
import { writeSync } from "node:fs";
import type { Logger } from "../../model/logging.ts";

export function lineLogger(fields: object = {}): Logger {
  const line = (level: string) => (more: object, message: string) =>
    void writeSync(
      1,
      `${JSON.stringify({ level, time: new Date().toISOString(), ...fields, ...more, msg: message })}\n`,
    );
  return {
    debug: () => undefined,
    info: line("info"),
    warn: line("warn"),
    error: line("error"),
    child: (more) => lineLogger({ ...fields, ...more }),
  };
}
