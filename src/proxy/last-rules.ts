/** <stateDir>/rules.json: what the agent told last, so that a proxy that starts while the agent is away enforces it. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { replaceFile } from "../agent/durable-file.ts";
import type { Clock } from "../lib/clock.ts";
import { messageOf } from "../lib/errors.ts";
import { BoundedFrequencyRunner } from "../lib/runner.ts";
import type { Logger } from "../model/logging.ts";
import type { L7Tables } from "../native/l7-contract.ts";

const format = 1;
/** ms between two writings. */
const minIntervalMs = 100;

export class LastRules {
  readonly #path: string;
  readonly #log: Logger;
  readonly #runner: BoundedFrequencyRunner;
  #wanted: L7Tables | null = null;
  #written: L7Tables | null = null;

  constructor({ stateDir, log, clock }: { readonly stateDir: string; readonly log: Logger; readonly clock: Clock }) {
    this.#path = join(stateDir, "rules.json");
    this.#log = log;
    this.#runner = new BoundedFrequencyRunner({
      clock,
      minIntervalMs,
      maxIntervalMs: null,
      action: () => this.#write(),
    });
  }

  /** null: there are none, or they cannot be read; requests wait for the agent then, and are refused. */
  async read(): Promise<L7Tables | null> {
    try {
      const kept = JSON.parse(await readFile(this.#path, "utf8")) as {
        readonly format?: unknown;
        readonly tables?: L7Tables;
      };
      if (kept.format === format && Array.isArray(kept.tables?.ruleSets) && Array.isArray(kept.tables.groups)) {
        return kept.tables;
      }
      this.#log.warn({ file: this.#path }, "is no file of rules, and is not used");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") {
        this.#log.warn({ file: this.#path, error: messageOf(error) }, "the last rules cannot be read");
      }
    }
    return null;
  }

  /** Writes in the background. */
  keep(tables: L7Tables): void {
    this.#wanted = tables;
    this.#runner.trigger();
  }

  async stop(): Promise<void> {
    await this.#runner.stop();
    if (this.#wanted !== this.#written) await this.#write().catch(() => undefined);
  }

  async #write(): Promise<void> {
    const tables = this.#wanted;
    if (tables === null || tables === this.#written) return;
    try {
      await replaceFile(this.#path, JSON.stringify({ format, tables }));
      this.#written = tables;
    } catch (error) {
      this.#log.warn(
        { file: this.#path, error: messageOf(error) },
        "the rules cannot be kept; a restart without the agent has none",
      );
      // The runner tries again.
      throw error;
    }
  }
}
