/**
 * The `files` source: a folder of Kubernetes manifests, followed. Whoever works on manifests without a folder to follow uses its
 * pure part, `parseManifest` and `readObjects`.
 *
 * What is there stays in force when something breaks: a file that is not understood keeps its last objects, an object with a mistake
 * its last row (both also over a restart, `manifest-folder.ts`), a folder that disappears everything. `start` does not resolve before the folder was seen: an agent that took a
 * missing folder for an empty world would take policy out of the kernel.
 *
 * A file that is renamed into its place is read at once. One that is written in place is read when the writer has paused: half of a
 * manifest is often valid YAML, and would be half of a policy.
 */
import type { Clock, Timer } from "../../lib/clock.ts";
import { messageOf, TandemError } from "../../lib/errors.ts";
import { BoundedFrequencyRunner } from "../../lib/runner.ts";
import type { LastGood } from "../../model/last-good.ts";
import type { Logger } from "../../model/logging.ts";
import type { ConditionSink, Problem } from "../../model/status.ts";
import type { TableStore } from "../../model/store.ts";
import type { TableRows } from "../../model/tables.ts";
import { FolderWatch } from "./folder-watch.ts";
import { type FolderLook, isManifest, ManifestFolder, type ManifestVersion } from "./manifest-folder.ts";
import { type ManifestRows, type ManifestTable, manifestTables, mergeReadings } from "./read-objects.ts";
import { WriterPauses } from "./writer-pauses.ts";

export type { ManifestVersion } from "./manifest-folder.ts";
export { parseManifest } from "./parse-manifest.ts";
export {
  type ManifestObject,
  type ManifestRows,
  type ObjectsReading,
  readObject,
  readObjects,
} from "./read-objects.ts";

/** ms between two looks, and that an event waits for more, unless a file came whole. */
const settleMs = 10;
/** ms after which the folder is looked through although nothing was heard, and if it cannot be watched. */
const rescanMs = { watched: 5_000, unwatched: 250 } as const;
/** ms between tries while the folder is missing. */
const missingRetry = { firstMs: 100, maxMs: 500 } as const;

export interface FilesSourceOptions {
  readonly store: Pick<TableStore, "replaceAll">;
  readonly conditions: ConditionSink;
  readonly log: Logger;
  readonly clock: Clock;
  readonly folder: string;
  /** By path of the manifest. */
  readonly lastGood: LastGood<ManifestVersion>;
}

export interface FilesStatus {
  readonly name: "files";
  readonly synced: boolean;
  readonly stale: boolean;
  readonly detail: string;
}

export class FilesSource {
  readonly #options: FilesSourceOptions;
  readonly #folder: ManifestFolder;
  readonly #watch: FolderWatch;
  readonly #pauses: WriterPauses;
  readonly #runner: BoundedFrequencyRunner;
  #timer: Timer | null = null;
  /** When it fires, in monotonic ms. */
  #lookAt = 0;
  #problems: readonly Problem[] = [];
  readonly #saidKinds = new Set<string>();
  #detail = "not seen yet";
  #synced = false;
  /** Why the folder cannot be read now. */
  #failure: string | null = null;
  #stopped = false;
  #settle: () => void = () => undefined;

  constructor(options: FilesSourceOptions) {
    this.#options = options;
    this.#folder = new ManifestFolder(options.folder, options.clock);
    this.#pauses = new WriterPauses(options.clock);
    this.#watch = new FolderWatch((kind, path) => {
      const ours = path !== null && isManifest(path);
      if (ours) this.#pauses.take(kind, path);
      // Names that are not read matter too: a folder came, a ConfigMap's link moved on.
      if (ours || kind === "name") this.#lookIn(ours && kind === "name" ? 0 : settleMs);
    });
    this.#runner = new BoundedFrequencyRunner({
      clock: options.clock,
      minIntervalMs: settleMs,
      maxIntervalMs: rescanMs.watched,
      retry: missingRetry,
      action: () => this.#look(),
    });
  }

  /**
   * Follows the folder until the signal. Resolves when everything in it was seen once, or with the signal.
   * @throws TandemError STATE_DIR
   */
  async start(signal: AbortSignal): Promise<void> {
    this.#folder.restore(await this.#options.lastGood.read());
    if (signal.aborted) return;
    const seen = new Promise<void>((resolve) => {
      this.#settle = resolve;
    });
    signal.addEventListener("abort", () => this.#stop(), { once: true });
    this.#runner.trigger();
    await seen;
  }

  status(): FilesStatus {
    const stale = this.#failure !== null;
    const detail = stale ? `${this.#failure}; last known: ${this.#detail}` : this.#detail;
    return { name: "files", synced: this.#synced, stale, detail };
  }

  #stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#watch.close();
    this.#settle();
    // A look that is under way ends by itself, and writes nothing any more.
    void this.#runner.stop();
  }

  #lookIn(ms: number): void {
    const at = this.#options.clock.monotonicMs() + ms;
    if (this.#stopped || (this.#timer !== null && this.#lookAt <= at)) return;
    this.#timer?.cancel();
    this.#lookAt = at;
    this.#timer = this.#options.clock.setTimer(ms, () => {
      this.#timer = null;
      this.#runner.trigger();
    });
  }

  async #look(): Promise<void> {
    const { conditions } = this.#options;
    const folders = new Set<string>();
    this.#pauses.begin();
    try {
      const look = await this.#folder.look({
        onFolder: (folder, inode) => {
          if (this.#stopped) return;
          folders.add(folder);
          this.#watch.add(folder, inode);
        },
        readiness: (path, state) => this.#pauses.readiness(path, state),
        absence: (path) => this.#pauses.absence(path),
      });
      if (this.#stopped) return;
      this.#watch.retain(folders);
      this.#pauses.end();
      const mended = this.#failure !== null;
      this.#failure = null;
      if (look.changed || mended) this.#take(look);
      this.#options.lastGood.keep(look.versions);
      conditions.report("files-watch", this.#watchProblems());
      if (!this.#synced) this.#sayFirst();
      if (this.#pauses.waiting) this.#lookIn(settleMs);
      else if (this.#watch.failure !== null) this.#lookIn(rescanMs.unwatched);
    } catch (error) {
      if (this.#stopped) return;
      const problem = problemOf(error, this.#options.folder);
      this.#failure = problem.message;
      conditions.report("files", [problem, ...this.#problems]);
      throw error;
    }
  }

  #take(look: FolderLook): void {
    const { store, conditions } = this.#options;
    const reading = mergeReadings(look.readings);
    const { rows } = reading;
    this.#problems = [...look.problems, ...reading.problems];
    for (const table of manifestTables) replace(store, table, rows);
    conditions.report("files", this.#problems);
    const counts = manifestTables
      .filter((table) => rows[table].size > 0)
      .map((table) => `${rows[table].size} ${table}`);
    const ignored = [...reading.ignored.keys()];
    this.#detail = `${look.files} files: ${counts.join(", ") || "no objects"}${ignored.length === 0 ? "" : `; ignored: ${ignored.join(", ")}`}`;
    this.#sayIgnored(reading.ignored);
  }

  #sayIgnored(kinds: ReadonlyMap<string, string>): void {
    for (const [kind, place] of kinds) {
      if (this.#saidKinds.has(kind)) continue;
      this.#saidKinds.add(kind);
      this.#options.log.warn({ kind, place }, "objects of this kind are ignored: an agent has no use for them");
    }
  }

  #sayFirst(): void {
    this.#synced = true;
    this.#options.log.info({ source: "files", detail: this.#detail }, "seen everything once");
    this.#settle();
  }

  #watchProblems(): readonly Problem[] {
    if (this.#watch.failure === null) return [];
    const message = `changes are found only every ${rescanMs.unwatched} ms: ${this.#watch.failure}`;
    const remedy = "raise fs.inotify.max_user_watches and fs.inotify.max_user_instances";
    return [{ code: "MANIFESTS_WATCH", severity: "warning", object: this.#options.folder, field: "", message, remedy }];
  }
}

function problemOf(error: unknown, folder: string): Problem {
  const known = error instanceof TandemError ? error : { code: "MANIFESTS_FAILED", object: folder };
  const remedy =
    error instanceof TandemError ? error.remedy : "it is tried again; what was known before stays in force";
  const { code, object } = known;
  return { code, severity: "error", object, field: "", message: messageOf(error), remedy };
}

function replace<K extends ManifestTable>(store: Pick<TableStore, "replaceAll">, table: K, rows: ManifestRows): void {
  store.replaceAll<K>(table, rows[table] as ReadonlyMap<string, TableRows[K]>, "files");
}
