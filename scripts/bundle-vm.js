/** Bundles test/vm/main.ts into one file: under software emulation, loading many is what takes the time. */
import { build } from "esbuild";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
await build({
  entryPoints: [join(root, "test/vm/main.ts")],
  outfile: join(root, "build/vm/main.js"),
  bundle: true,
  platform: "node",
  target: "node20",
  format: "esm",
  logLevel: "warning",
  banner: {
    js: 'import { createRequire as tandemCreateRequire } from "node:module"; const require = tandemCreateRequire(import.meta.url);',
  },
});
