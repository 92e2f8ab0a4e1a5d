/**
 * Events of folders, one watch (inotify) each: a recursive watch of Node 20 misses folders that come while it is set up. A watch only
 * hastens a look; what no event told is found by the next look anyway.
 */
import { type FSWatcher, watch } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../lib/errors.ts";

/** content: written in place; name: came, went, or was replaced by another file. `path` is null if the kernel did not say. */
export type FolderEvent = (kind: "content" | "name", path: string | null) => void;

interface Watch {
  readonly watcher: FSWatcher;
  /** A folder that was removed and made again is another one, and the watch is still on the old. */
  readonly inode: bigint;
}

export class FolderWatch {
  readonly #onEvent: FolderEvent;
  readonly #watches = new Map<string, Watch>();
  readonly #failures = new Map<string, string>();

  constructor(onEvent: FolderEvent) {
    this.#onEvent = onEvent;
  }

  /** Why a folder cannot be watched; null: all are. */
  get failure(): string | null {
    const [first] = this.#failures.values();
    return first ?? null;
  }

  /** Watches this folder from now on. */
  add(folder: string, inode: bigint): void {
    const before = this.#watches.get(folder);
    if (before?.inode === inode) return;
    before?.watcher.close();
    this.#watches.delete(folder);
    try {
      const watcher = watch(folder, { persistent: false });
      watcher.on("change", (kind, name) =>
        this.#onEvent(kind === "change" ? "content" : "name", name === null ? null : join(folder, name.toString())),
      );
      watcher.on("error", (error) => this.#failed(folder, watcher, error));
      this.#watches.set(folder, { watcher, inode });
      this.#failures.delete(folder);
    } catch (error) {
      this.#failures.set(folder, messageOf(error));
    }
  }

  /** Forgets all other folders. */
  retain(folders: ReadonlySet<string>): void {
    for (const folder of this.#failures.keys()) if (!folders.has(folder)) this.#failures.delete(folder);
    for (const [folder, { watcher }] of this.#watches) {
      if (folders.has(folder)) continue;
      watcher.close();
      this.#watches.delete(folder);
    }
  }

  close(): void {
    this.retain(new Set());
  }

  #failed(folder: string, watcher: FSWatcher, error: unknown): void {
    watcher.close();
    if (this.#watches.get(folder)?.watcher === watcher) this.#watches.delete(folder);
    this.#failures.set(folder, messageOf(error));
    this.#onEvent("name", null);
  }
}
