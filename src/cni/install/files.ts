/** Files of folders that others own too: written aside and renamed, put aside under another name, never overwritten unseen. */
import { createHash } from "node:crypto";
import { access, open, readdir, readFile, rename, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { TandemError } from "../../lib/errors.ts";

/** Runtimes read *.conf, *.conflist and *.json only: what has this suffix is out of their sight. */
export const backupSuffix = ".tandem-backup";

/** null: there is no such file. @throws TandemError CNI_INSTALL */
export async function readIfThere(path: string): Promise<Buffer | null> {
  return readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return null;
    throw failed(path, "cannot be read", error);
  });
}

/** Durable, and whole whenever somebody looks. @throws TandemError CNI_INSTALL */
export async function writeWhole(path: string, content: Buffer, mode: number): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.tandem-new`);
  try {
    const file = await open(temporary, "w", mode);
    try {
      await file.writeFile(content);
      await file.chmod(mode); // whatever the umask
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => undefined); // the first failure is the one to tell
    throw failed(path, "cannot be written", error);
  }
}

/** Moves a file out of the runtime's sight. @throws TandemError CNI_BACKUP_EXISTS, CNI_INSTALL */
export async function putAside(path: string): Promise<void> {
  const backup = path + backupSuffix;
  if (await exists(backup)) {
    throw new TandemError({
      code: "CNI_BACKUP_EXISTS",
      object: path,
      message: `would be kept as ${backup}, which there is already`,
      remedy: "move one of the two to another place",
    });
  }
  await rename(path, backup).catch((error: unknown) => {
    throw failed(path, "cannot be put aside", error);
  });
}

/** Gives a file its name back. False: there is none put aside, or another file has the name now. */
export async function putBack(path: string): Promise<boolean> {
  const backup = path + backupSuffix;
  if (!(await exists(backup)) || (await exists(path))) return false;
  await rename(backup, path).catch((error: unknown) => {
    throw failed(backup, "cannot be put back", error);
  });
  return true;
}

/** Missing is no error. @throws TandemError CNI_INSTALL */
export async function removeFile(path: string): Promise<void> {
  await unlink(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw failed(path, "cannot be removed", error);
  });
}

/** Sorted as runtimes sort; a folder that is missing has none. @throws TandemError CNI_INSTALL */
export async function namesIn(folder: string): Promise<readonly string[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw failed(folder, "cannot be read", error);
  });
  return names.sort();
}

export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

export function digestOf(content: Buffer): string {
  return createHash("sha256").update(content).digest("hex");
}

function failed(path: string, what: string, cause: unknown): TandemError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new TandemError({
    code: "CNI_INSTALL",
    object: path,
    message: `${what}: ${reason}`,
    remedy: `make ${dirname(path)} a folder that root may write, or set cniBinDir and cniConfDir to the runtime's folders`,
    cause,
  });
}
