/**
 * Deletions that nobody could do yet: <stateDir>/cni-deletes/*.json, each a CniRequest. tandem-cni writes those that it could
 * not hand over (addon/cni/delete_queue.cc), the agent those that met it before it knew its endpoints. The order does not
 * matter, an attachment has at most one file.
 */
import { mkdir, open, readdir, readFile, rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { CniRequest } from "../api/dto.ts";
import { describe } from "./errors.ts";
import { KeyedMutex } from "./keyed-mutex.ts";

const schema = z.object({
  command: z.literal("DEL"),
  containerId: z.string(),
  netns: z.string(),
  ifname: z.string(),
  args: z.string(),
  path: z.string(),
  config: z.string(),
});

export class DeleteQueue {
  readonly #folder: string;
  /** By file: two who keep the same deletion write one temporary file. */
  readonly #keeping = new KeyedMutex();

  constructor(stateDir: string) {
    this.#folder = join(stateDir, "cni-deletes");
  }

  /** Keeps a deletion, durable when the promise resolves. Keeping it again changes nothing. */
  async keep(request: CniRequest): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const name = fileName(request);
    await this.#keeping.run(name, () => this.#write(name, request));
  }

  async #write(name: string, request: CniRequest): Promise<void> {
    // Not the plugin's temporary name: both may write at once.
    const temporary = join(this.#folder, `.${name}.agent`);
    const file = await open(temporary, "w", 0o600);
    try {
      await file.writeFile(JSON.stringify(request));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, join(this.#folder, name));
    const folder = await open(this.#folder, "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }

  /**
   * Hands each queued request to `replay` and removes its file when that has resolved; a rejected one stays for the next time.
   * A file that is no request is put aside as *.broken. Returns what was done and what went wrong.
   */
  async drain(
    replay: (request: CniRequest) => Promise<void>,
  ): Promise<{ readonly replayed: number; readonly problems: readonly string[] }> {
    let replayed = 0;
    const problems: string[] = [];
    for (const name of await this.#names()) {
      const path = join(this.#folder, name);
      try {
        const request = decode(await readFile(path, "utf8"));
        if (request === null) {
          await rename(path, `${path}.broken`);
          problems.push(`${path} is not a deletion; kept as ${name}.broken`);
          continue;
        }
        await replay(request);
        await unlink(path);
        replayed++;
      } catch (error) {
        if (isMissingFile(error)) continue; // another call did it at the same time
        problems.push(`${path}: ${describe(error)}`);
      }
    }
    return { replayed, problems };
  }

  async #names(): Promise<readonly string[]> {
    try {
      return (await readdir(this.#folder)).filter((name) => name.endsWith(".json") && !name.startsWith("."));
    } catch (error) {
      if (isMissingFile(error)) return [];
      throw error;
    }
  }
}

/** As the plugin names it (FNV-1a of 64 bits): one file whoever keeps the deletion. */
function fileName({ containerId, ifname }: CniRequest): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of Buffer.from(`${containerId}/${ifname}`)) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  }
  return `${hash.toString(16).padStart(16, "0")}.json`;
}

function decode(text: string): CniRequest | null {
  try {
    const parsed = schema.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
}

function isMissingFile(error: unknown): boolean {
  return error instanceof Error && "syscall" in error && "code" in error && error.code === "ENOENT";
}
