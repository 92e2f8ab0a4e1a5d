/** The only door to the addon: finds it, loads it, and gives its failures a type. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { NativeBinding } from "./contract.ts";
import { NativeError, toNativeError } from "./errors.ts";

export type * from "./contract.ts";
export { NativeError };

/** The folder of package.json: the bundles in dist/ and the sources in src/ find the same one. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json"))) {
    const above = dirname(folder);
    if (above === folder) throw new Error(`no package.json above ${fileURLToPath(import.meta.url)}`);
    folder = above;
  }
  return folder;
}

/**
 * Loads the addon: `path`, else TANDEM_ADDON, else build/addon/Release/tandem.node of this package.
 * Errors: a plain Error that names the missing file and `npm run build:addon`; calls fail with NativeError.
 */
export function loadNative(path?: string): NativeBinding {
  const file = path ?? process.env.TANDEM_ADDON ?? join(packageRoot(), "build/addon/Release/tandem.node");
  if (!existsSync(file)) throw new Error(`the addon is not built: ${file} is missing; run npm run build:addon`);
  const raw = createRequire(import.meta.url)(file) as Record<string, (...args: unknown[]) => unknown>;
  const wrapped: Record<string, (...args: unknown[]) => unknown> = {};
  for (const [name, call] of Object.entries(raw)) wrapped[name] = typed(call);
  return wrapped as unknown as NativeBinding;
}

/** The same function, with failures as NativeError, thrown or rejected. */
function typed(call: (...args: unknown[]) => unknown): (...args: unknown[]) => unknown {
  return (...args) => {
    try {
      const result = call(...args);
      if (!(result instanceof Promise)) return result;
      return result.catch((error: unknown) => {
        throw toNativeError(error);
      });
    } catch (error) {
      throw toNativeError(error);
    }
  };
}
