/**
 * <stateDir>/l7.json: what the proxy was told of the kernel's policy sets. The kernel does not say what a redirecting group demands, so this is
 * how a restarted agent knows its sets again, and that their numbers mean to the proxy what they meant.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { messageOf } from "../../lib/errors.ts";
import type { ConditionSink } from "../../model/status.ts";
import { replaceFile } from "../durable-file.ts";
import { type KeptTables, noTables } from "./tables.ts";

const number = z.int().min(0);
const pairs = z.array(z.tuple([number, number]));
const schema = z.strictObject({
  format: z.literal(1),
  nextRuleSet: number,
  highestSet: number,
  ruleSets: z.array(z.strictObject({ id: number, text: z.string() })),
  sets: z.array(z.strictObject({ set: number, egress: pairs, ingress: pairs })),
});

export class TablesFile {
  readonly #path: string;
  readonly #conditions: ConditionSink;

  constructor(stateDir: string, conditions: ConditionSink) {
    this.#path = join(stateDir, "l7.json");
    this.#conditions = conditions;
  }

  /** What cannot be read is as nothing: policy sets with L7 rules are written again then, under new numbers. */
  async read(): Promise<KeptTables> {
    try {
      const { format: _, ...kept } = schema.parse(JSON.parse(await readFile(this.#path, "utf8")));
      return kept;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") this.#report("read", error);
      return noTables;
    }
  }

  /** Never rejects. */
  async write(kept: KeptTables): Promise<void> {
    try {
      await replaceFile(this.#path, JSON.stringify({ format: 1, ...kept }));
      this.#conditions.report("l7-file", []);
    } catch (error) {
      this.#report("written", error);
    }
  }

  #report(done: "read" | "written", error: unknown): void {
    this.#conditions.report("l7-file", [
      {
        code: "STATE_DIR",
        severity: "warning",
        object: this.#path,
        field: "",
        message: `what the proxy was told cannot be ${done}: ${messageOf(error)}; after a restart policies with L7 rules are written again`,
        remedy: "make the folder writable and free some space, or set another `stateDir`",
      },
    ]);
  }
}
