/** What Tandem has on a node when no agent runs: found by its names and places, so that it is found whatever is left of it. */
import { readdir, readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { bootFile } from "../api/boot-file.ts";
import { isPodDevice, tandemProtocol } from "../cni/wiring-plan.ts";
import type { AgentConfig } from "../config/index.ts";
import { DeviceReconciler } from "../datapath/devices.ts";
import { Pins } from "../datapath/pins.ts";
import { isProxyRule } from "../datapath/proxy-routes.ts";
import { isServiceRule } from "../datapath/service-routes.ts";
import { hasTproxyTable, tproxyTable } from "../datapath/tproxy-table.ts";
import type { NativeBinding } from "../native/contract.ts";
import type { LinkRow, RouteRow, RuleRow } from "../native/netlink-contract.ts";
import type { RunTool } from "../native/run-tool.ts";

export type CleanupNative = Pick<
  NativeBinding,
  | "links"
  | "routes"
  | "rules"
  | "applyNetlink"
  | "detachTc"
  | "openPinnedMap"
  | "closeMap"
  | "mapDump"
  | "mapUpdateBatch"
> &
  ConstructorParameters<typeof DeviceReconciler>[0];

export interface Leftovers {
  /** Paths on bpffs: links first, so that programs are off their hooks before what they read goes. */
  readonly pins: readonly string[];
  /** Folder of the pins; null: it is not there. */
  readonly bpffs: { readonly path: string; readonly mounted: boolean } | null;
  /** Uplinks whose programs are filters of clsact: a link would have a pin. */
  readonly filtered: readonly LinkRow[];
  /** The node's ends of pods that are wired. */
  readonly podDevices: readonly LinkRow[];
  readonly routes: readonly RouteRow[];
  /** Tables of nft. */
  readonly nftTables: readonly string[];
  /** They lead into our tables. */
  readonly rules: readonly RuleRow[];
  /** Files and folders of stateDir and beside the socket. */
  readonly files: readonly string[];
}

/** What the agent, the plugin and the installation of both keep in stateDir. */
const stateEntries = [
  "cni",
  "cni-deletes",
  "cni-install.json",
  "last-good",
  "identities.json",
  "cluster-identities.json",
  "names.json",
  "l7.json",
  "proxy",
] as const;

/** Order in which folders of pins go. */
const pinFolders = ["links", "programs", "maps"] as const;

/** The kernel puts these into every bpffs (since 5.9), and lets nobody remove them. */
const kernelsOwn: readonly string[] = ["maps.debug", "progs.debug"];

export async function findLeftovers(native: CleanupNative, run: RunTool, config: AgentConfig): Promise<Leftovers> {
  const pins = new Pins(config.bpffs);
  const links = await native.links(null);
  const [routes, rules, bpffs, pinned] = await Promise.all([
    native.routes(null, { family: null, table: null, protocol: tandemProtocol }),
    native.rules(null),
    findBpffs(pins.root),
    Promise.all(pinFolders.map((folder) => below(join(pins.root, folder)))),
  ]);
  return {
    pins: [...pinned.flat(), ...(await below(pins.root)).filter((path) => !kernelsOwn.includes(basename(path)))],
    bpffs,
    filtered: await findFiltered(native, pins, links),
    podDevices: links.filter(isPodDevice),
    nftTables: (await hasTproxyTable(run)) ? [tproxyTable] : [],
    // What leads to a pod's device goes with it.
    routes: routes.filter(({ nextHops }) => !nextHops.some(({ index }) => isPodDeviceAt(links, index))),
    rules: rules.filter((rule) => isServiceRule(rule) || isProxyRule(rule)),
    files: await findFiles(config),
  };
}

async function findFiltered(native: CleanupNative, pins: Pins, links: readonly LinkRow[]): Promise<readonly LinkRow[]> {
  if (!(await pins.hasMap("device"))) return [];
  const map = native.openPinnedMap(pins.mapPath("device"));
  try {
    const devices = new DeviceReconciler(native, map);
    await devices.table.read();
    const pinned = await pins.linkNames();
    const filtered = new Set(devices.known().filter((ifindex) => !pinned.has(`from_network-${ifindex}`)));
    return links.filter(({ index }) => filtered.has(index));
  } finally {
    native.closeMap(map.handle);
  }
}

function isPodDeviceAt(links: readonly LinkRow[], index: number): boolean {
  return links.some((link) => link.index === index && isPodDevice(link));
}

async function findBpffs(path: string): Promise<Leftovers["bpffs"]> {
  if ((await entries(path)) === null) return null;
  // proc_pid_mountinfo(5): the mount point is the fifth field, with blanks as \040.
  const mounts = (await readFile("/proc/self/mountinfo", "utf8")).split("\n").map((line) => line.split(" ")[4] ?? "");
  return { path, mounted: mounts.includes(path.replaceAll(" ", "\\040")) };
}

async function findFiles({ stateDir, socket }: AgentConfig): Promise<readonly string[]> {
  const state = new Set(await entries(stateDir));
  const run = new Set(await entries(dirname(socket)));
  return [
    ...stateEntries.filter((name) => state.has(name)).map((name) => join(stateDir, name)),
    ...[socket, bootFile(socket)].filter((path) => run.has(basename(path))),
  ];
}

async function below(folder: string): Promise<readonly string[]> {
  return ((await entries(folder)) ?? []).map((name) => join(folder, name));
}

/** null: there is no such folder. */
async function entries(folder: string): Promise<readonly string[] | null> {
  try {
    return await readdir(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return null;
    throw error;
  }
}
