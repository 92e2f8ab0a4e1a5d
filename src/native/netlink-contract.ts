/** The part of the addon's contract that is rtnetlink: rows as the kernel has them, changes of them, and what is told of changes by others. */
import type { Handle } from "./handle.ts";

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

export interface NetlinkBinding {
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
}
