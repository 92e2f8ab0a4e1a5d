/** How generators write: the file, or with --check only the word on whether it is up to date. */
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

export const root = join(dirname(fileURLToPath(import.meta.url)), "..");

export function readText(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

export function snakeToCamel(name: string): string {
  return name.toLowerCase().replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

export function snakeToPascal(name: string): string {
  const camel = snakeToCamel(name);
  return camel.slice(0, 1).toUpperCase() + camel.slice(1);
}

/** With --check nothing is written, and exit code 1 says that it should be. */
export function finish(topic: string, path: string, text: string): void {
  const script = relative(root, fileURLToPath(import.meta.url)).replace("generated.ts", `generate-${topic}.ts`);
  if (!process.argv.includes("--check")) {
    writeFileSync(join(root, path), text);
    console.log(`${topic}: ${path} written`);
    return;
  }
  let there = "";
  try {
    there = readText(path);
  } catch {
    // missing: as far from up to date as can be
  }
  if (there === text) {
    console.log(`${topic}: up to date`);
    return;
  }
  console.error(`${topic}: ${path} is not what its sources say; run: npx tsx ${script}`);
  process.exitCode = 1;
}
