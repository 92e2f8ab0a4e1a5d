/**
 * A node for its programs alone: a network namespace with the host sides of two pods, an uplink, a tunnel device and routes, the three
 * objects loaded without pins, and maps that tests fill. Packets go through BPF_PROG_TEST_RUN, so nothing is sent: what a
 * program says (its verdict), what it made of the packet and what it wrote into maps is all there is to see.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { promisify } from "node:util";
import type { NativeBinding } from "../../src/native/contract.ts";
import type { Handle } from "../../src/native/handle.ts";
import { loadNative, NativeError } from "../../src/native/index.ts";
import {
  type CtEntry,
  DeviceFlags,
  EndpointFlags,
  type Endpoint,
  type Event,
  event as eventCodec,
  IpcacheFlags,
} from "../../src/native/layouts.gen.ts";
import { bytesOf } from "./packets.ts";
import { type ParsedFrame, parseFrame } from "./packets-parse.ts";
import { type Flow, describeFlow4, describeFlow6 } from "./programs-flows.ts";
import { type Family, hostMac, who } from "./programs-frames.ts";
import { type DeviceName, loadObjects, makeDevices, rodata } from "./programs-load.ts";
import { ipv4Number, Maps, mapped, putIdentity } from "./programs-maps.ts";
import { upFor } from "./uptime.ts";

const run = promisify(execFile);

export type ProgramName = "from_pod" | "to_pod" | "from_network" | "to_network";

/** Who sees first what comes in by the uplink: tc alone, or from_wire (XDP) before it. */
export type Receive = "tc" | "xdp";

/** What tc does with the packet: 0 goes on to the stack, 2 drops, 7 redirects. */
export type Verdict = "stack" | "drop" | "redirect";
const verdicts: Readonly<Record<number, Verdict>> = { 0: "stack", 2: "drop", 7: "redirect" };
/** enum xdp_action. */
const [xdpPass, xdpTx] = [2, 3];

export interface RunResult {
  readonly verdict: Verdict;
  readonly frame: Buffer;
  readonly parsed: ParsedFrame;
  readonly mark: number;
}

export interface RunOptions {
  readonly device?: DeviceName;
  readonly mark?: number;
  readonly gsoSize?: number;
  readonly gsoSegments?: number;
  /** The node's own stack made the packet; else it came in by a device. */
  readonly ownStack?: boolean;
}

let count = 0;
let cleaned: Promise<void> | null = null;

/** A process that was killed could not clean up: namespaces that carry the number of a dead one are removed. */
async function removeStale(): Promise<void> {
  for (const name of await readdir("/run/netns").catch(() => [])) {
    const pid = /^tandem-prog-(\d+)-\d+$/.exec(name)?.[1];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    await run("ip", ["netns", "del", name]).catch(() => undefined); // another process was faster
  }
}

export class ProgramNode {
  readonly native: NativeBinding;
  readonly maps: Maps;
  readonly netns: string;
  readonly index: Readonly<Record<DeviceName, number>>;
  readonly #programs: ReadonlyMap<string, Handle>;
  readonly #objects: readonly Handle[];
  #ring: Handle | null = null;
  readonly #events: Event[] = [];
  /** What run("from_network") means. */
  receive: Receive = "tc";
  /** Packets that from_wire sent on since it was set to 0: no row may believe that it did what tc does. */
  sentByWire = 0;

  private constructor(
    native: NativeBinding,
    netns: string,
    index: Readonly<Record<DeviceName, number>>,
    loaded: { objects: readonly Handle[]; programs: ReadonlyMap<string, Handle>; maps: ReadonlyMap<string, Handle> },
  ) {
    this.native = native;
    this.netns = netns;
    this.index = index;
    this.maps = new Maps(native, loaded.maps);
    this.#programs = loaded.programs;
    this.#objects = loaded.objects;
  }

  /** Errors: those of ip(8) and of loading; what was made until then is removed. */
  static async create(
    settings: Readonly<Record<string, number>> = {},
    sizes: Readonly<Record<string, number>> = {},
    options: { readonly events: boolean; readonly socketsOnly?: boolean } = { events: true },
  ): Promise<ProgramNode> {
    cleaned ??= removeStale();
    await cleaned;
    const netns = `tandem-prog-${process.pid}-${count++}`;
    const native = loadNative();
    await run("ip", ["netns", "add", netns]);
    try {
      const index = await makeDevices(native, netns);
      const loaded = await loadObjects(native, rodata(settings), sizes, options.socketsOnly);
      const node = new ProgramNode(native, netns, index, loaded);
      node.fill();
      if (options.events) node.#listen();
      return node;
    } catch (error) {
      await run("ip", ["netns", "del", netns]);
      throw error;
    }
  }

  /** Endpoints without policy, identities, cluster prefixes, devices. */
  fill(): void {
    this.maps.put("settings", 0, { trace: 0, dropEventsPerSecond: 0 });
    this.putPod("a");
    this.putPod("b");
    for (const name of ["a", "b", "r", "node2"] as const) {
      putIdentity(this.maps, who[name].ipv4, who[name].identity, name === "node2" ? IpcacheFlags.node : 0);
      putIdentity(this.maps, who[name].ipv6, who[name].identity, name === "node2" ? IpcacheFlags.node : 0);
    }
    const here = IpcacheFlags.node | IpcacheFlags.localNode;
    putIdentity(this.maps, who.host.ipv4, 1, here);
    putIdentity(this.maps, who.host.ipv6, 1, here);
    const unmanaged = { identity: 3, flags: 0 };
    this.maps.put("cluster_prefix4", { prefixlen: 16, address: ipv4Number("10.0.0.0") }, unmanaged);
    this.maps.put("cluster_prefix6", { prefixlen: 16, address: bytesOf("fd00::") }, unmanaged);
    this.maps.put("device", { ifindex: this.index.up }, { flags: DeviceFlags.uplink, mtu: 1500 });
    const own = { ipv4: ipv4Number(who.host.ipv4), ipv6: bytesOf(who.host.ipv6) };
    for (const device of [this.index.up, this.index.tun]) this.maps.put("device_address", { ifindex: device }, own);
    this.maps.put("device", { ifindex: this.index.tun }, { flags: DeviceFlags.uplink | DeviceFlags.l3, mtu: 1480 });
  }

  /** Writes pod a or b as an endpoint: open and without policy unless told otherwise. */
  putPod(name: "a" | "b", changes: Partial<Endpoint> = {}): Endpoint {
    const pod = who[name];
    const value: Endpoint = {
      ifindex: this.index[name],
      identity: pod.identity,
      policySet: 0,
      policyRevision: 1,
      flags: 0,
      ipv4: ipv4Number(pod.ipv4),
      ipv6: bytesOf(pod.ipv6),
      podMac: pod.mac,
      hostMac,
      id: name === "a" ? 11 : 12,
      ...changes,
    };
    this.maps.put("endpoint", { ifindex: this.index[name] }, value);
    for (const address of [pod.ipv4, pod.ipv6]) this.maps.put("endpoint_addr", { address: mapped(address) }, value);
    return value;
  }

  /** Puts pod under a policy set: both directions that the flags name. */
  enforce(name: "a" | "b", directions: "egress" | "ingress" | "both", changes: Partial<Endpoint> = {}): Endpoint {
    const egress = EndpointFlags.enforceEgress | EndpointFlags.policyEgress;
    const ingress = EndpointFlags.enforceIngress | EndpointFlags.policyIngress;
    const flags = directions === "egress" ? egress : directions === "ingress" ? ingress : egress | ingress;
    return this.putPod(name, { policySet: name === "a" ? 1 : 2, flags, ...changes });
  }

  /** Forgets flows, fragments, services and policies, and puts everything else as it was at first. */
  async reset(): Promise<void> {
    await this.takeEvents();
    this.maps.zero("drop_budget", 0);
    await this.maps.clear("ct4", "ct6", "fragment", "service4", "service6", "service_backend", "maglev", "policy_set");
    await this.maps.clear(
      "policy_peer",
      "policy_prefix4",
      "policy_prefix6",
      "policy_port",
      "endpoint",
      "endpoint_addr",
    );
    await this.maps.clear("service_flows", "source_rule4", "source_rule6", "source_range4", "source_range6");
    await this.maps.clear("ipcache4", "ipcache6", "device", "cluster_prefix4", "cluster_prefix6", "sock_reverse");
    await this.maps.clear("service_address", "nat4", "nat6", "native_prefix4", "native_prefix6", "device_address");
    this.fill();
  }

  /** Handle of a loaded program, sock_* included. */
  program(name: string): Handle {
    const handle = this.#programs.get(name);
    if (handle === undefined) throw new Error(`${name} is not loaded`);
    return handle;
  }

  async run(program: ProgramName, packet: Buffer, options: RunOptions = {}): Promise<RunResult> {
    if (program === "from_network" && this.receive === "xdp" && options.device === undefined) {
      const sent = await this.#fromWire(packet, options);
      if (sent !== null) return sent;
    }
    const handle = this.program(program);
    const usual: Readonly<Record<ProgramName, DeviceName>> = {
      from_pod: "a",
      to_pod: "a",
      from_network: "up",
      to_network: "up",
    };
    const index = this.index[options.device ?? usual[program]];
    const context = Buffer.alloc(192); // struct __sk_buff; only these fields may be set
    context.writeUInt32LE(options.mark ?? 0, 8);
    context.writeUInt32LE(options.ownStack === true ? 0 : index, 36); // ingress_ifindex
    context.writeUInt32LE(index, 40);
    context.writeUInt32LE(options.gsoSegments ?? 0, 164);
    context.writeUInt32LE(options.gsoSize ?? 0, 176);
    const result = await this.native.testRun(handle, packet, context, 1, `/run/netns/${this.netns}`);
    const verdict = verdicts[result.retval];
    if (verdict === undefined) throw new Error(`${program} returned ${result.retval}`);
    return {
      verdict,
      frame: result.data,
      /* read when asked for: what was dropped may be no packet at all */
      get parsed(): ParsedFrame {
        return parseFrame(result.data);
      },
      mark: result.context?.readUInt32LE(8) ?? 0,
    };
  }

  /** Test runs of XDP want a device whose queues are ready for it: the program is attached to the uplink, without a pin. */
  async attachWire(): Promise<void> {
    const device = { index: this.index.up, netns: `/run/netns/${this.netns}` };
    await this.native.attachXdp(this.program("from_wire"), device, "native", null);
  }

  /** What from_wire sends on; null: it is the stack's, as it came. Segments still to be cut come to no driver. */
  async #fromWire(packet: Buffer, options: RunOptions): Promise<RunResult | null> {
    if (options.gsoSize !== undefined || packet.length < 14) return null;
    const context = Buffer.alloc(24); // struct xdp_md
    context.writeUInt32LE(packet.length, 4); // data_end
    context.writeUInt32LE(this.index.up, 12); // ingress_ifindex
    const netns = `/run/netns/${this.netns}`;
    const { retval, data } = await this.native.testRun(this.program("from_wire"), packet, context, 1, netns);
    if (retval === xdpTx) {
      this.sentByWire++;
      return {
        verdict: "redirect",
        frame: data,
        mark: 0,
        get parsed(): ParsedFrame {
          return parseFrame(data);
        },
      };
    }
    if (retval !== xdpPass || !data.equals(packet))
      throw new Error(`from_wire returned ${retval} and changed the packet`);
    return null;
  }

  /** As run(); null for packets that this kernel takes into no test run (cut off within the IP header, a version that is not the
   * EtherType's): those can only be sent for real. */
  async tryRun(program: ProgramName, packet: Buffer, options: RunOptions = {}): Promise<RunResult | null> {
    try {
      return await this.run(program, packet, options);
    } catch (error) {
      if (error instanceof NativeError && error.code === "EINVAL") return null;
      throw error;
    }
  }

  /** What pod a or b sends: from its own MAC and address. */
  fromPod(name: "a" | "b", packet: Buffer, options: RunOptions = {}): Promise<RunResult> {
    return this.run("from_pod", packet, { device: name, ...options });
  }

  /** Packets and bytes per "reason/direction" since the last call. */
  takeMetrics(): ReadonlyMap<string, { readonly packets: number; readonly bytes: number }> {
    const seen = new Map<string, { packets: number; bytes: number }>();
    for (let index = 0; index < 64; index++) {
      const values = this.maps.perCpu("metrics", index);
      if (values.length === 0) break;
      const packets = values.reduce((sum, value) => sum + Number(value.packets), 0);
      const bytes = values.reduce((sum, value) => sum + Number(value.bytes), 0);
      if (packets > 0) seen.set(`${index >> 1}/${index & 1 ? "ingress" : "egress"}`, { packets, bytes });
      this.maps.zero("metrics", index);
    }
    return seen;
  }

  /**
   * All events of the packets so far, since the last call. No time is waited: a program writes its events before its run is over,
   * and a reader that closes delivers what is in the ring. What it has no room for waits for the next reader, until one finds nothing.
   */
  async takeEvents(): Promise<readonly Event[]> {
    for (let before = -1; this.#ring !== null && before !== this.#events.length; ) {
      before = this.#events.length;
      await this.native.closeRing(this.#ring);
      this.#listen();
    }
    return this.#events.splice(0);
  }

  #listen(): void {
    this.#ring = this.native.openRing(this.maps.handle("events"), eventCodec.size, 2, (records, n) => {
      for (let i = 0; i < n; i++) this.#events.push(eventCodec.decode(records, i * eventCodec.size));
    });
  }

  /** Every flow of a family, services' choices included. */
  async flows(family: Family): Promise<readonly Flow[]> {
    if (family === "ipv4") {
      return (await this.maps.entries("ct4")).map(({ key, value }) => describeFlow4(key, value));
    }
    return (await this.maps.entries("ct6")).map(({ key, value }) => describeFlow6(key, value));
  }

  /** Changes every flow of a family: time goes on, flags are set. */
  async changeFlows(family: Family, change: (entry: CtEntry) => CtEntry): Promise<void> {
    if (family === "ipv4")
      for (const { key, value } of await this.maps.entries("ct4")) this.maps.put("ct4", key, change(value));
    else for (const { key, value } of await this.maps.entries("ct6")) this.maps.put("ct6", key, change(value));
  }

  /** As if nobody had used a service with affinity for so many seconds more. */
  async ageAffinity(seconds: number): Promise<void> {
    await upFor(seconds);
    for (const { key, value } of await this.maps.entries("affinity"))
      this.maps.put("affinity", key, { ...value, lastUsed: Math.max(0, value.lastUsed - seconds) });
  }

  /** Runs ip(8) in the node's namespace. */
  async ip(...words: readonly string[]): Promise<void> {
    await run("ip", ["-n", this.netns, ...words]);
  }

  async remove(): Promise<void> {
    if (this.#ring !== null) await this.native.closeRing(this.#ring);
    for (const object of this.#objects) this.native.closeObject(object);
    await run("ip", ["netns", "del", this.netns]);
  }
}
