/**
 * What stood in the way, kept beside its place: NAME.tandem-backup, and NAME.tandem-backup.2 and so on when a file of that name came back
 * with another content (a daemon writes its configuration at each start). The last one gets the name back; the others stay, for
 * whoever wants them.
 */
import { basename, dirname, join } from "node:path";
import { digestOf, exists, moveFile, namesIn, readIfThere, removeFile } from "./files.ts";

/** Runtimes read *.conf, *.conflist and *.json only: what has this suffix is out of their sight. */
const suffix = ".tandem-backup";
const pattern = /^(.+)\.tandem-backup(?:\.(\d+))?$/;

/** Moves a file out of the runtime's sight. Content that is kept already is kept once. @throws TandemError CNI_INSTALL */
export async function putAside(path: string): Promise<void> {
  const found = await readIfThere(path);
  if (found === null) return;
  const kept = await backupsOf(path);
  const digest = digestOf(found.content);
  for (const backup of kept) {
    const other = await readIfThere(backup);
    if (other === null || digestOf(other.content) !== digest) continue;
    // It is the last one now.
    if (backup === kept.at(-1)) return moveFile(path, backup);
    await removeFile(backup);
  }
  const highest = Math.max(0, ...kept.map(numberOf));
  await moveFile(path, highest === 0 ? path + suffix : `${path}${suffix}.${highest + 1}`);
}

/** Gives each file of a folder its name back, where nobody else has taken it. */
export async function putBackAll(
  folder: string,
): Promise<{ readonly restored: readonly string[]; readonly left: readonly string[] }> {
  const backups = await backupsIn(folder);
  const restored: string[] = [];
  for (const path of new Set(backups.map(originalOf))) {
    const last = (await backupsOf(path)).at(-1);
    if (last === undefined || (await exists(path))) continue;
    await moveFile(last, path);
    restored.push(path);
  }
  return { restored, left: await backupsIn(folder) };
}

/** Paths, those of one file in the order in which they were made. */
export async function backupsIn(folder: string): Promise<readonly string[]> {
  return (await namesIn(folder))
    .filter((name) => pattern.test(name))
    .map((name) => join(folder, name))
    .sort((a, b) => (originalOf(a) === originalOf(b) ? numberOf(a) - numberOf(b) : a < b ? -1 : 1));
}

async function backupsOf(path: string): Promise<readonly string[]> {
  return (await backupsIn(dirname(path))).filter((backup) => originalOf(backup) === path);
}

function originalOf(backup: string): string {
  const [, name = ""] = pattern.exec(basename(backup)) ?? [];
  return join(dirname(backup), name);
}

function numberOf(backup: string): number {
  return Number(pattern.exec(basename(backup))?.[2] ?? 1);
}
