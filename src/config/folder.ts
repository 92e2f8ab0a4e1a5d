/** A mounted ConfigMap: its files are links into a folder with a hidden name. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

/** Names and texts of its files; null: it is no folder. */
export function readConfigFolder(path: string): ReadonlyMap<string, string> | null {
  if (!statSync(path).isDirectory()) return null;
  const files = readdirSync(path).filter((name) => !name.startsWith(".") && statSync(join(path, name)).isFile());
  return new Map(files.map((name) => [name, readFileSync(join(path, name), "utf8")]));
}
