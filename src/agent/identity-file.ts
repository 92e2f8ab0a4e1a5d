/** The identity allocator's memory: stateDir/identities.json, replaced as a whole. */
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ConditionSink } from "../model/status.ts";
import { type IdentityRecord, parseIdentityRecord } from "./identity-allocator.ts";

export class IdentityFile {
  readonly #path: string;
  readonly #conditions: ConditionSink;

  constructor(stateDir: string, conditions: ConditionSink) {
    this.#path = join(stateDir, "identities.json");
    this.#conditions = conditions;
  }

  /** null: there is none yet, or it is of no use (which becomes a condition). */
  async read(): Promise<IdentityRecord | null> {
    const text = await readFile(this.#path, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return null;
      throw error;
    });
    if (text === null) return null;
    const record = parseIdentityRecord(text);
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

  async write(record: IdentityRecord): Promise<void> {
    const next = `${this.#path}.next`;
    await mkdir(join(this.#path, ".."), { recursive: true });
    await writeFile(next, JSON.stringify(record), { mode: 0o600 });
    await rename(next, this.#path);
  }
}
