/** Small files that other processes read while they are written. */
import { rename, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/** Readers see the old text or the new one, never a part. The temporary name starts with a dot: folder watchers skip it. */
export async function writeAtomically(path: string, text: string): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
  await writeFile(temporary, text);
  await rename(temporary, path);
}
