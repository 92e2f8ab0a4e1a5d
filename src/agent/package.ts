/** The package that this agent was started from: its version, and where its built objects are. */
import { access, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { TandemError } from "../lib/errors.ts";

export async function packageVersion(): Promise<string> {
  let folder = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const text = await readFile(join(folder, "package.json"), "utf8").catch(() => null);
    if (text !== null) return (JSON.parse(text) as { readonly version: string }).version;
    const parent = dirname(folder);
    if (parent === folder) return "unknown";
    folder = parent;
  }
}

const objects = ["pod.bpf.o", "network.bpf.o", "sock.bpf.o"];

/** @throws TandemError NOT_BUILT naming the first one that is missing */
export async function requireObjects(folder: string): Promise<void> {
  for (const name of objects) {
    const path = join(folder, name);
    await access(path).catch((cause: unknown) => {
      throw new TandemError({
        code: "NOT_BUILT",
        object: path,
        message: "this eBPF object is missing",
        remedy: "npm run build, or set `objects` to the folder that holds it",
        cause,
      });
    });
  }
}
