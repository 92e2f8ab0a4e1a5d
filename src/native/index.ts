/** The only door to the addon: finds it, loads it, and gives its failures a type. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { NativeBinding } from "./contract.ts";
import type { Handle } from "./handle.ts";
import type { NetlinkGroup } from "./netlink-contract.ts";
import { badArgument, NativeError, toNativeError } from "./errors.ts";
import { packChanges } from "./netlink-changes.ts";
import { EventSlices, readAddress, readLink, readNeighbour, readRows, readRule, RouteReader } from "./netlink-rows.ts";

export type * from "./bpf-contract.ts";
export type * from "./contract.ts";
export type * from "./handle.ts";
export type * from "./netlink-contract.ts";
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
  const raw = createRequire(import.meta.url)(file) as Record<string, Call>;
  const typedCalls = Object.fromEntries(Object.entries(raw).map(([name, call]) => [name, typed(call)]));
  return { ...typedCalls, ...netlinkCalls(typedCalls as unknown as PackedNetlink) } as unknown as NativeBinding;
}

type Call = (...args: unknown[]) => unknown;

/** The same function, with failures as NativeError, thrown or rejected. */
function typed(call: Call): Call {
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

type Netlink = Pick<
  NativeBinding,
  "links" | "addresses" | "routes" | "rules" | "neighbours" | "applyNetlink" | "openMonitor" | "closeMonitor"
>;

/** What the addon really takes and gives for these: bytes. */
type PackedNetlink = {
  readonly [Name in "links" | "addresses" | "routes" | "rules" | "neighbours"]: (
    ...args: Parameters<NativeBinding[Name]>
  ) => Promise<Buffer>;
} & {
  applyNetlink(netns: string | null, changes: Buffer): ReturnType<NativeBinding["applyNetlink"]>;
  openMonitor(
    netns: string | null,
    groups: readonly NetlinkGroup[],
    onEvents: (events: Buffer) => void,
    receiveBytes: number | null,
  ): Handle;
  closeMonitor: NativeBinding["closeMonitor"];
};

function netlinkCalls(raw: PackedNetlink): Netlink {
  const monitors = new Map<Handle, EventSlices>();
  return {
    links: async (netns) => readRows(await raw.links(netns), readLink),
    addresses: async (netns) => readRows(await raw.addresses(netns), readAddress),
    routes: async (netns, filter) => {
      const reader = new RouteReader();
      return readRows(await raw.routes(netns, filter), (from) => reader.read(from));
    },
    rules: async (netns) => readRows(await raw.rules(netns), readRule),
    neighbours: async (netns) => readRows(await raw.neighbours(netns), readNeighbour),
    applyNetlink: async (netns, changes) => raw.applyNetlink(netns, packChanges(changes)),
    openMonitor: (netns, groups, onEvents, receiveBytes = null) => {
      if (typeof onEvents !== "function") badArgument("onEvents must be a function");
      const slices = new EventSlices(onEvents);
      const monitor = raw.openMonitor(netns, groups, (events) => slices.take(events), receiveBytes);
      monitors.set(monitor, slices);
      return monitor;
    },
    closeMonitor: (monitor) => {
      monitors.get(monitor)?.end();
      monitors.delete(monitor);
      return raw.closeMonitor(monitor);
    },
  };
}
