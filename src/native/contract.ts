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
import type { BpfBinding } from "./bpf-contract.ts";
import type { DnsBinding } from "./dns-contract.ts";
import type { NetlinkBinding } from "./netlink-contract.ts";
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

export interface NativeBinding extends BpfBinding, NetlinkBinding, DnsBinding, ProbeBinding {
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
