/**
 * Loads the objects on the pinned maps: same maps, new programs. A map whose size was changed in the settings is replaced by a new one
 * with the same entries; a map that only counts, or that heals by itself, is made anew when its layout changed; with any other
 * change of layout the start fails, and the kernel goes on with what it has.
 *
 * A replaced map is pinned as `NAME-old` until every program uses the new one (`finish`), so that a crash on the way loses nothing.
 */
import { join } from "node:path";
import { type AgentConfig, portRange } from "../config/index.ts";
import { messageOf, TandemError } from "../lib/errors.ts";
import type { Logger } from "../model/logging.ts";
import type { Problem } from "../model/status.ts";
import type { LoadedObject, MapInfo, RodataValue } from "../native/bpf-contract.ts";
import type { NativeBinding } from "../native/contract.ts";
import type { Handle } from "../native/handle.ts";
import { u32, u64 } from "../native/layout.ts";
import { type MapName, mapLayouts, ProxyRedirect } from "../native/layouts.gen.ts";
import type { Capabilities, Redirect } from "./features.ts";
import { layoutChanged, layoutDifference } from "./layout-check.ts";
import { keyText, readEntries, writeEntries } from "./map-table.ts";
import type { Pins } from "./pins.ts";
import { programDigest, ProgramPins } from "./program-pins.ts";

export interface LoadedProgram {
  readonly name: string;
  readonly handle: Handle;
  readonly id: number;
}

/** Map types whose size is a choice: hash, LRU hash, LPM trie. */
const resizable: ReadonlySet<number> = new Set([1, 9, 11]);
/** May be lost: counters, settings that are written at start, ports of fragments on their way, events. */
const disposable: ReadonlySet<MapName> = new Set([
  "metrics",
  "events_lost",
  "service_flows",
  "drop_budget",
  "settings",
  "fragment",
  "events",
]);

const redirects: Readonly<Record<Redirect, number>> = {
  closed: ProxyRedirect.none,
  assign: ProxyRedirect.assign,
  tproxy: ProxyRedirect.tproxy,
};

const mapNames = Object.keys(mapLayouts) as MapName[];
const isMapName = (name: string): name is MapName => Object.hasOwn(mapLayouts, name);

export interface LoadOptions {
  readonly native: NativeBinding;
  readonly config: AgentConfig;
  readonly capabilities: Capabilities;
  readonly redirect: Redirect;
  readonly pins: Pins;
  readonly log: Logger;
}

export class LoadedObjects {
  readonly #options: LoadOptions;
  readonly #programPins: ProgramPins;
  readonly #objects: Handle[] = [];
  readonly #programs = new Map<string, LoadedProgram>();
  readonly #maps = new Map<MapName, MapInfo>();
  /** Maps that are being replaced. */
  readonly #replaced = new Map<MapName, MapInfo>();
  readonly problems: Problem[] = [];
  #sizes: ReadonlyMap<MapName, number> = new Map();

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#programPins = new ProgramPins(options.native, options.pins);
  }

  /**
   * The maps, and the small programs of the sockets with them.
   * @throws TandemError LAYOUT_CHANGED, LOAD_FAILED
   */
  async loadMaps(): Promise<void> {
    const { peerNames } = this.#options.capabilities;
    this.#sizes = await this.#prepareMaps();
    // Every object names every map; the first one to be loaded makes those that are not pinned yet.
    const netns = await this.#options.native.netnsCookie(null).catch(() => 0n); // Linux 5.14: it is not told before
    const rodata = [{ variable: "config_node_netns", bytes: u64.encode(netns) }];
    await this.#loadObject("sock", rodata, peerNames ? [] : ["sock_getpeername4", "sock_getpeername6"]);
    for (const [name, old] of this.#replaced) await this.#copy(name, old);
  }

  /**
   * The programs of devices: those of an agent before this one where they are the same, else new ones. The verifier takes its time with
   * these (from_pod: a second), on one CPU for each call: so each goes alone.
   * @throws TandemError LOAD_FAILED
   */
  async loadPrograms(): Promise<void> {
    await allSettledOrThrow([
      this.#provide("pod", ["from_pod"], ["to_pod"]),
      this.#provide("pod", ["to_pod"], ["from_pod"]),
      this.#provide("network", ["from_network", "to_network"], []),
      this.#provideWire(),
    ]);
  }

  /** null: the settings do without it, or this kernel does. */
  optionalProgram(name: string): LoadedProgram | null {
    return this.#programs.get(name) ?? null;
  }

  program(name: string): LoadedProgram {
    const program = this.#programs.get(name);
    if (program === undefined) throw new Error(`no object has a program ${name}`);
    return program;
  }

  map(name: MapName): MapInfo {
    const map = this.#maps.get(name);
    if (map === undefined) throw new Error(`no object has a map ${name}`);
    return map;
  }

  /** Every attached program uses the new maps now: what came into the old ones meanwhile is taken over, then they go. */
  async finish(): Promise<void> {
    const { native, pins } = this.#options;
    for (const [name, old] of this.#replaced) {
      await this.#copy(name, old);
      native.closeMap(old.handle);
      await native.unpin(pins.mapPath(oldName(name)));
    }
    this.#replaced.clear();
    await this.#programPins.removeOthers();
  }

  /** What is attached stays attached, what is pinned stays pinned. */
  close(): void {
    for (const object of this.#objects.splice(0)) this.#options.native.closeObject(object);
  }

  /** Checks what is pinned, moves aside what is to be replaced, and says which size each map is to have. */
  async #prepareMaps(): Promise<ReadonlyMap<MapName, number>> {
    const { native, config, pins, log } = this.#options;
    const sizes = this.#wantedSizes();
    for (const name of mapNames) {
      const { layout } = mapLayouts[name];
      const wanted = sizes.get(name) ?? layout.maxEntries;
      if (await pins.hasMap(name)) {
        const pinned = native.openPinnedMap(pins.mapPath(name));
        const difference = layoutDifference(layout, pinned, native.mapBtf(pinned.handle));
        native.closeMap(pinned.handle);
        if (difference !== null && !disposable.has(name)) {
          throw layoutChanged(pins.mapPath(name), config.bpffs, difference);
        }
        if (difference !== null || (pinned.maxEntries !== wanted && !resizable.has(layout.type))) {
          log.warn({ map: name, difference }, "a pinned map of another layout is made anew");
          await native.unpin(pins.mapPath(name));
        } else if (pinned.maxEntries !== wanted) {
          log.info({ map: name, from: pinned.maxEntries, to: wanted }, "a pinned map gets another size");
          await this.#finishInterrupted(name);
          await pins.renameMap(name, oldName(name));
        }
      }
      if (await pins.hasMap(oldName(name))) this.#replaced.set(name, native.openPinnedMap(pins.mapPath(oldName(name))));
    }
    return sizes;
  }

  /** A replacement that a crash interrupted is completed before the next one begins. */
  async #finishInterrupted(name: MapName): Promise<void> {
    const { native, pins } = this.#options;
    if (!(await pins.hasMap(oldName(name)))) return;
    const old = native.openPinnedMap(pins.mapPath(oldName(name)));
    const current = native.openPinnedMap(pins.mapPath(name));
    await this.#copyEntries(name, old, current);
    native.closeMap(old.handle);
    native.closeMap(current.handle);
    await native.unpin(pins.mapPath(oldName(name)));
  }

  #wantedSizes(): ReadonlyMap<MapName, number> {
    const sizes = new Map<MapName, number>();
    for (const [name, entries] of Object.entries(this.#options.config.mapSizes)) {
      if (isMapName(name) && resizable.has(mapLayouts[name].layout.type)) {
        sizes.set(name, entries);
        continue;
      }
      this.problems.push({
        code: "MAP_SIZE_UNKNOWN",
        severity: "warning",
        object: `mapSizes.${name}`,
        field: "",
        message: isMapName(name) ? "the size of this map cannot be chosen" : "there is no such map",
        remedy: `maps with sizes: ${mapNames.filter((map) => resizable.has(mapLayouts[map].layout.type)).join(", ")}`,
      });
    }
    return sizes;
  }

  #rodata(): readonly RodataValue[] {
    const { config, capabilities, redirect } = this.#options;
    const timeouts = config.conntrackTimeouts;
    const nodePorts = portRange(config.nodePortRange);
    const value = (variable: string, number: number) => ({ variable: `config_${variable}`, bytes: u32.encode(number) });
    return [
      value("redirect_peer", capabilities.redirectPeer ? 1 : 0),
      value("kernel_conntrack", capabilities.kernelConntrack ? 1 : 0),
      value("proxy_redirect", redirects[redirect]),
      value("masquerade_ipv4", config.masqueradeIpv4 ? 1 : 0),
      value("masquerade_ipv6", config.masqueradeIpv6 ? 1 : 0),
      value("dsr_tunnel", config.dsrDispatch === "ipip" ? 1 : 0),
      value("node_port_first", nodePorts.first),
      value("node_port_last", nodePorts.last),
      value("timeout_tcp_opening", timeouts.tcpOpening),
      value("timeout_tcp_established", timeouts.tcpEstablished),
      value("timeout_tcp_closing", timeouts.tcpClosing),
      value("timeout_udp_unreplied", timeouts.udpUnreplied),
      value("timeout_udp_replied", timeouts.udpReplied),
      value("timeout_icmp", timeouts.icmp),
      value("timeout_other", timeouts.other),
    ];
  }

  async #provide(object: string, names: readonly string[], skipped: readonly string[]): Promise<void> {
    const path = this.#objectPath(object);
    const rodata = this.#rodata();
    const digest = await programDigest({ path, rodata, maps: this.#maps.values() });
    const pinned = await this.#programPins.open(names, digest);
    if (pinned !== null) {
      this.#take(pinned);
      return;
    }
    await this.#loadObject(object, rodata, skipped);
    await this.#programPins.keep(
      names.map((name) => this.program(name)),
      digest,
    );
  }

  /** What it does from_network does too: without it the node is slower and complete. */
  async #provideWire(): Promise<void> {
    const { config, capabilities, log } = this.#options;
    if (config.xdp === "off" || !capabilities.xdp) return;
    await this.#provide("wire", ["from_wire"], []).catch((error: unknown) => {
      log.warn({ error: messageOf(error) }, "XDP is left out");
    });
  }

  #take(loaded: LoadedObject): void {
    this.#objects.push(loaded.object);
    for (const program of loaded.programs) this.#programs.set(program.name, program);
    for (const map of loaded.maps) {
      if (isMapName(map.name) && !this.#maps.has(map.name)) this.#maps.set(map.name, map);
    }
  }

  #objectPath(name: string): string {
    return join(this.#options.config.objects, `${name}.bpf.o`);
  }

  async #loadObject(name: string, rodata: readonly RodataValue[], skipPrograms: readonly string[]): Promise<void> {
    const { native, pins } = this.#options;
    const path = this.#objectPath(name);
    try {
      const loaded = await native.loadObject({
        path,
        pinPath: pins.maps,
        rodata,
        maxEntries: [...this.#sizes].map(([map, entries]) => ({ map, entries })),
        skipPrograms,
        reuseMaps: [],
      });
      this.#take(loaded);
    } catch (cause) {
      const { log } = cause as { readonly log?: unknown };
      const told = typeof log === "string" ? log.trim().split("\n").slice(-8).join("\n") : "";
      throw new TandemError({
        code: "LOAD_FAILED",
        object: path,
        message: `the kernel did not take the programs: ${messageOf(cause)}${told === "" ? "" : `\n${told}`}`,
        remedy: "build the objects of this version (npm run build:bpf); if they are, report the kernel and this text",
        cause,
      });
    }
  }

  async #copy(name: MapName, old: MapInfo): Promise<void> {
    await this.#copyEntries(name, old, this.map(name));
  }

  /** Only what is not there yet: what the new map has is newer. */
  async #copyEntries(name: MapName, from: MapInfo, to: MapInfo): Promise<void> {
    const { native, log } = this.#options;
    const there = new Set((await readEntries(native, to)).map(({ key }) => keyText(key)));
    const missing = (await readEntries(native, from)).filter(({ key }) => !there.has(keyText(key)));
    const failures = await writeEntries(native, to, missing, () => false);
    if (missing.length > 0) {
      log.info({ map: name, entries: missing.length - failures.size, left: failures.size }, "entries taken over");
    }
  }
}

/** The first failure, but only when all have ended: nothing goes on behind the back of who cleans up. */
export async function allSettledOrThrow(work: readonly Promise<unknown>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) if (result.status === "rejected") throw result.reason;
}

/** bpffs allows no dots in names. */
function oldName(name: MapName): string {
  return `${name}-old`;
}
