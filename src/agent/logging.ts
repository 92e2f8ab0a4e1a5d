/** The agent's log: JSON lines on stdout, one event each (pino). */
import { destination, pino } from "pino";
import type { Logger } from "../model/logging.ts";

export function createLogger(level: string): Logger {
  // Synchronous: the line before a crash is the one that is needed.
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination({ fd: 1, sync: true }),
  );
}
