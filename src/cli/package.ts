/** The package that this program was started from. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { packageRoot } from "../lab/runtime.ts";

export function packageVersion(): string {
  return (JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8")) as { readonly version: string })
    .version;
}
