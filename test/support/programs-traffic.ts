/**
 * Two pods, their node and a router in namespaces of their own, with the programs attached as the agent attaches them: real packets, through
 * checksums that are still to be made, segments that are still to be cut, and the node's own stack.
 */
import { execFile, type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { ExecutionContext } from "ava";
import type { TcMode } from "../../src/native/bpf-contract.ts";
import type { NativeBinding } from "../../src/native/contract.ts";
import type { Handle } from "../../src/native/handle.ts";
import { loadNative, packageRoot } from "../../src/native/index.ts";
import { DeviceFlags, type Endpoint, IpcacheFlags } from "../../src/native/layouts.gen.ts";
import { type Netns, netns } from "./netns.ts";
import { bytesOf, mac } from "./packets.ts";
import { loadObjects, rodata } from "./programs-load.ts";
import { ipv4Number, Maps, mapped, putIdentity } from "./programs-maps.ts";
import { SocketProcess } from "./programs-sockets.ts";

const run = promisify(execFile);

export const places = {
  a: { ipv4: "10.0.1.10", ipv6: "fd00:1::10" },
  b: { ipv4: "10.0.1.11", ipv6: "fd00:1::11" },
  /** The node. */
  node: { ipv4: "192.0.2.1", ipv6: "2001:db8:f::1" },
  /** A pod of another node, behind the router. */
  r: { ipv4: "10.0.2.20", ipv6: "fd00:2::20" },
  /** One behind the tunnel. */
  far: { ipv4: "10.0.3.30", ipv6: "fd00:3::30" },
  /** A service without an address anywhere. */
  vip: { ipv4: "10.96.0.10", ipv6: "fd00:96::10" },
} as const;

const podMac = { a: "02:00:00:00:00:0a", b: "02:00:00:00:00:0b" } as const;
const hostMac = "02:00:00:00:01:00";
const identities = { a: 65_001, b: 65_002, r: 65_003, far: 65_004 } as const;

export interface TrafficOptions {
  readonly mode: TcMode;
  readonly redirectPeer: boolean;
}

export class TrafficWorld {
  readonly native: NativeBinding;
  readonly maps: Maps;
  readonly node: Netns;
  readonly pods: { readonly a: Netns; readonly b: Netns };
  readonly router: Netns;
  readonly sockets: Readonly<Record<"a" | "b" | "node" | "router", SocketProcess>>;
  readonly #programs: ReadonlyMap<string, Handle>;
  readonly #mode: TcMode;
  readonly #tool: string;

  private constructor(
    native: NativeBinding,
    loaded: { programs: ReadonlyMap<string, Handle>; maps: ReadonlyMap<string, Handle> },
    spaces: { node: Netns; a: Netns; b: Netns; router: Netns },
    mode: TcMode,
    tool: string,
    t: ExecutionContext,
  ) {
    this.native = native;
    this.#programs = loaded.programs;
    this.maps = new Maps(native, loaded.maps);
    this.node = spaces.node;
    this.pods = { a: spaces.a, b: spaces.b };
    this.router = spaces.router;
    this.#mode = mode;
    this.#tool = tool;
    const process = (space: Netns) => {
      const made = new SocketProcess(space.path, null);
      t.teardown(() => made.end());
      return made;
    };
    this.sockets = {
      a: process(spaces.a),
      b: process(spaces.b),
      node: process(spaces.node),
      router: process(spaces.router),
    };
  }

  /** Everything is removed with the test. Servers: an echo on port 7 and a datagram service on port 53 everywhere. */
  static async create(t: ExecutionContext, options: TrafficOptions): Promise<TrafficWorld> {
    t.timeout(240_000);
    const native = loadNative();
    const tool = await buildTool(t);
    const spaces = { node: await netns(t), a: await netns(t), b: await netns(t), router: await netns(t) };
    await wire(native, spaces);
    const loaded = await loadObjects(native, rodata({ config_redirect_peer: options.redirectPeer ? 1 : 0 }), {});
    t.teardown(() => {
      for (const object of loaded.objects) native.closeObject(object);
    });
    const world = new TrafficWorld(native, loaded, spaces, options.mode, tool, t);
    await world.#fill();
    await world.#attach("veth-a", "from_pod", "to_pod");
    await world.#attach("veth-b", "from_pod", "to_pod");
    await world.#attach("uplink", "from_network", "to_network");
    for (const [name, process] of Object.entries(world.sockets)) {
      const place = places[name === "router" ? "r" : (name as "a" | "b" | "node")];
      for (const address of [place.ipv4, place.ipv6]) {
        await process.echo(address, 7);
        await process.listen("udp", address, 53);
      }
    }
    return world;
  }

  async #attach(device: string, ingress: string, egress: string): Promise<void> {
    const at = { index: await this.node.index(device), netns: this.node.path };
    for (const [hook, name] of [
      ["ingress", ingress],
      ["egress", egress],
    ] as const) {
      const program = this.#programs.get(name);
      if (program === undefined) throw new Error(`${name} is not loaded`);
      await this.native.attachTc(program, at, hook, this.#mode, null);
    }
  }

  async #fill(): Promise<void> {
    const { maps } = this;
    maps.put("settings", 0, { trace: 0, dropEventsPerSecond: 100 });
    for (const name of ["a", "b"] as const) {
      const index = await this.node.index(`veth-${name}`);
      const value: Endpoint = {
        ifindex: index,
        identity: identities[name],
        policySet: 0,
        policyRevision: 1,
        flags: 0,
        ipv4: ipv4Number(places[name].ipv4),
        ipv6: bytesOf(places[name].ipv6),
        podMac: mac(podMac[name]),
        hostMac: mac(hostMac),
        id: name === "a" ? 11 : 12,
      };
      maps.put("endpoint", { ifindex: index }, value);
      for (const address of [places[name].ipv4, places[name].ipv6])
        maps.put("endpoint_addr", { address: mapped(address) }, value);
    }
    for (const [name, identity] of Object.entries(identities)) {
      for (const address of Object.values(places[name as keyof typeof identities]))
        putIdentity(maps, address, identity);
    }
    for (const address of Object.values(places.node))
      putIdentity(maps, address, 1, IpcacheFlags.node | IpcacheFlags.localNode);
    maps.put("device", { ifindex: await this.node.index("uplink") }, { flags: DeviceFlags.uplink, mtu: 1500 });
  }

  /** A device without Ethernet header between node and router, as kube-router's tunnels are, with the programs on it. */
  async tunnel(t: ExecutionContext): Promise<void> {
    const child = spawn(this.#tool, ["tunnel", this.node.path, "tun-r", this.router.path, "tun-n"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    t.teardown(() => endProcess(child));
    await new Promise((resolve, reject) => {
      child.stdout?.once("data", resolve);
      child.once("exit", () => reject(new Error("the tunnel ended")));
    });
    await this.node.ip("link set tun-r up mtu 1480");
    await this.router.ip("link set tun-n up mtu 1480");
    for (const family of ["ipv4", "ipv6"] as const) {
      const bits = family === "ipv4" ? 24 : 64;
      const [far, pods] = family === "ipv4" ? ["10.0.3.0", "10.0.1.0"] : ["fd00:3::", "fd00:1::"];
      await this.node.ip(`route add ${far}/${bits} dev tun-r`);
      await this.router.ip(`addr add ${places.far[family]}/${family === "ipv4" ? 32 : 128} dev lo`);
      await this.router.ip(`route replace ${pods}/${bits} dev tun-n`);
      await this.sockets.router.echo(places.far[family], 7);
    }
    const index = await this.node.index("tun-r");
    this.maps.put("device", { ifindex: index }, { flags: DeviceFlags.uplink | DeviceFlags.l3, mtu: 1480 });
    await this.#attach("tun-r", "from_network", "to_network");
  }

  /** Sends bytes as they are from a pod's device. */
  async frame(pod: "a" | "b", bytes: Buffer): Promise<void> {
    await this.pods[pod].exec(this.#tool, "frame", "eth0", bytes.toString("hex"));
  }

  /** Packets that were counted for a reason and direction, of all CPUs. */
  counted(reason: number, direction: "egress" | "ingress"): number {
    const values = this.maps.perCpu("metrics", reason * 2 + (direction === "ingress" ? 1 : 0));
    return values.reduce((sum, { packets }) => sum + Number(packets), 0);
  }
}

function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return Promise.resolve();
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.kill("SIGKILL");
  return ended;
}

/** programs-wire.c, which says what it does; it goes with the test. */
export async function buildTool(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "tandem-wire-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const binary = join(folder, "wire");
  const source = join(packageRoot(), "test/support/programs-wire.c");
  await run("cc", ["-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-o", binary, source]);
  return binary;
}

/** Links, addresses and routes, as the CNI plugin and kube-router make them. */
async function wire(native: NativeBinding, spaces: { node: Netns; a: Netns; b: Netns; router: Netns }): Promise<void> {
  const { node, router } = spaces;
  const forward = [
    { name: "net.ipv4.ip_forward", value: "1" },
    { name: "net.ipv6.conf.all.forwarding", value: "1" },
    { name: "net.ipv6.conf.default.forwarding", value: "1" },
  ];
  await native.writeSysctls(node.path, forward);
  await native.writeSysctls(router.path, forward);
  await node.ip(`link add name uplink type veth peer name wire netns ${router.name}`);
  await node.ip("link set uplink up");
  await router.ip("link set wire up");
  await node.ip("addr add 192.0.2.1/24 dev uplink");
  await node.ip("addr add 2001:db8:f::1/64 dev uplink nodad");
  await router.ip("addr add 192.0.2.2/24 dev wire");
  await router.ip("addr add 2001:db8:f::2/64 dev wire nodad");
  await router.ip("addr add 10.0.2.20/32 dev lo");
  await router.ip("addr add fd00:2::20/128 dev lo");
  await node.ip("route add default via 192.0.2.2");
  await node.ip("route add default via 2001:db8:f::2");
  await router.ip("route add 10.0.1.0/24 via 192.0.2.1");
  await router.ip("route add fd00:1::/64 via 2001:db8:f::1");
  for (const name of ["a", "b"] as const) {
    const pod = spaces[name];
    const { ipv4, ipv6 } = places[name];
    await node.ip(
      `link add name veth-${name} address ${hostMac} type veth peer name eth0 address ${podMac[name]} netns ${pod.name}`,
    );
    await pod.ip("link set eth0 up");
    await node.ip(`link set veth-${name} up`);
    await pod.ip(`addr add ${ipv4}/32 dev eth0`);
    await pod.ip(`addr add ${ipv6}/128 dev eth0 nodad`);
    for (const gateway of ["169.254.1.1", "fe80::1"]) {
      await pod.ip(`neigh add ${gateway} lladdr ${hostMac} dev eth0 nud permanent`);
      await pod.ip(`route add default via ${gateway} dev eth0 onlink`);
    }
    for (const [address, bits] of [
      [ipv4, 32],
      [ipv6, 128],
    ] as const) {
      await node.ip(`route add ${address}/${bits} dev veth-${name}`);
      await node.ip(`neigh add ${address} lladdr ${podMac[name]} dev veth-${name} nud permanent`);
    }
  }
}
