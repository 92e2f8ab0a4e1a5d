/**
 * The access log: the engine's lines as they are, in a file that is renamed to FILE.1 when it is full, and opened again when asked (SIGHUP, as
 * logrotate does). Requests never wait for the disk: what it cannot take in time is counted.
 */
import { type FileHandle, mkdir, open, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { messageOf } from "../lib/errors.ts";
import type { Logger } from "../model/logging.ts";

/** Bytes that may wait for the disk. */
const waitingLimit = 8 << 20;

export interface AccessLogOptions {
  readonly path: string;
  /** Size at which it begins anew. */
  readonly limit: number;
  readonly log: Logger;
}

export class AccessLog {
  readonly #options: AccessLogOptions;
  #file: FileHandle | null = null;
  #size = 0;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #writing: Promise<void> | null = null;
  #reopen = false;
  #hasFailed = false;
  #lostBatches = 0;

  constructor(options: AccessLogOptions) {
    this.#options = options;
  }

  /** Batches of lines that the disk did not take. */
  get lostBatches(): number {
    return this.#lostBatches;
  }

  /** Takes whole lines. */
  write(lines: Buffer): void {
    if (this.#waitingBytes + lines.length > waitingLimit) {
      this.#lostBatches++;
      return;
    }
    this.#waiting.push(lines);
    this.#waitingBytes += lines.length;
    this.#writing ??= this.#drain().finally(() => {
      this.#writing = null;
    });
  }

  /** The next line goes to whatever file has the name then. */
  reopen(): void {
    this.#reopen = true;
  }

  /** Resolves when everything is written. */
  async close(): Promise<void> {
    await this.#writing;
    await this.#file?.close();
    this.#file = null;
  }

  async #drain(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = Buffer.concat(this.#waiting.splice(0));
      this.#waitingBytes -= batch.length;
      try {
        await this.#append(batch);
        this.#hasFailed = false;
      } catch (error) {
        this.#lostBatches++;
        const { path } = this.#options;
        if (!this.#hasFailed)
          this.#options.log.error({ path, error: messageOf(error) }, "the access log cannot be written");
        this.#hasFailed = true;
      }
    }
  }

  async #append(batch: Buffer): Promise<void> {
    const { path, limit } = this.#options;
    if (this.#file !== null && this.#size >= limit) {
      await rename(path, `${path}.1`);
      this.#reopen = true;
    }
    if (this.#file === null || this.#reopen) {
      await this.#file?.close();
      this.#file = null;
      await mkdir(dirname(path), { recursive: true });
      this.#file = await open(path, "a", 0o640);
      this.#size = (await this.#file.stat()).size;
      this.#reopen = false;
    }
    await this.#file.appendFile(batch);
    this.#size += batch.length;
  }
}
