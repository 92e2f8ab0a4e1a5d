/** Files of the state folder: complete in their old text or in the new one, whenever the power goes, and for nobody but their owner. */
import { mkdir, open, rename } from "node:fs/promises";
import { dirname } from "node:path";

/** What a write that was cut short leaves behind: `path` with this. */
export const asideSuffix = ".next";

/** Durable when the promise resolves. Makes the folder. */
export async function replaceFile(path: string, text: string): Promise<void> {
  const folder = dirname(path);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const aside = await open(`${path}${asideSuffix}`, "w", 0o600);
  try {
    await aside.writeFile(text);
    await aside.sync();
  } finally {
    await aside.close();
  }
  await rename(`${path}${asideSuffix}`, path);
  const names = await open(folder, "r");
  try {
    await names.sync();
  } finally {
    await names.close();
  }
}
