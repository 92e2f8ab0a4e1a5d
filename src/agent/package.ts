/** The package that this agent was started from: its version, and whether it was built. */
import { access, readFile } from "node:fs/promises";
import { join } from "node:path";
import { TandemError } from "../lib/errors.ts";
import { packageRoot } from "../native/index.ts";

export async function packageVersion(): Promise<string> {
  const text = await readFile(join(packageRoot(), "package.json"), "utf8");
  return (JSON.parse(text) as { readonly version: string }).version;
}

const objects = ["pod.bpf.o", "network.bpf.o", "wire.bpf.o", "sock.bpf.o"];

/** @throws TandemError NOT_BUILT naming the first one that is missing */
export async function requireObjects(folder: string): Promise<void> {
  for (const name of objects) {
    const path = join(folder, name);
    await access(path).catch((cause: unknown) => {
      throw new TandemError({
        code: "NOT_BUILT",
        object: path,
        message: "this eBPF object is missing",
        remedy: "npm run build:bpf, or set `objects` to the folder that holds it",
        cause,
      });
    });
  }
}
