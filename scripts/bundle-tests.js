/**
 * Bundles all tests into build/tests, with what they share in chunks: a file that starts as one module takes a third of the processor time of one whose
 * hundreds of imports are each translated and resolved, and there are hundreds of files. `npx ava test/…` runs them as they are written.
 *
 * Modules keep the place that they are written at: `import.meta.url` and `.dirname` are those of the source.
 */
import { build } from "esbuild";
import { readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const outdir = join(root, "build/tests");

/** Says where a module was written. */
const places = {
  name: "places",
  setup({ onLoad }) {
    onLoad({ filter: /\/(src|test|bench|scripts)\/.*\.[jt]s$/ }, async ({ path }) => {
      const text = await readFile(path, "utf8");
      const contents = text
        .replaceAll("import.meta.url", JSON.stringify(pathToFileURL(path).href))
        .replaceAll("import.meta.dirname", JSON.stringify(dirname(path)))
        .replaceAll("import.meta.filename", JSON.stringify(path));
      return { contents, loader: path.endsWith(".ts") ? "ts" : "js" };
    });
  },
};

await rm(outdir, { recursive: true, force: true });
await build({
  absWorkingDir: root,
  entryPoints: ["test/**/*.test.ts"],
  outbase: "test",
  outdir,
  outExtension: { ".js": ".mjs" },
  bundle: true,
  splitting: true,
  chunkNames: "chunks/[name]-[hash]",
  packages: "external",
  platform: "node",
  target: "node20",
  format: "esm",
  sourcemap: "inline",
  sourcesContent: false,
  keepNames: true,
  logLevel: "warning",
  plugins: [places],
});
