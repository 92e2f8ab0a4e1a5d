/**
 * A kernel in memory for the reconcilers: maps with sizes, a journal of every write in order, and failures on request. What it refuses and
 * how (E2BIG when full, what a batch reports) is what the addon does.
 */
import type { MapInfo } from "../../../src/native/bpf-contract.ts";
import type { NativeBinding } from "../../../src/native/contract.ts";
import type { RouteRow, RuleRow } from "../../../src/native/netlink-contract.ts";
import { loadNative, NativeError } from "../../../src/native/index.ts";
import { type MapName, mapLayouts } from "../../../src/native/layouts.gen.ts";

interface FakeMap {
  readonly info: MapInfo;
  readonly entries: Map<string, Buffer>;
}

export interface JournalEntry {
  readonly map: string;
  readonly op: "update" | "delete";
  readonly key: Buffer;
  readonly value: Buffer | null;
}

export type FakeNative = Pick<
  NativeBinding,
  | "mapDump"
  | "mapUpdate"
  | "mapUpdateBatch"
  | "mapDelete"
  | "mapDeleteBatch"
  | "mapLookup"
  | "maglevTable"
  | "attachTc"
  | "detachTc"
  | "unpin"
  | "links"
  | "routes"
  | "rules"
  | "applyNetlink"
  | "redirectedFlows"
  | "connectedDatagramSockets"
  | "destroyDatagramSockets"
>;

export class FakeKernel {
  readonly journal: JournalEntry[] = [];
  readonly links = new Map<string, number>();
  /** Devices that exist. */
  readonly devices = new Set<number>();
  /** "node 7": namespace and cookie of sockets that were to be ended. */
  readonly destroyed: string[] = [];
  /** Keys of kernel_flow; null: the kernel lists none. */
  redirected: readonly Buffer[] | null = [];
  /** By hexadecimal address and length. */
  readonly routes = new Map<string, RouteRow>();
  /** By family and device. */
  readonly rules = new Map<string, RuleRow>();
  readonly #maps = new Map<number, FakeMap>();
  readonly #byName = new Map<string, FakeMap>();
  /** Throws for what is to fail. */
  refuse: (entry: JournalEntry) => NativeError | null = () => null;

  constructor(sizes: Partial<Record<MapName, number>> = {}) {
    for (const [index, name] of (Object.keys(mapLayouts) as MapName[]).entries()) {
      const { layout } = mapLayouts[name];
      const { type, keySize, valueSize, flags, maxEntries } = layout;
      const info = {
        name,
        handle: index + 1,
        type,
        keySize,
        valueSize,
        flags,
        id: index + 1,
        maxEntries: sizes[name] ?? maxEntries,
      };
      const map = { info, entries: new Map<string, Buffer>() };
      this.#maps.set(info.handle, map);
      this.#byName.set(name, map);
    }
  }

  map = (name: MapName): MapInfo => this.#named(name).info;

  entries(name: MapName): ReadonlyMap<string, Buffer> {
    return this.#named(name).entries;
  }

  /** As somebody else would. */
  set(name: MapName, key: Buffer, value: Buffer): void {
    this.#named(name).entries.set(key.toString("latin1"), Buffer.from(value));
  }

  /** Every map's entries as text, to compare. */
  picture(): Readonly<Record<string, readonly string[]>> {
    return Object.fromEntries(
      [...this.#byName].map(([name, { entries }]) => [
        name,
        [...entries]
          .map(([key, value]) => `${Buffer.from(key, "latin1").toString("hex")} ${value.toString("hex")}`)
          .sort(),
      ]),
    );
  }

  readonly native: FakeNative = {
    mapDump: async (handle) => {
      const { entries } = this.#handle(handle);
      return {
        keys: Buffer.concat([...entries.keys()].map((key) => Buffer.from(key, "latin1"))),
        values: Buffer.concat([...entries.values()]),
        count: entries.size,
      };
    },
    mapLookup: (handle, key) => this.#handle(handle).entries.get(key.toString("latin1")) ?? null,
    mapUpdate: (handle, key, value) => this.#write(handle, key, value),
    mapUpdateBatch: async (handle, keys, values, count) => {
      const { keySize, valueSize } = this.#handle(handle).info;
      for (let index = 0; index < count; index++) {
        try {
          this.#write(
            handle,
            keys.subarray(index * keySize, (index + 1) * keySize),
            values.subarray(index * valueSize, (index + 1) * valueSize),
          );
        } catch (error) {
          if (index === 0) throw error;
          return { done: index };
        }
      }
      return { done: count };
    },
    mapDelete: (handle, key) => this.#delete(handle, key),
    mapDeleteBatch: async (handle, keys, count) => {
      const { keySize } = this.#handle(handle).info;
      let done = 0;
      for (let index = 0; index < count; index++) {
        if (this.#delete(handle, keys.subarray(index * keySize, (index + 1) * keySize))) done++;
      }
      return { done };
    },
    // No kernel is in that.
    maglevTable: loadNative().maglevTable,
    attachTc: async (program, device, _hook, _mode, pin) => {
      if (!this.devices.has(device.index)) throw failure("ENODEV", 19, "attach", `ifindex ${device.index}`);
      const before = this.links.has(pin ?? "");
      this.links.set(pin ?? "", program);
      return before ? "updated" : "attached";
    },
    detachTc: async (_device, _hook, _mode, pin) => void this.links.delete(pin ?? ""),
    unpin: async (path) => void this.links.delete(path),
    redirectedFlows: async () => {
      if (this.redirected === null) throw failure("EINVAL", 22, "list", "connections");
      return Buffer.concat(this.redirected);
    },
    // Every socket that was translated is there, in each namespace.
    connectedDatagramSockets: async () => {
      const { entries } = this.#named("sock_reverse");
      return Buffer.concat([...entries.keys()].map((key) => Buffer.from(key, "latin1")));
    },
    destroyDatagramSockets: async (netns, targets) => {
      for (const { cookie } of targets) this.destroyed.push(`${netns ?? "node"} ${cookie}`);
      return netns === null ? targets.length : 0;
    },
    routes: async (_netns, { table }) => [...this.routes.values()].filter((route) => route.table === table),
    rules: async () => [...this.rules.values()],
    applyNetlink: async (_netns, changes) =>
      changes.flatMap((change, at) => {
        if (change.kind === "rule") {
          const { family, iif } = change.rule;
          if (change.op === "add") this.rules.set(`${family} ${iif}`, change.rule);
          else this.rules.delete(`${family} ${iif}`);
          return [];
        }
        if (change.kind === "link" && change.op === "set") return [];
        if (change.kind !== "route") throw new Error(`no ${change.kind} here`);
        const { destination, prefixLength } = change.route;
        const text = `${destination.toString("hex")}/${prefixLength}`;
        if (change.op !== "delete") this.routes.set(text, change.route);
        else if (!this.routes.delete(text)) return [{ at, code: "ESRCH", errno: 3, log: null }];
        return [];
      }),
    links: async () =>
      [...this.devices].map((index) => ({ index }) as Awaited<ReturnType<NativeBinding["links"]>>[number]),
  };

  #write(handle: number, key: Buffer, value: Buffer): void {
    const { info, entries } = this.#handle(handle);
    if (key.length !== info.keySize || value.length !== info.valueSize)
      throw failure("EINVAL", 22, "write to map", info.name);
    const entry: JournalEntry = { map: info.name, op: "update", key: Buffer.from(key), value: Buffer.from(value) };
    const refused = this.refuse(entry);
    if (refused !== null) throw refused;
    const text = key.toString("latin1");
    if (!entries.has(text) && entries.size >= info.maxEntries) throw failure("E2BIG", 7, "write to map", info.name);
    entries.set(text, entry.value ?? value);
    this.journal.push(entry);
  }

  #delete(handle: number, key: Buffer): boolean {
    const { info, entries } = this.#handle(handle);
    this.journal.push({ map: info.name, op: "delete", key: Buffer.from(key), value: null });
    return entries.delete(key.toString("latin1"));
  }

  #named(name: string): FakeMap {
    const map = this.#byName.get(name);
    if (map === undefined) throw new Error(`no map ${name}`);
    return map;
  }

  #handle(handle: number): FakeMap {
    const map = this.#maps.get(handle);
    if (map === undefined) throw new Error(`no map of handle ${handle}`);
    return map;
  }
}

export function failure(code: string, errno: number, operation: string, object: string): NativeError {
  const plain = Object.assign(new Error(`${operation} ${object}: ${code}`), {
    code,
    errno,
    operation,
    object,
    log: null,
  });
  return new NativeError(plain);
}
