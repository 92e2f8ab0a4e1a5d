/**
 * The whole contract with the C++ addon, as plain data: what it offers, nothing of what it is used for.
 *
 * Conventions: `null` means not set and every key is always sent; handles are opaque numbers of this binding instance
 * (closing one twice is an error); bytes are Buffers; a promise is returned wherever the kernel may block, and the work
 * then runs off the event loop. Failures reject with a NativeFailure (below), never with a bare string; functions without a
 * promise throw it. Numbers are whole and in range, bytes have the size that the object has: else EINVAL, nothing is cut or wrapped.
 * Addresses are raw bytes (4 or 16, network order). `netns` is a path (/run/netns/x, /proc/1/ns/net) or null for the
 * agent's own namespace; with a path the operation runs on a thread of its own inside that namespace.
 */
import type { DnsBinding } from "./dns-contract.ts";
import type { ProbeBinding } from "./probe-contract.ts";

/** What every rejected call carries; `src/native/errors.ts` turns it into a NativeError. */
export interface NativeFailure extends Error {
  /** Symbolic errno ("EEXIST", "EPERM"), or "EINVAL" for arguments refused before the kernel saw them. */
  readonly code: string;
  /** errno number, 0 if none. */
  readonly errno: number;
  /** The operation, in the words of an operator: "attach from_pod to". The message is operation, object, errno and log in one. */
  readonly operation: string;
  /** The object it was done to: "tdm3f2a (ifindex 12)", "ct4 (262144 entries at most)". */
  readonly object: string;
  /** Verifier or extended-ack text, null if none. */
  readonly log: string | null;
}

export type Handle = number;

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

export interface LinkRow {
  readonly index: number;
  readonly name: string;
  /** rtnetlink kind: "veth", "bridge", "tun", "vxlan", "" for physical and loopback. */
  readonly kind: string;
  readonly mtu: number;
  /** IFF_* flags; up = 1. */
  readonly flags: number;
  /** ARPHRD_*: 1 Ethernet, 772 loopback, 768 ipip, 65534 none (tun). */
  readonly type: number;
  /** Hardware address, empty for L3 devices. */
  readonly address: Buffer;
  readonly operstate: number;
  /** Index of the peer (veth), 0 if none. */
  readonly peerIndex: number;
  readonly master: number;
  readonly alias: string;
}

export interface AddressRow {
  readonly index: number;
  readonly family: 4 | 6;
  readonly address: Buffer;
  readonly prefixLength: number;
  readonly scope: number;
  readonly flags: number;
}

export interface NextHopRow {
  readonly gateway: Buffer | null;
  readonly index: number;
  readonly weight: number;
}

export interface RouteRow {
  readonly family: 4 | 6;
  /** Raw address, all zero with prefixLength 0 for a default route. */
  readonly destination: Buffer;
  readonly prefixLength: number;
  readonly table: number;
  /** RTPROT_*: 2 kernel, 3 boot, 4 static, 17 kube-router, 158 Tandem. */
  readonly protocol: number;
  readonly scope: number;
  /** RTN_*: 1 unicast, 2 local, 6 blackhole, 7 unreachable. */
  readonly type: number;
  readonly metric: number;
  readonly source: Buffer | null;
  /** Empty for routes without device (blackhole). */
  readonly nextHops: readonly NextHopRow[];
  readonly mtu: number | null;
}

export interface RuleRow {
  readonly family: 4 | 6;
  readonly priority: number;
  readonly table: number;
  readonly source: Buffer | null;
  readonly sourceLength: number;
  readonly mark: number;
  readonly mask: number;
  readonly iif: string;
  readonly action: number;
}

export interface NeighbourRow {
  readonly index: number;
  readonly family: 4 | 6;
  readonly address: Buffer;
  readonly lladdr: Buffer;
  /** NUD_*: 0x80 permanent. */
  readonly state: number;
}

export interface VethRequest {
  readonly name: string;
  readonly peerName: string;
  /** Namespace for the peer end. */
  readonly peerNetns: string;
  readonly mtu: number;
  readonly mac: Buffer | null;
  readonly peerMac: Buffer | null;
  /** ifalias of the host end, "" for none. */
  readonly alias: string;
}

/** One change, many in a batch: netlink sends them in as few messages as fit. `replace` adds `NLM_F_REPLACE|CREATE`. */
export type NetlinkChange =
  | {
      readonly kind: "route";
      readonly op: "add" | "replace" | "delete";
      readonly route: RouteRow;
      readonly onlink: boolean;
    }
  | {
      readonly kind: "address";
      readonly op: "add" | "replace" | "delete";
      readonly address: AddressRow;
      readonly nodad: boolean;
    }
  | { readonly kind: "rule"; readonly op: "add" | "delete"; readonly rule: RuleRow }
  | { readonly kind: "neighbour"; readonly op: "add" | "replace" | "delete"; readonly neighbour: NeighbourRow }
  | { readonly kind: "link"; readonly op: "delete"; readonly index: number }
  | {
      readonly kind: "link";
      readonly op: "set";
      readonly index: number;
      readonly up: boolean | null;
      readonly mtu: number | null;
      readonly name: string | null;
      readonly master: number | null;
      readonly alias: string | null;
      /** IPv4 packets from addresses of this host may come in by it (accept_local). Not set: as it was. */
      readonly acceptLocal?: boolean;
    };

export interface NetlinkChangeFailure {
  /** Position in the batch. */
  readonly at: number;
  readonly code: string;
  readonly errno: number;
  readonly log: string | null;
}

export type NetlinkEvent =
  | { readonly kind: "link"; readonly gone: boolean; readonly row: LinkRow }
  | { readonly kind: "address"; readonly gone: boolean; readonly row: AddressRow }
  | { readonly kind: "route"; readonly gone: boolean; readonly row: RouteRow }
  | { readonly kind: "rule"; readonly gone: boolean; readonly row: RuleRow }
  | { readonly kind: "neighbour"; readonly gone: boolean; readonly row: NeighbourRow }
  /** Events were lost (ENOBUFS): list everything again. Also sent once when the monitor is subscribed. */
  | { readonly kind: "resync" };

export type NetlinkGroup = "link" | "address" | "route" | "rule" | "neighbour";

export interface Features {
  /** Each probe really tried the thing on this kernel; `detail` says what failed. */
  readonly [name: string]: { readonly supported: boolean; readonly detail: string };
}

export interface NativeBinding extends DnsBinding, ProbeBinding {
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

  /* ---- netlink ---- */
  links(netns: string | null): Promise<readonly LinkRow[]>;
  addresses(netns: string | null): Promise<readonly AddressRow[]>;
  /** table null: all tables (local table included). */
  routes(
    netns: string | null,
    filter: { readonly family: 4 | 6 | null; readonly table: number | null; readonly protocol: number | null },
  ): Promise<readonly RouteRow[]>;
  rules(netns: string | null): Promise<readonly RuleRow[]>;
  neighbours(netns: string | null): Promise<readonly NeighbourRow[]>;
  /** Applies all, in order, continuing after failures; returns the failures. */
  applyNetlink(netns: string | null, changes: readonly NetlinkChange[]): Promise<readonly NetlinkChangeFailure[]>;
  createVeth(
    netns: string | null,
    request: VethRequest,
  ): Promise<{ readonly index: number; readonly peerIndex: number }>;
  /** Starts a monitor thread; events come in batches. An event says what is true of one row; after "resync" no event is older than it.
   * `receiveBytes`: room for events that wait to be read, 4 MiB if not given (tests make it small to see an overrun). */
  openMonitor(
    netns: string | null,
    groups: readonly NetlinkGroup[],
    onEvents: (events: readonly NetlinkEvent[]) => void,
    receiveBytes?: number | null,
  ): Handle;
  closeMonitor(monitor: Handle): Promise<void>;

  /* ---- namespaces, sockets, processes ---- */
  /** Cookie (SO_NETNS_COOKIE) of a network namespace. */
  netnsCookie(netns: string | null): Promise<bigint>;
  /** Sets sysctls inside a namespace: "net.ipv4.ip_forward" -> "1" (with "/" where a device's name has a dot). Stops at the first failure. */
  writeSysctls(
    netns: string | null,
    values: readonly { readonly name: string; readonly value: string }[],
  ): Promise<void>;
  /** A listening or bound socket made inside a namespace, handed over as a descriptor for node:net / node:dgram. An IPv6 socket
   * takes IPv6 only. */
  openSocket(
    netns: string | null,
    options: {
      readonly type: "tcp" | "udp";
      readonly address: Buffer;
      readonly port: number;
      readonly transparent: boolean;
      readonly mark: number | null;
      readonly reusePort: boolean;
      readonly listen: number | null;
    },
  ): Promise<{ readonly fd: number; readonly port: number }>;
  /**
   * TCP and UDP flows of the kernel's conntrack that somebody answered and that rules lead to another destination, as the map kernel_flow
   * would know them: a key for each direction, one after the other. Rejects where the kernel lists none (no nf_conntrack_netlink).
   */
  redirectedFlows(netns: string | null): Promise<Buffer>;
  /** UDP sockets of a namespace that are connected, as the map sock_reverse would know them: its keys, one after the other. */
  connectedDatagramSockets(netns: string | null): Promise<Buffer>;
  /**
   * Ends UDP sockets of a namespace that are connected to `address` (16 bytes, IPv4 mapped) and `port` and have that SO_COOKIE
   * (sock_diag(7), SOCK_DESTROY): their owners are told ECONNABORTED once, then they are sockets that are not connected. Those that are
   * not there are passed over. @returns how many; EOPNOTSUPP on a kernel without CONFIG_INET_DIAG_DESTROY
   */
  destroyDatagramSockets(
    netns: string | null,
    targets: readonly { readonly cookie: bigint; readonly address: Buffer; readonly port: number }[],
  ): Promise<number>;
  setSocketMark(fd: number, mark: number): void;
  setTransparent(fd: number): void;
  /** SO_ORIGINAL_DST / the local address of a transparently accepted connection. 4 bytes also on a dual-stack socket. */
  originalDestination(fd: number): { readonly address: Buffer; readonly port: number };
  closeFd(fd: number): void;
  /** Uid and pid of the peer of a unix socket (SO_PEERCRED). */
  peerCredentials(fd: number): { readonly pid: number; readonly uid: number; readonly gid: number };
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
