/** Manifests as tables, read as the agent reads them. */
import { TableStore } from "../../src/model/store.ts";
import { parseManifest } from "../../src/sources/files/parse-manifest.ts";
import { manifestTables, readObjects } from "../../src/sources/files/read-objects.ts";

/** Throws for a manifest that an agent would not take as it is. */
export function readManifests(...texts: readonly string[]): TableStore {
  const parsed = texts.map((text, index) => parseManifest(text, `${index}.yaml`));
  const { rows, problems } = readObjects(parsed.flatMap(({ objects }) => objects));
  const errors = [...parsed.flatMap(({ failure }) => failure ?? []), ...problems].filter(
    ({ severity }) => severity === "error",
  );
  if (errors.length > 0) throw new Error(JSON.stringify(errors, null, 2));
  const store = new TableStore();
  for (const table of manifestTables) store.replaceAll(table, rows[table]);
  return store;
}
