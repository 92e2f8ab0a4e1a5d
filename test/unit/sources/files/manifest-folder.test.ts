import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { type LookOptions, ManifestFolder } from "../../../../src/sources/files/manifest-folder.ts";

test("a file that may be on its way back keeps what it said, and what was good of it, until it is gone", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "tandem-folder-"));
  t.teardown(() => rm(folder, { recursive: true }));
  const path = join(folder, "a.json");
  const namespace = (name: string) => JSON.stringify({ apiVersion: "v1", kind: "Namespace", metadata: { name } });
  await writeFile(path, namespace("shop"));
  const manifests = new ManifestFolder(folder, { now: () => 0 });
  const look = async (absence: ReturnType<LookOptions["absence"]>) => {
    const { readings, versions, changed } = await manifests.look({
      onFolder: () => undefined,
      readiness: () => "now",
      absence: () => absence,
    });
    return { objects: readings.map(({ object }) => object), kept: versions.size, changed };
  };
  t.deepEqual(await look("gone"), { objects: ["Namespace shop"], kept: 1, changed: true });
  await rm(path);
  t.deepEqual(await look("later"), { objects: ["Namespace shop"], kept: 1, changed: false });
  await writeFile(path, "{ broken");
  t.deepEqual(await look("gone"), { objects: ["Namespace shop"], kept: 1, changed: true });
  await rm(path);
  t.deepEqual(await look("gone"), { objects: [], kept: 0, changed: true });
});
