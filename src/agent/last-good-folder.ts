/**
 * Last good versions on disk: <stateDir>/last-good/<name>/, a JSON file for each, written in the background when it changes. One that could not
 * be written is tried again and a condition meanwhile; nothing waits for it, as it only matters once this agent has ended *and*
 * the version after it is broken.
 *
 * The form on disk is that of the rows: who changes a row's type raises `format` and reads the old one too.
 */
import { createHash } from "node:crypto";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../lib/clock.ts";
import { messageOf, TandemError } from "../lib/errors.ts";
import { BoundedFrequencyRunner } from "../lib/runner.ts";
import type { LastGood } from "../model/last-good.ts";
import type { ConditionSink, Problem } from "../model/status.ts";
import { asideSuffix, replaceFile } from "./durable-file.ts";

const format = 1;
const suffix = ".json";
/** Files worked on at once: a disk takes the syncs of many as one. */
const batch = 32;
/** ms between two rounds. */
const minIntervalMs = 10;

export interface LastGoodFolderOptions {
  readonly stateDir: string;
  /** Of the folder, and what messages call its content: "manifests". */
  readonly name: string;
  readonly conditions: ConditionSink;
  readonly clock: Clock;
}

interface Kept {
  readonly digest: string;
  /** Null: it was read, and may be equal to one that comes. */
  readonly version: object | null;
}

export class LastGoodFolder<T extends object> implements LastGood<T> {
  readonly #options: LastGoodFolderOptions;
  readonly #folder: string;
  readonly #runner: BoundedFrequencyRunner;
  readonly #kept = new Map<string, Kept>();
  #wanted: ReadonlyMap<string, T> = new Map();
  #stopped = false;

  constructor(options: LastGoodFolderOptions) {
    this.#options = options;
    this.#folder = join(options.stateDir, "last-good", options.name);
    this.#runner = new BoundedFrequencyRunner({
      clock: options.clock,
      minIntervalMs,
      maxIntervalMs: null,
      action: () => this.#write(),
    });
  }

  /** A file that is none of ours is a warning, and stays. */
  async read(): Promise<ReadonlyMap<string, T>> {
    const versions = new Map<string, T>();
    const foreign: string[] = [];
    try {
      const names = await readdir(this.#folder).catch(emptyIfMissing);
      // A write that was cut short: the version before it counts. Where nothing can be written it stays, and means nothing.
      for (const name of names.filter((one) => one.endsWith(asideSuffix))) {
        await rm(join(this.#folder, name)).catch(() => undefined);
      }
      await inBatches(
        names.filter((name) => name.endsWith(suffix)),
        async (name) => {
          const text = await readFile(join(this.#folder, name), "utf8");
          const record = decode<T>(text);
          if (record === null || fileOf(record.key) !== name) {
            foreign.push(join(this.#folder, name));
            return;
          }
          versions.set(record.key, record.version);
          this.#kept.set(record.key, { digest: digestOf(text), version: null });
        },
      );
    } catch (cause) {
      throw this.#failed("read", cause);
    }
    this.#report(
      foreign.sort().map((path) => ({
        severity: "warning",
        code: "LAST_GOOD_UNREADABLE",
        object: path,
        message: `is no record of the last good ${this.#options.name}: what it is about is not in force if it is broken now`,
        remedy: "remove it",
      })),
    );
    return versions;
  }

  keep(versions: ReadonlyMap<string, T>): void {
    if (versions === this.#wanted) return;
    this.#wanted = versions;
    this.#runner.trigger();
  }

  /** What is not written yet stays as it was on disk. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#runner.stop();
  }

  async #write(): Promise<void> {
    const wanted = this.#wanted;
    const failures: unknown[] = [];
    const attempt = async (work: Promise<void>) => {
      await work.catch((error: unknown) => failures.push(error));
    };
    const changed = [...wanted].filter(([key, version]) => this.#kept.get(key)?.version !== version);
    const gone = [...this.#kept.keys()].filter((key) => !wanted.has(key));
    await inBatches(changed, ([key, version]) => attempt(this.#put(key, version)));
    await inBatches(gone, (key) => attempt(this.#remove(key)));
    if (this.#stopped) return;
    if (failures.length === 0) return this.#report([]);
    const { code, object, message, remedy } = this.#failed("written", failures[0]);
    this.#report([{ severity: "warning", code, object, message, remedy }]);
    // The runner tries again.
    throw failures[0];
  }

  async #put(key: string, version: T): Promise<void> {
    if (this.#stopped) return;
    const text = encode({ key, version });
    const digest = digestOf(text);
    if (this.#kept.get(key)?.digest !== digest) await replaceFile(join(this.#folder, fileOf(key)), text);
    this.#kept.set(key, { digest, version });
  }

  async #remove(key: string): Promise<void> {
    if (this.#stopped) return;
    await rm(join(this.#folder, fileOf(key)), { force: true });
    this.#kept.delete(key);
  }

  #report(problems: readonly Omit<Problem, "field">[]): void {
    this.#options.conditions.report(
      `last-good-${this.#options.name}`,
      problems.map((problem) => ({ ...problem, field: "" })),
    );
  }

  #failed(done: "read" | "written", cause: unknown): TandemError {
    const risk = done === "read" ? "" : "; what is broken when the agent starts again may lose them";
    return new TandemError({
      code: "STATE_DIR",
      object: this.#folder,
      message: `the last good ${this.#options.name} cannot be ${done}: ${messageOf(cause)}${risk}`,
      remedy: "make the folder writable and free some space, or set another `stateDir`",
      cause,
    });
  }
}

interface Entry<T> {
  readonly key: string;
  readonly version: T;
}

/** Rows are plain data but for the bytes of addresses. */
export function encode<T>(entry: Entry<T>): string {
  return JSON.stringify({ format, ...entry }, (_, value: unknown) =>
    value instanceof Uint8Array ? { "@bytes": Buffer.from(value).toString("hex") } : value,
  );
}

/** @returns null for what `encode` did not write */
export function decode<T>(text: string): Entry<T> | null {
  try {
    const value = JSON.parse(text, (_, part: unknown) => bytesOf(part) ?? part) as
      | (Partial<Entry<T>> & { readonly format?: unknown })
      | null;
    if (value?.format !== format || typeof value.key !== "string" || typeof value.version !== "object") return null;
    return value.version === null ? null : { key: value.key, version: value.version };
  } catch {
    return null;
  }
}

/** Nothing that Kubernetes knows has a field or label of this name. */
function bytesOf(value: unknown): Uint8Array | null {
  const hex = (value as { readonly "@bytes"?: unknown } | null)?.["@bytes"];
  return typeof hex === "string" ? Uint8Array.from(Buffer.from(hex, "hex")) : null;
}

/** Keys are paths and names of any length. */
function fileOf(key: string): string {
  return `${createHash("sha256").update(key).digest("hex").slice(0, 32)}${suffix}`;
}

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("base64");
}

function emptyIfMissing(error: NodeJS.ErrnoException): readonly string[] {
  if (error.code === "ENOENT") return [];
  throw error;
}

async function inBatches<T>(all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  for (let start = 0; start < all.length; start += batch) await Promise.all(all.slice(start, start + batch).map(work));
}
