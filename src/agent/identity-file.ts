/** The identity allocator's memory: a file of stateDir, replaced as a whole. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type IdentityRecord, localNumbers, type NumberRange, parseIdentityRecord } from "../identities/index.ts";
import { messageOf, TandemError } from "../lib/errors.ts";
import type { ConditionSink, Problem } from "../model/status.ts";
import { replaceFile } from "./durable-file.ts";

export interface IdentityFileOptions {
  /** Each allocator has its own: numbers of one mean nothing to another. */
  readonly name: string;
  /** Numbers that its allocator may give. */
  readonly range: NumberRange;
  /** Nobody else knows them: they must be written before they are used. */
  readonly onlyCopy: boolean;
}

/** Of the local allocator. */
const ofThisNode: IdentityFileOptions = { name: "identities.json", range: localNumbers, onlyCopy: true };

export class IdentityFile {
  readonly #path: string;
  readonly #range: NumberRange;
  readonly #onlyCopy: boolean;
  readonly #conditions: ConditionSink;

  constructor(stateDir: string, conditions: ConditionSink, { name, range, onlyCopy } = ofThisNode) {
    this.#path = join(stateDir, name);
    this.#range = range;
    this.#onlyCopy = onlyCopy;
    this.#conditions = conditions;
  }

  /** null: there is none yet, or it is of no use (which becomes a condition). @throws TandemError STATE_DIR */
  async read(): Promise<IdentityRecord | null> {
    const text = await readFile(this.#path, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return null;
      throw this.#failed("read", error);
    });
    if (text === null) return null;
    const record = parseIdentityRecord(text, this.#range);
    if (record === null) {
      this.#conditions.report("identities", [
        {
          code: "IDENTITIES_UNREADABLE",
          severity: "warning",
          object: this.#path,
          field: "",
          message: "is not a record of identities; identities get new numbers, which renews the policy of every pod",
          remedy: "none needed: the file is written anew",
        },
      ]);
    }
    return record;
  }

  /**
   * @returns false: it could not be written and is to be tried again, while the numbers may be used
   * @throws TandemError STATE_DIR where this is the only copy
   */
  async write(record: IdentityRecord): Promise<boolean> {
    let problems: readonly Problem[] = [];
    try {
      await replaceFile(this.#path, JSON.stringify(record));
    } catch (error) {
      const failure = this.#failed("written", error);
      if (this.#onlyCopy) throw failure;
      const { code, object, message, remedy } = failure;
      problems = [{ code, severity: "warning", object, field: "", message, remedy }];
    }
    this.#conditions.report("identity-file", problems);
    return problems.length === 0;
  }

  #failed(done: "read" | "written", cause: unknown): TandemError {
    return new TandemError({
      code: "STATE_DIR",
      object: this.#path,
      message: `the numbers of identities cannot be ${done}: ${messageOf(cause)}`,
      remedy:
        "make the folder writable and free some space, or set another `stateDir`; the kernel goes on with what it has",
      cause,
    });
  }
}
