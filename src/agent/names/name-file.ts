/** The name cache on disk: <stateDir>/names.json, replaced as a whole in the background, so that a restarted agent opens what its pods know. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { NameCache } from "../../dns/name-cache.ts";
import { type Clocks, decodeNames, encodeNames } from "../../dns/name-record.ts";
import type { Clock } from "../../lib/clock.ts";
import { messageOf } from "../../lib/errors.ts";
import { BoundedFrequencyRunner } from "../../lib/runner.ts";
import type { ConditionSink } from "../../model/status.ts";
import { replaceFile } from "../durable-file.ts";

/** ms between two writes. What an agent that is killed learned since the proxy tells again (proxy/recent-lookups.ts). */
const minIntervalMs = 1_000;

export interface NameFileOptions {
  readonly stateDir: string;
  readonly cache: NameCache;
  readonly conditions: ConditionSink;
  readonly clock: Clock;
  readonly machine: Machine;
}

/** What does not change with the process, nor when somebody sets the clock. */
export interface Machine {
  readonly boot: string;
  readonly uptimeMs: () => number;
}

export class NameFile {
  readonly #options: NameFileOptions;
  readonly #path: string;
  readonly #runner: BoundedFrequencyRunner;

  constructor(options: NameFileOptions) {
    this.#options = options;
    this.#path = join(options.stateDir, "names.json");
    this.#runner = new BoundedFrequencyRunner({
      clock: options.clock,
      minIntervalMs,
      maxIntervalMs: null,
      action: () => this.#write(),
    });
  }

  /** Fills the cache. A file that is none of ours, or cannot be read, is a warning: names are asked for anew. */
  async read(): Promise<void> {
    const { cache } = this.#options;
    try {
      const text = await readFile(this.#path, "utf8").catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") return null;
        throw error;
      });
      if (text !== null && !decodeNames(text, cache, this.#clocks())) this.#report("is no record of names");
    } catch (error) {
      this.#report(`cannot be read: ${messageOf(error)}`);
    }
  }

  /** There is something new. */
  changed(): void {
    this.#runner.trigger();
  }

  async stop(): Promise<void> {
    // What is not written yet is written now; a failure was told, and the file before it counts.
    await this.#runner.runNow().catch(() => undefined);
    await this.#runner.stop();
  }

  async #write(): Promise<void> {
    try {
      await replaceFile(this.#path, encodeNames(this.#options.cache, this.#clocks()));
      this.#options.conditions.report("name-file", []);
    } catch (error) {
      this.#report(`cannot be written: ${messageOf(error)}`);
      throw error;
    }
  }

  #clocks(): Clocks {
    const { clock, machine } = this.#options;
    const { boot, uptimeMs } = machine;
    return { wallMs: clock.now(), monotonicMs: clock.monotonicMs(), uptimeMs: uptimeMs(), boot };
  }

  #report(message: string): void {
    this.#options.conditions.report("name-file", [
      {
        code: "NAMES_FILE",
        severity: "warning",
        object: this.#path,
        field: "",
        message: `${message}; a restarted agent knows no address of a name until it has asked`,
        remedy: "make the folder writable and free some space, or set another `stateDir`; the file is written anew",
      },
    ]);
  }
}
