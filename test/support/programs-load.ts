/** What a node for its programs (programs.ts) is made of: devices and routes in a namespace, and the objects with maps of their own. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import type { RodataValue } from "../../src/native/bpf-contract.ts";
import type { NativeBinding } from "../../src/native/contract.ts";
import type { Handle } from "../../src/native/handle.ts";
import { packageRoot } from "../../src/native/index.ts";

const run = promisify(execFile);

export type DeviceName = "a" | "b" | "up" | "tun" | "other";

/** enum of settings in .rodata, as 32-bit words. */
export function rodata(values: Readonly<Record<string, number>>): readonly RodataValue[] {
  return Object.entries(values).map(([variable, value]) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    return { variable, bytes };
  });
}

/** The built objects; TANDEM_OBJECTS names another folder, to compare two builds. */
export const objectsFolder = (): string => process.env.TANDEM_OBJECTS ?? join(packageRoot(), "build/bpf");

/** In the namespace: host sides of two pods, an uplink, a tunnel device and another one, with neighbours and routes. @returns their indexes */
export async function makeDevices(native: NativeBinding, netns: string): Promise<Readonly<Record<DeviceName, number>>> {
  const commands = [
    "link set lo up",
    "link add name veth-a type veth peer name pod-a",
    "link add name veth-b type veth peer name pod-b",
    "link add name other type veth peer name other-peer",
    "link add name uplink type veth peer name wire",
    "tuntap add dev tun mode tun",
    ...["veth-a", "pod-a", "veth-b", "pod-b", "uplink", "wire", "tun", "other", "other-peer"].map(
      (n) => `link set ${n} up`,
    ),
    "addr add 192.0.2.1/24 dev uplink",
    "addr add 2001:db8:f::1/64 dev uplink nodad",
    "neigh add 192.0.2.2 lladdr 02:00:00:00:02:02 dev uplink nud permanent",
    "neigh add 192.0.2.254 lladdr 02:00:00:00:02:fe dev uplink nud permanent",
    "neigh add 2001:db8:f::2 lladdr 02:00:00:00:02:02 dev uplink nud permanent",
    "neigh add 2001:db8:f::254 lladdr 02:00:00:00:02:fe dev uplink nud permanent",
    "route add 10.0.2.0/24 via 192.0.2.2",
    "route add fd00:2::/64 via 2001:db8:f::2",
    "route add 10.0.3.0/24 dev tun",
    "route add fd00:3::/64 dev tun",
    "route add 10.0.4.0/24 via 192.0.2.2 mtu 1400",
    "route add fd00:4::/64 via 2001:db8:f::2 mtu 1400",
    "route add 10.0.5.0/24 via 192.0.2.77", // nobody answers there
    "route add 203.0.113.0/24 dev other",
    "route add 2001:db8:113::/64 dev other",
    "route add unreachable 10.0.9.0/24",
    "route add unreachable fd00:9::/64",
    "route add default via 192.0.2.254",
    "route add default via 2001:db8:f::254",
  ];
  await native.writeSysctls(`/run/netns/${netns}`, [
    { name: "net.ipv4.ip_forward", value: "1" },
    { name: "net.ipv6.conf.all.forwarding", value: "1" },
    { name: "net.ipv6.conf.default.forwarding", value: "1" },
  ]);
  for (const command of commands) await run("ip", ["-n", netns, ...command.split(" ")]);
  const links = await native.links(`/run/netns/${netns}`);
  const indexOf = (name: string) => {
    const found = links.find((link) => link.name === name);
    if (found === undefined) throw new Error(`${name} was not made`);
    return found.index;
  };
  return {
    a: indexOf("veth-a"),
    b: indexOf("veth-b"),
    up: indexOf("uplink"),
    tun: indexOf("tun"),
    other: indexOf("other"),
  };
}

const programsOf = {
  pod: ["from_pod", "to_pod"],
  network: ["from_network", "to_network"],
  wire: ["from_wire"],
  sock: [],
} as const;

/** The four objects on maps of their own, unpinned, small unless `sizes` says otherwise. */
export async function loadObjects(
  native: NativeBinding,
  settings: readonly RodataValue[],
  sizes: Readonly<Record<string, number>>,
  /** The hooks of sockets are all that runs: the verifier takes a second for the others. */
  socketsOnly = false,
): Promise<{ objects: readonly Handle[]; programs: ReadonlyMap<string, Handle>; maps: ReadonlyMap<string, Handle> }> {
  const maps = new Map<string, Handle>();
  const programs = new Map<string, Handle>();
  const objects: Handle[] = [];
  const small: Readonly<Record<string, number>> = { ct4: 4096, ct6: 4096, fragment: 256, sock_reverse: 1024, ...sizes };
  for (const name of ["pod", "network", "wire", "sock"] as const) {
    const loaded = await native.loadObject({
      path: join(objectsFolder(), `${name}.bpf.o`),
      pinPath: null,
      rodata: name === "sock" ? [] : settings,
      maxEntries: Object.entries(small).map(([map, entries]) => ({ map, entries })),
      skipPrograms: socketsOnly ? programsOf[name] : [],
      reuseMaps: [...maps].map(([map, handle]) => ({ map, handle })),
    });
    objects.push(loaded.object);
    for (const program of loaded.programs) programs.set(program.name, program.handle);
    for (const map of loaded.maps)
      if (!map.name.includes(".") && map.name !== "scratch" && !maps.has(map.name)) maps.set(map.name, map.handle);
  }
  return { objects, programs, maps };
}
