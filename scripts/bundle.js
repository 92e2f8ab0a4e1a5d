/**
 * Bundles the processes of src/ into one file each below dist/: one file starts in half the time of many.
 * The addon stays outside: src/native finds it from the package root, so the bundles must live in dist/.
 */
import { build } from "esbuild";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

const processes = {
  tandem: "src/cli/main.ts",
  "tandem-agent": "src/agent/main.ts",
  "tandem-operator": "src/operator/main.ts",
  "tandem-proxy": "src/proxy/main.ts",
  "tandem-injector": "src/lab/injector/main.ts",
  "tandem-lab-kube": "src/lab/kube/main.ts",
  "tandem-pod-server": "src/lab/pod-server.ts",
};

const entryPoints = Object.fromEntries(
  Object.entries(processes)
    .filter(([, file]) => existsSync(join(root, file)))
    .map(([name, file]) => [name, join(root, file)]),
);

await build({
  entryPoints,
  outdir: join(root, "dist"),
  bundle: true,
  splitting: true,
  chunkNames: "chunks/[name]-[hash]",
  platform: "node",
  target: "node20",
  format: "esm",
  sourcemap: true,
  logLevel: "warning",
  // CommonJS packages inside an ES module still call require().
  banner: {
    js: 'import { createRequire as tandemCreateRequire } from "node:module"; const require = tandemCreateRequire(import.meta.url);',
  },
});
