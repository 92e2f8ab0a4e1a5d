/**
 * Deletions that tandem-cni could not hand over (addon/cni/delete_queue.cc writes them): <stateDir>/cni-deletes/*.json, each
 * a CniRequest. The order does not matter, an attachment has at most one file.
 */
import { readdir, readFile, rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { CniRequest } from "../api/dto.ts";
import { describe } from "./errors.ts";

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

  constructor(stateDir: string) {
    this.#folder = join(stateDir, "cni-deletes");
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
