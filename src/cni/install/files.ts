/** Files of folders that others own too: written aside and renamed, never overwritten unseen. */
import { createHash } from "node:crypto";
import { access, chmod, open, readdir, rename, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { TandemError } from "../../lib/errors.ts";

export interface FoundFile {
  readonly content: Buffer;
  /** Permissions, 0 to 0o7777. */
  readonly mode: number;
}

/** null: there is no such file. @throws TandemError CNI_INSTALL */
export async function readIfThere(path: string): Promise<FoundFile | null> {
  try {
    const file = await open(path, "r");
    try {
      const { mode } = await file.stat();
      return { content: await file.readFile(), mode: mode & 0o7777 };
    } finally {
      await file.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw failed(path, "cannot be read", error);
  }
}

/** Durable, and whole whenever somebody looks. @throws TandemError CNI_INSTALL */
export async function writeWhole(path: string, content: Buffer, mode: number): Promise<void> {
  const temporary = temporaryOf(path);
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

/** Where a write that a crash cut short leaves its part. */
export function temporaryOf(path: string): string {
  return join(dirname(path), `.${basename(path)}.tandem-new`);
}

/** @throws TandemError CNI_INSTALL */
export async function setMode(path: string, mode: number): Promise<void> {
  await chmod(path, mode).catch((error: unknown) => {
    throw failed(path, "cannot be given its mode", error);
  });
}

/** @throws TandemError CNI_INSTALL */
export async function moveFile(from: string, to: string): Promise<void> {
  await rename(from, to).catch((error: unknown) => {
    throw failed(from, `cannot be renamed to ${basename(to)}`, error);
  });
}

/** Missing is no error. @throws TandemError CNI_INSTALL */
export async function removeFile(path: string): Promise<void> {
  await unlink(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw failed(path, "cannot be removed", error);
  });
}

/** All but folders, sorted as runtimes sort; a folder that is missing has none. @throws TandemError CNI_INSTALL */
export async function namesIn(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw failed(folder, "cannot be read", error);
  });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map(({ name }) => name)
    .sort();
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
