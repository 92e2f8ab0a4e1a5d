/** What tells ours from others': <stateDir>/cni-install.json, written before what it tells of is done. */
import { join } from "node:path";
import { z } from "zod";
import { TandemError } from "../../lib/errors.ts";
import { readIfThere, removeFile, writeWhole } from "./files.ts";

export interface InstallRecord {
  /** Path -> digest of what was written there. */
  readonly files: ReadonlyMap<string, string>;
  /** Path of the configuration that was installed to the end, what stood before it put aside; null: none yet. */
  readonly taken: string | null;
  /** Taken away by hand: it is not put there again but by hand. */
  readonly withdrawn: boolean;
}

const nothing: InstallRecord = { files: new Map(), taken: null, withdrawn: false };

const schema = z.object({
  version: z.literal(1),
  files: z.record(z.string(), z.string()),
  // Agents that wrote no such fields took what they had begun for done.
  taken: z.string().nullable().optional(),
  withdrawn: z.boolean().default(false),
});

export class RecordFile {
  readonly #path: string;

  constructor(stateDir: string) {
    this.#path = join(stateDir, "cni-install.json");
  }

  /**
   * @param confPath what a record without that field was complete for, if it has it
   * @throws TandemError CNI_INSTALL_RECORD, CNI_INSTALL
   */
  async read(confPath: string): Promise<InstallRecord> {
    const found = await readIfThere(this.#path);
    if (found === null) return nothing;
    try {
      const { files, taken, withdrawn } = schema.parse(JSON.parse(found.content.toString()));
      return {
        files: new Map(Object.entries(files)),
        taken: taken === undefined ? (confPath in files ? confPath : null) : taken,
        withdrawn,
      };
    } catch (cause) {
      throw new TandemError({
        code: "CNI_INSTALL_RECORD",
        object: this.#path,
        message: "is not a record of what was installed",
        remedy: "compare the runtime's folders with what is wanted, then remove this file",
        cause,
      });
    }
  }

  /** Durable when it resolves. @throws TandemError CNI_INSTALL */
  async write({ files, taken, withdrawn }: InstallRecord): Promise<void> {
    const value: z.infer<typeof schema> = { version: 1, files: Object.fromEntries(files), taken, withdrawn };
    await writeWhole(this.#path, Buffer.from(`${JSON.stringify(value)}\n`), 0o600);
  }

  async remove(): Promise<void> {
    await removeFile(this.#path);
  }
}
