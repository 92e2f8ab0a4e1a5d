/** The part of the addon's contract that is eBPF: objects, programs and their hooks, maps, ring buffers. */
import type { Handle } from "./handle.ts";

export interface RodataValue {
  /** Name of a `const volatile` variable of the object. */
  readonly variable: string;
  readonly bytes: Buffer;
}

export interface LoadOptions {
  /** Path of the .bpf.o. */
  readonly path: string;
  /** bpffs folder where maps marked LIBBPF_PIN_BY_NAME are found or pinned; null: no pinning (tests). */
  readonly pinPath: string | null;
  readonly rodata: readonly RodataValue[];
  /** Other sizes than the object declares. */
  readonly maxEntries: readonly { readonly map: string; readonly entries: number }[];
  /** Programs not to load (features the kernel lacks). Names that the object has not are passed over, in the next two as well. */
  readonly skipPrograms: readonly string[];
  /** Maps taken from another loaded object (name -> map handle) instead of created: how tests share maps without pins. */
  readonly reuseMaps: readonly { readonly map: string; readonly handle: Handle }[];
}

export interface LoadedObject {
  readonly object: Handle;
  readonly programs: readonly {
    readonly name: string;
    readonly type: number;
    readonly handle: Handle;
    readonly id: number;
    readonly instructions: number;
  }[];
  readonly maps: readonly MapInfo[];
}

export interface MapInfo {
  readonly name: string;
  readonly handle: Handle;
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly id: number;
}

/**
 * Result of a batch of map writes: how many entries, from the front, are as asked. Updates: fewer than given means that the next
 * one failed; calling again from there rejects with the reason, as a failure of the first entry does. Deletes: an entry that is not
 * there counts as done, any failure rejects (deleting again does no harm).
 */
export interface BatchResult {
  readonly done: number;
}

/** How a tc program is attached; `tcx` on 6.6+, `clsact` (direct action, priority 1, handle 1) elsewhere. */
export type TcMode = "tcx" | "clsact";

export interface TestRunResult {
  readonly retval: number;
  /** Mean of all repeats, ns. */
  readonly durationNs: number;
  readonly data: Buffer;
  /** struct __sk_buff after the run, null for XDP. */
  readonly context: Buffer | null;
}

export interface Features {
  /** Each probe really tried the thing on this kernel; `detail` says what failed. */
  readonly [name: string]: { readonly supported: boolean; readonly detail: string };
}

/** Seconds without a packet after which an entry is forgotten. Defaults in `src/config`. */
export interface ConntrackTimeouts {
  readonly tcpOpening: number;
  readonly tcpEstablished: number;
  readonly tcpClosing: number;
  readonly udpUnreplied: number;
  readonly udpReplied: number;
  readonly icmp: number;
  readonly other: number;
  readonly service: number;
}

export interface BpfBinding {
  /* ---- bpf: objects, programs, links ---- */
  loadObject(options: LoadOptions): Promise<LoadedObject>;
  closeObject(object: Handle): void;
  /** Pins a program on bpffs: it stays loaded after this process. EEXIST: there is a pin already. */
  pinProgram(program: Handle, path: string): Promise<void>;
  /** Opens pinned programs; `name` is what the caller calls it. Its `maps` are empty; `closeObject` closes it. */
  openPrograms(programs: readonly { readonly name: string; readonly path: string }[]): Promise<LoadedObject>;
  /** Attaches to a device. With `pin` the link (tcx, xdp, cgroup) is pinned there: if a link to this device and hook is pinned
   * already its program is replaced atomically (BPF_LINK_UPDATE) and "updated" is returned; a pin whose device is gone or another
   * one is replaced. Without a pin the link lives as long as this environment, and is replaced likewise. clsact filters are
   * replaced in place. */
  attachTc(
    program: Handle,
    device: { readonly index: number; readonly netns: string | null },
    hook: "ingress" | "egress",
    mode: TcMode,
    pin: string | null,
  ): Promise<"attached" | "updated">;
  detachTc(
    device: { readonly index: number; readonly netns: string | null },
    hook: "ingress" | "egress",
    mode: TcMode,
    pin: string | null,
  ): Promise<void>;
  attachXdp(
    program: Handle,
    device: { readonly index: number; readonly netns: string | null },
    mode: "native" | "generic",
    pin: string | null,
  ): Promise<"attached" | "updated">;
  /** attachType: BPF_CGROUP_* number. */
  attachCgroup(
    program: Handle,
    cgroup: string,
    attachType: number,
    pin: string | null,
  ): Promise<"attached" | "updated">;
  /** Removes a pin (detaching a link whose last reference it was). Missing is not an error. */
  unpin(path: string): Promise<void>;
  /** Runs a program on a packet (BPF_PROG_TEST_RUN). context: bytes of struct __sk_buff or xdp_md, null for none; the devices and
   * routes that it names are those of `netns`. */
  testRun(
    program: Handle,
    packet: Buffer,
    context: Buffer | null,
    repeat: number,
    netns?: string | null,
  ): Promise<TestRunResult>;
  /** Tries the features that the datapath chooses by: tcx, btf (the kernel's own types), redirect_peer, redirect_neigh, fib_lookup,
   * ktime_coarse, sk_assign, ringbuf, lru_hash, lpm_trie, batch (hash maps), batch_lpm, bpf_link_cgroup, cgroup_connect,
   * cgroup_sendmsg, cgroup_recvmsg, cgroup_getpeername, xdp. `detail` tells missing privileges from missing features. */
  probeFeatures(): Promise<Features>;
  /** Mounts bpffs on an existing folder unless it is one already. */
  mountBpffs(path: string): Promise<"mounted" | "present">;

  /* ---- bpf: maps ---- */
  /** `name` is the pin's where that goes on from the kernel's, which is cut to 15 characters. */
  openPinnedMap(path: string): MapInfo;
  closeMap(map: Handle): void;
  /** The raw BTF type ids and sizes of a pinned map, for the layout check: null without BTF. */
  mapBtf(map: Handle): {
    readonly keyType: string;
    readonly valueType: string;
    readonly members: readonly {
      readonly of: string;
      readonly name: string;
      readonly offsetBits: number;
      readonly sizeBits: number;
    }[];
  } | null;
  /** Value (per-CPU: all CPUs' values, each rounded up to 8 bytes, one after the other), or null. */
  mapLookup(map: Handle, key: Buffer): Buffer | null;
  /** flags: 0 any, 1 create only, 2 exist only. */
  mapUpdate(map: Handle, key: Buffer, value: Buffer, flags: number): void;
  mapDelete(map: Handle, key: Buffer): boolean;
  /** keys and values are entries laid end to end. Uses BPF_MAP_UPDATE_BATCH where the kernel has it for this type. */
  mapUpdateBatch(map: Handle, keys: Buffer, values: Buffer, count: number): Promise<BatchResult>;
  mapDeleteBatch(map: Handle, keys: Buffer, count: number): Promise<BatchResult>;
  /**
   * Which backend has which slot, as the map `maglev` has it: whole chunks, a slot one byte, or two where there are more than 256 backends. The same for
   * the same backends in any order, each being named by its place in the list.
   * @param backends struct service_backend end to end
   * @param weights of each, 1-65535; null: all the same
   * @param slots a prime up to 131,071, see `maglevSlots`
   */
  maglevTable(backends: Buffer, weights: Uint16Array | null, slots: number): Buffer;
  /** Everything, entries end to end. Uses lookup_batch where possible; otherwise get_next_key. */
  mapDump(map: Handle): Promise<{ readonly keys: Buffer; readonly values: Buffer; readonly count: number }>;
  /** Walks a conntrack map and deletes entries idle for longer than their state's time-out, in slices that yield;
   * `timeouts` in seconds. Off the event loop. */
  sweepConntrack(
    map: Handle,
    timeouts: ConntrackTimeouts,
  ): Promise<{ readonly seen: number; readonly deleted: number }>;
  /** The same of a map of translated sources (nat4, nat6): both entries of a flow go together, by the state of its initiator's. */
  sweepNat(map: Handle, timeouts: ConntrackTimeouts): Promise<{ readonly seen: number; readonly deleted: number }>;

  /* ---- bpf: events ---- */
  /** Records of a ring buffer map, `recordSize` bytes each (others are passed over), end to end in one Buffer per call, at most 1024:
   * each `intervalMs` or when the kernel wakes the reader. While 16 calls wait for JavaScript nothing is read, so the loss is
   * where the program counts it. closeRing delivers what was read and then resolves; nothing is called after that. */
  openRing(
    map: Handle,
    recordSize: number,
    intervalMs: number,
    onBatch: (records: Buffer, count: number) => void,
  ): Handle;
  closeRing(ring: Handle): Promise<void>;
}
