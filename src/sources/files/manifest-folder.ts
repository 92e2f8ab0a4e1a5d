/**
 * A folder of manifests with the folders in it, looked through again and again: only files that changed are read. A file that cannot
 * be read or understood keeps what it said before, an object with an error the row that it had: the one memory of what was good,
 * which `restore` puts back after a restart. What was never good is reported, and nothing else. Names that begin with a dot are skipped: that is how editors, atomic
 * writers and mounted ConfigMaps call what is not for readers.
 */
import { createHash } from "node:crypto";
import type { BigIntStats } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, join, relative } from "node:path";
import type { Clock } from "../../lib/clock.ts";
import { messageOf, TandemError } from "../../lib/errors.ts";
import { compareText } from "../../model/labels.ts";
import type { Problem } from "../../model/status.ts";
import { equalRows } from "../../model/store.ts";
import { parseManifest } from "./parse-manifest.ts";
import { type ObjectReading, readObject } from "./read-objects.ts";
import type { FileState } from "./writer-pauses.ts";

const manifestName = /^[^.].*\.(ya?ml|json)$/;
/** bytes: more is no manifest, and would stop the agent for seconds. */
const sizeLimit = 64 * 1024 * 1024;
/** Files asked for at once. */
const batch = 32;

/** Whether a file of this path is read. */
export function isManifest(path: string): boolean {
  return manifestName.test(basename(path));
}

/** What a file that was understood says. */
export interface ManifestVersion {
  /** When it was read, in ms since the epoch. */
  readonly since: number;
  readonly readings: readonly ObjectReading[];
}

interface ManifestFile {
  /** Of its text; "" if that could not be read. */
  readonly digest: string;
  /** This text, or the last one that was understood; null: there was none. */
  readonly good: ManifestVersion | null;
  readonly problem: Problem | null;
}

interface SeenFile {
  /** Inode, size and times: another text has another version; "" if it was not read. */
  readonly version: string;
  readonly file: ManifestFile;
}

export interface FolderLook {
  /** Of all files, by file name. */
  readonly readings: readonly ObjectReading[];
  /** Files that are not understood. */
  readonly problems: readonly Problem[];
  /** In force, by path. */
  readonly versions: ReadonlyMap<string, ManifestVersion>;
  readonly files: number;
  /** Whether it differs from the last look. */
  readonly changed: boolean;
}

export interface LookOptions {
  /** Called for each folder before its names are read. */
  readonly onFolder: (folder: string, inode: bigint) => void;
  /** now: read it also if it looks the same; later: leave it as it is this time. */
  readonly readiness: (path: string, state: FileState) => "now" | "later" | "ifChanged";
  /** gone: it stayed away; later: it may be on its way back, as when it is replaced by being made anew. */
  readonly absence: (path: string) => "gone" | "later";
}

export class ManifestFolder {
  readonly #folder: string;
  readonly #clock: Pick<Clock, "now">;
  #files: ReadonlyMap<string, SeenFile> = new Map();
  #first = true;

  constructor(folder: string, clock: Pick<Clock, "now">) {
    this.#folder = folder;
    this.#clock = clock;
  }

  /** Takes what an agent before this one had understood; the next look reads all files, and forgets those that are gone. */
  restore(versions: ReadonlyMap<string, ManifestVersion>): void {
    const sorted = [...versions].sort(([left], [right]) => compareText(left, right));
    this.#files = new Map(
      sorted.map(([path, good]) => [path, { version: "", file: { digest: "", good, problem: null } }]),
    );
  }

  /** @throws TandemError MANIFESTS_FOLDER when the folder is missing or cannot be read; the last look stays valid */
  async look(options: LookOptions): Promise<FolderLook> {
    const paths: string[] = [];
    const kept: Problem[] = [];
    try {
      await this.#list(this.#folder, options.onFolder, paths, kept);
    } catch (cause) {
      throw new TandemError({
        code: "MANIFESTS_FOLDER",
        object: this.#folder,
        message: `the folder of manifests cannot be read: ${messageOf(cause)}`,
        remedy: "make the folder, or name another one by the setting manifests; what was known before stays in force",
        cause,
      });
    }
    paths.sort(compareText);
    const files = new Map<string, SeenFile>();
    for (let start = 0; start < paths.length; start += batch) {
      const some = paths.slice(start, start + batch);
      const read = await Promise.all(some.map((path) => this.#file(path, options.readiness)));
      for (const [i, file] of read.entries()) if (file !== null) files.set(some[i] ?? "", file);
    }
    const before = this.#files;
    if (!this.#first) {
      for (const [path, file] of before) {
        if (!files.has(path) && options.absence(path) === "later") files.set(path, file);
      }
    }
    const same = files.size === before.size && [...files].every(([path, { file }]) => before.get(path)?.file === file);
    this.#files = files;
    const changed = this.#first || !same;
    this.#first = false;
    const all = [...files.values()].map(({ file }) => file);
    return {
      readings: all.flatMap(({ good }) => good?.readings ?? []),
      versions: new Map([...files].flatMap(([path, { file }]) => (file.good === null ? [] : [[path, file.good]]))),
      problems: [...kept, ...all.flatMap(({ problem }) => problem ?? [])],
      files: files.size,
      changed,
    };
  }

  /** Appends the manifests below `folder`. A folder inside that cannot be read keeps its files. */
  async #list(folder: string, onFolder: LookOptions["onFolder"], paths: string[], problems: Problem[]): Promise<void> {
    const { ino } = await stat(folder, { bigint: true });
    onFolder(folder, ino);
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory() && !entry.name.startsWith(".")) {
        try {
          await this.#list(path, onFolder, paths, problems);
        } catch (error) {
          if (isMissing(error)) continue;
          problems.push(unreadable(path, error, "what was read in it"));
          paths.push(...[...this.#files.keys()].filter((known) => known.startsWith(`${path}/`)));
        }
      } else if (isManifest(path)) paths.push(path);
    }
  }

  /** Null: it is gone, or no file. Its `file` is the same object as before if nothing changed. */
  async #file(path: string, readinessOf: LookOptions["readiness"]): Promise<SeenFile | null> {
    const before = this.#files.get(path) ?? null;
    try {
      const stats = await stat(path, { bigint: true });
      if (!stats.isFile()) return null;
      const readiness = readinessOf(path, stats);
      if (readiness === "later") return before;
      const version = versionOf(stats);
      if (readiness === "ifChanged" && before?.version === version) return before;
      if (stats.size > sizeLimit) throw new Error(`it has more than ${sizeLimit} bytes`);
      // What is written after this stat has another version, and is read by the next look.
      return { version, file: this.#understand(path, await readFile(path, "utf8"), before?.file ?? null) };
    } catch (error) {
      if (isMissing(error)) return null;
      const good = before?.file.good ?? null;
      const problem = unreadable(path, error, versionText(good));
      if (before !== null && equalRows(before.file.problem, problem)) return before;
      return { version: "", file: { digest: "", good, problem } };
    }
  }

  #understand(path: string, text: string, before: ManifestFile | null): ManifestFile {
    const digest = createHash("sha1").update(text).digest("base64");
    // Touched, or replaced by its equal.
    if (before?.digest === digest) return before;
    const { objects, failure } = parseManifest(text, relative(this.#folder, path));
    const last = before?.good ?? null;
    if (failure !== null) {
      const message = `${failure.message}; ${versionText(last)} is in force`;
      return { digest, good: last, problem: { ...failure, object: path, message } };
    }
    const own = new Map(titled(last?.readings ?? []));
    const readings = titled(objects.map(readObject)).map(([title, reading]) => {
      const before = own.get(title);
      if (reading.refused)
        return withRow(reading, before === undefined ? this.#elsewhere(reading) : rowOf(before, last));
      // Rows that did not change are the same objects as before, so that nobody has to compare them again.
      return equalRows(before?.row, reading.row) ? { ...reading, row: before?.row ?? null } : reading;
    });
    const same = last !== null && equalRows(last.readings, readings);
    return { digest, good: same ? last : { since: this.#clock.now(), readings }, problem: null };
  }

  /** The row of an object that is new in its file: it may come from another one. */
  #elsewhere({ slot }: ObjectReading): AgedRow | null {
    for (const { file } of this.#files.values()) {
      const found = file.good?.readings.find(
        (one) => one.row !== null && one.slot?.table === slot?.table && one.slot?.key === slot?.key,
      );
      if (found !== undefined) return rowOf(found, file.good);
    }
    return null;
  }
}

interface AgedRow {
  readonly row: ObjectReading["row"];
  /** ms since the epoch. */
  readonly since: number;
}

function rowOf({ row, rowSince }: ObjectReading, version: ManifestVersion | null): AgedRow | null {
  return row === null || version === null ? null : { row, since: rowSince ?? version.since };
}

/** An object that is refused goes on with the row that it had. */
function withRow(reading: ObjectReading, before: AgedRow | null): ObjectReading {
  if (reading.slot === null || before === null) return reading;
  const { row, since } = before;
  return { ...reading, row, rowSince: since, problems: [...reading.problems, kept(reading.object, since)] };
}

/** With what is the same in two versions of a file: table, key and, where it is there twice, its turn. */
function titled(readings: readonly ObjectReading[]): readonly (readonly [string, ObjectReading])[] {
  const turns = new Map<string, number>();
  return readings.map((reading) => {
    const title = `${reading.slot?.table} ${reading.slot?.key}`;
    const turn = turns.get(title) ?? 0;
    turns.set(title, turn + 1);
    return [`${title} ${turn}`, reading];
  });
}

function versionOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(" ");
}

function versionText(version: ManifestVersion | null): string {
  return version === null ? "nothing of it" : `its version of ${new Date(version.since).toISOString()}`;
}

function kept(object: string, since: number): Problem {
  return {
    code: "MANIFEST_KEPT",
    severity: "warning",
    object,
    field: "",
    message: `its version of ${new Date(since).toISOString()} is in force until it is corrected or deleted`,
    remedy: "correct what is said about it",
  };
}

function unreadable(path: string, error: unknown, inForce: string): Problem {
  return {
    code: "MANIFEST_UNREADABLE",
    severity: "error",
    object: path,
    field: "",
    message: `it cannot be read: ${messageOf(error)}; ${inForce} is in force`,
    remedy: "make it readable for the agent",
  };
}

function isMissing(error: unknown): boolean {
  const code = (error as { readonly code?: unknown } | null)?.code;
  return code === "ENOENT" || code === "ENOTDIR";
}
