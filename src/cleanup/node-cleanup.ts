/**
 * Takes off a node what Tandem left there: an agent that ends leaves everything at work, so its end is no uninstallation. In an order that opens
 * nothing: the runtime's configuration first, so that no pod comes; pods' devices next, since a pod whose programs are gone would talk
 * without policy; then programs, maps, routes and files.
 */
import { isProxyRule, loopbackTakesLocal } from "../datapath/proxy-routes.ts";
import { removeTproxyTable } from "../datapath/tproxy-table.ts";
import { execFile } from "node:child_process";
import { rm, rmdir } from "node:fs/promises";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { AgentLock } from "../agent/lock.ts";
import { Installation, pluginOf } from "../cni/install/index.ts";
import type { AgentConfig } from "../config/index.ts";
import { systemClock } from "../lib/clock.ts";
import { messageOf, TandemError } from "../lib/errors.ts";
import { addressFromBytes } from "../model/ip.ts";
import type { NetlinkChange } from "../native/netlink-contract.ts";
import { packageRoot } from "../native/index.ts";
import type { RunTool } from "../native/run-tool.ts";
import { type CleanupNative, findLeftovers, type Leftovers } from "./leftovers.ts";

export interface CleanupOptions {
  readonly native: CleanupNative;
  readonly run: RunTool;
  readonly config: AgentConfig;
  /** Says what it would do and does nothing. */
  readonly dryRun: boolean;
  /** Pods that are still wired lose their network; without, they are a reason to refuse. */
  readonly pods: boolean;
}

export interface CleanupStep {
  readonly what:
    | "CNI configuration"
    | "pod"
    | "filters"
    | "pin"
    | "nftables"
    | "rule"
    | "setting"
    | "route"
    | "mount"
    | "folder"
    | "file";
  readonly object: string;
  /** Done, or with `dryRun` to be done: "removed", "given back"; or why not. */
  readonly outcome: string;
  readonly failed: boolean;
}

/**
 * Doing it again does what is left.
 * @returns what was there, in the order in which it goes
 * @throws TandemError AGENT_RUNNING, PODS_WIRED; what the kernel refuses is a step that failed
 */
export async function cleanUpNode(options: CleanupOptions): Promise<readonly CleanupStep[]> {
  const { config, dryRun, native, run } = options;
  const taken: AgentLock[] = [];
  try {
    for (const folder of new Set([config.bpffs, config.stateDir])) {
      const lock = new AgentLock(folder, { pid: process.pid, socket: "no socket: it cleans up" });
      await lock.take();
      taken.push(lock);
    }
    const found = await findLeftovers(native, run, config);
    if (!dryRun && !options.pods && found.podDevices.length > 0) throw podsWired(found);
    const steps = [...(await giveRuntimeBack(options))];
    for (const work of plan(found, native, run)) steps.push(await finish(work, dryRun));
    if (!dryRun) for (const folder of [config.stateDir, dirname(config.socket)]) await removeIfEmpty(folder);
    return steps;
  } finally {
    for (const lock of taken) await lock.release();
  }
}

async function giveRuntimeBack({ config, dryRun }: CleanupOptions): Promise<readonly CleanupStep[]> {
  const what = "CNI configuration";
  const installation = new Installation({ plugin: pluginOf(packageRoot()), config, clock: systemClock });
  const steps = (paths: readonly string[], outcome: string) =>
    paths.map((object) => ({ what, object, outcome, failed: false }) as const);
  if (dryRun) {
    const { files, backups } = await installation.state();
    const ours = files.filter(({ state }) => state === "ours").map(({ path }) => path);
    return [...steps(ours, "removed"), ...steps(backups, "given back")];
  }
  const { removed, restored, left } = await installation.uninstall(false);
  return [
    ...steps(removed, "removed"),
    ...steps(restored, "given back"),
    ...steps(left, "left: somebody else changed it, or took its name"),
  ];
}

interface Work {
  readonly what: CleanupStep["what"];
  readonly object: string;
  readonly run: () => Promise<unknown>;
}

function* plan(found: Leftovers, native: CleanupNative, run: RunTool): Iterable<Work> {
  const { bpffs } = found;
  const change = async (each: NetlinkChange) => {
    const [failure] = await native.applyNetlink(null, [each]);
    // It went by itself meanwhile, as a pod's device does with its pod.
    if (failure !== undefined && !["ENODEV", "ENOENT", "ESRCH"].includes(failure.code))
      throw new Error(failure.log ?? failure.code);
  };
  for (const { name, alias, index } of found.podDevices) {
    const object = `${alias.slice(alias.indexOf(":") + 1)}, device ${name}`;
    yield { what: "pod", object, run: () => change({ kind: "link", op: "delete", index }) };
  }
  for (const { name, index } of found.filtered) {
    const device = { index, netns: null };
    const detach = (hook: "ingress" | "egress") => native.detachTc(device, hook, "clsact", null);
    yield { what: "filters", object: name, run: async () => [await detach("ingress"), await detach("egress")] };
  }
  for (const path of found.pins) yield { what: "pin", object: path, run: () => removeAll(path) };
  // Programs that mark packets for it are gone.
  for (const object of found.nftTables) yield { what: "nftables", object, run: () => removeTproxyTable(run) };
  for (const rule of found.rules) {
    const object = `${rule.priority}: from all iif ${rule.iif} lookup ${rule.table}, IPv${rule.family}`;
    yield { what: "rule", object, run: () => change({ kind: "rule", op: "delete", rule }) };
    // What the rule needed of lo.
    if (isProxyRule(rule) && rule.family === 4)
      yield { what: "setting", object: "accept_local of lo", run: () => change(loopbackTakesLocal(false)) };
  }
  for (const route of found.routes) {
    const object = `${textOf(route.destination)}/${route.prefixLength} in table ${route.table}`;
    yield { what: "route", object, run: () => change({ kind: "route", op: "delete", route, onlink: false }) };
  }
  // Node has no such call, and every distribution has the command.
  if (bpffs?.mounted === true)
    yield { what: "mount", object: bpffs.path, run: () => promisify(execFile)("umount", [bpffs.path]) };
  if (bpffs !== null) yield { what: "folder", object: bpffs.path, run: () => rmdir(bpffs.path) };
  for (const path of found.files) yield { what: "file", object: path, run: () => removeAll(path) };
}

async function finish({ what, object, run }: Work, dryRun: boolean): Promise<CleanupStep> {
  try {
    if (!dryRun) await run();
    return { what, object, outcome: "removed", failed: false };
  } catch (error) {
    return { what, object, outcome: `not removed: ${messageOf(error)}`, failed: true };
  }
}

function removeAll(path: string): Promise<void> {
  return rm(path, { recursive: true, force: true });
}

/** What somebody else put there stays, and its folder with it; and one that is mounted into a container stays on the node, empty. */
async function removeIfEmpty(folder: string): Promise<void> {
  try {
    await rmdir(folder);
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    if (!["ENOENT", "ENOTEMPTY", "EBUSY", "EROFS"].includes(code)) throw error;
  }
}

function textOf(bytes: Buffer): string {
  return addressFromBytes(bytes).text;
}

function podsWired({ podDevices }: Leftovers): TandemError {
  const shown = podDevices.slice(0, 3).map(({ alias }) => alias.slice(alias.indexOf(":") + 1));
  const more = podDevices.length > shown.length ? ` and ${podDevices.length - shown.length} more` : "";
  return new TandemError({
    code: "PODS_WIRED",
    object: "this node",
    message: `${podDevices.length} pods have their network from Tandem: ${shown.join(", ")}${more}`,
    remedy: "drain the node first (kubectl drain), or cut these off with --pods; --dry-run shows what there is",
  });
}
