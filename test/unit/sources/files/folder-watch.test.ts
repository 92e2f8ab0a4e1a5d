import { mkdir, rename, writeFile } from "node:fs/promises";
import test from "ava";
import { FolderWatch } from "../../../../src/sources/files/folder-watch.ts";
import { temporaryFolder, until } from "./support.ts";

function watchOf() {
  const events: string[] = [];
  const watch = new FolderWatch((kind, path) => events.push(`${kind} ${path?.split("/").at(-1)}`));
  return { watch, events };
}

test("a file that is renamed into its place is told by name only, one that is written by its content too", async (t) => {
  const folder = await temporaryFolder(t);
  await writeFile(`${folder}/.new`, "text");
  const { watch, events } = watchOf();
  t.teardown(() => watch.close());
  watch.add(folder, 1n);
  await rename(`${folder}/.new`, `${folder}/a.yaml`);
  await until("the name is told", () => events.includes("name a.yaml"));
  t.false(events.includes("content a.yaml"));
  await writeFile(`${folder}/a.yaml`, "more");
  await until("the content is told", () => events.includes("content a.yaml"));
});

test("a folder that was made anew in the same place is watched, and not the old one", async (t) => {
  const folder = `${await temporaryFolder(t)}/f`;
  await mkdir(folder);
  const { watch, events } = watchOf();
  t.teardown(() => watch.close());
  watch.add(folder, 1n);
  await rename(folder, `${folder}-old`);
  await mkdir(folder);
  watch.add(folder, 2n);
  await writeFile(`${folder}-old/old.yaml`, "");
  await writeFile(`${folder}/new.yaml`, "");
  await until("the new folder tells", () => events.includes("name new.yaml"));
  t.false(events.some((event) => event.includes("old.yaml")));
});

test("a folder that cannot be watched is told, until it can be or nobody asks for it", async (t) => {
  const folder = await temporaryFolder(t);
  const { watch } = watchOf();
  t.teardown(() => watch.close());
  watch.add(`${folder}/missing`, 1n);
  watch.add(folder, 1n);
  t.regex(watch.failure ?? "", /ENOENT.*missing/);
  await mkdir(`${folder}/missing`);
  watch.add(`${folder}/missing`, 1n);
  t.is(watch.failure, null);
  watch.add(`${folder}/other`, 1n);
  watch.retain(new Set([folder]));
  t.is(watch.failure, null);
});
