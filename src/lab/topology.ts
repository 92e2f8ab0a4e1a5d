/**
 * The wires: a bridge as the fabric, the top-of-rack routers on it, external hosts behind these, and the nodes, each in a
 * network namespace of its own. In the topology with two uplinks each router has a bridge of its own, and each node a device on
 * each. Nothing of it touches the machine's own network.
 */
import { mkdir } from "node:fs/promises";
import { makeCgroup } from "./cgroups.ts";
import type { LabPlan } from "./plan.ts";
import { inside, ipBatch, mustRun } from "./run.ts";

interface Host {
  readonly netns: string;
  readonly cgroup: string;
  readonly device: string;
  readonly port: string;
  readonly bridgeNetns: string;
  readonly bridge: string;
  readonly addresses: readonly string[];
  readonly sysctls: readonly string[];
}

const forwarding = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];
/** Flows and not hosts are spread over the uplinks, and one without carrier gets none. */
const multipath = [
  "net/ipv4/fib_multipath_hash_policy",
  "net/ipv6/fib_multipath_hash_policy",
  "net/ipv4/conf/all/ignore_routes_with_linkdown",
  "net/ipv6/conf/all/ignore_routes_with_linkdown",
];

/** Makes namespaces, links, addresses, cgroups and folders, with or without a host for an API server; the lab's record must be written before, so that `down` finds them. */
export async function buildTopology(lab: LabPlan, { api }: { readonly api: boolean }): Promise<void> {
  const hosts = labHosts(lab, api);
  const namespaces = new Set([lab.fabric.netns, ...hosts.map((host) => host.netns)]);
  await ipBatch(
    null,
    [...namespaces].map((netns) => `netns add ${netns}`),
  );
  await ipBatch(lab.fabric.netns, [
    "link set lo up",
    ...bridges(lab).flatMap((bridge) => [`link add ${bridge} type bridge mcast_snooping 0`, `link set ${bridge} up`]),
  ]);
  await ipBatch(lab.tor.netns, [
    "link set lo up",
    "link add ext0 type bridge mcast_snooping 0",
    "link set ext0 up",
    `addr add ${lab.tor.external4}/24 dev ext0`,
    `addr add ${lab.tor.external6}/64 dev ext0 nodad`,
  ]);
  for (const host of hosts) await connect(host);
  for (const { netns } of lab.externals) {
    await ipBatch(netns, [
      `route add default ${lab.routers.map(({ external4 }) => `nexthop via ${external4}`).join(" ")}`,
      `route add default ${lab.routers.map(({ external6 }) => `nexthop via ${external6}`).join(" ")}`,
    ]);
  }
  // Nobody announces the world outside to these; they have a gateway, as any host.
  if (lab.topology === "mesh") {
    for (const { netns } of lab.nodes)
      await ipBatch(netns, [`route add default via ${lab.tor.ipv4}`, `route add default via ${lab.tor.ipv6}`]);
  }
  // Pods that ask for the service default/kubernetes are answered by the way that the router knows.
  if (api)
    await ipBatch(lab.api.netns, [`route add default via ${lab.tor.ipv4}`, `route add default via ${lab.tor.ipv6}`]);
  for (const node of lab.nodes) {
    await mkdir(node.stateDir, { recursive: true });
    await mkdir(node.bpffs, { recursive: true });
    await mustRun(["mount", "-t", "bpf", "-o", "mode=0700", `tandem-${lab.name}-${node.slot}`, node.bpffs]);
  }
}

function bridges(lab: LabPlan): readonly string[] {
  return lab.topology === "ecmp" ? ["fabric", "fabric2"] : ["fabric"];
}

/** Hosts with their links; a host with several is there as often. */
function labHosts(lab: LabPlan, api: boolean): readonly Host[] {
  const onBridge = (bridge: string) => ({
    bridgeNetns: lab.fabric.netns,
    bridge,
    device: "eth0",
    sysctls: lab.topology === "ecmp" ? [...forwarding, ...multipath] : forwarding,
  });
  const [first = "", last = first] = bridges(lab);
  const fabric = onBridge(first);
  const outside = { bridgeNetns: lab.tor.netns, bridge: "ext0", sysctls: [] };
  const addresses = (host: { readonly ipv4: string; readonly ipv6: string }) => [`${host.ipv4}/24`, `${host.ipv6}/64`];
  return [
    { ...fabric, netns: lab.tor.netns, cgroup: lab.tor.cgroup, port: "tor", addresses: addresses(lab.tor) },
    ...lab.routers.slice(1).flatMap((router) => [
      {
        ...onBridge(last),
        netns: router.netns,
        cgroup: router.cgroup,
        port: "tor2",
        addresses: addresses(router),
      },
      {
        ...outside,
        netns: router.netns,
        cgroup: router.cgroup,
        device: "ext0",
        port: "tor2",
        addresses: [`${router.external4}/24`, `${router.external6}/64`],
      },
    ]),
    ...(api
      ? [{ ...fabric, netns: lab.api.netns, cgroup: lab.api.cgroup, port: "api", addresses: addresses(lab.api) }]
      : []),
    ...lab.nodes.flatMap((node) =>
      node.uplinks.map((uplink, i) => ({
        ...onBridge(i === 0 ? first : last),
        netns: node.netns,
        // Daemons and shells of the node are a leaf below it, beside its pods.
        cgroup: systemCgroup(node),
        device: uplink.device,
        port: i === 0 ? node.slot : `${node.slot}b`,
        addresses: addresses(uplink),
      })),
    ),
    ...lab.externals.map((external, i) => ({
      ...outside,
      netns: external.netns,
      cgroup: external.cgroup,
      device: "eth0",
      port: `ext${i + 1}`,
      addresses: addresses(external),
    })),
  ];
}

/** Where a node's daemons run. */
export function systemCgroup(node: { readonly cgroup: string }): string {
  return `${node.cgroup}/system`;
}

async function connect(host: Host): Promise<void> {
  await makeCgroup(host.cgroup);
  await ipBatch(host.netns, [
    "link set lo up",
    `link add ${host.device} type veth peer name ${host.port} netns ${host.bridgeNetns}`,
    ...host.addresses.map(
      (address) => `addr add ${address} dev ${host.device}${address.includes(":") ? " nodad" : ""}`,
    ),
    `link set ${host.device} up`,
  ]);
  await ipBatch(host.bridgeNetns, [`link set ${host.port} master ${host.bridge} up`]);
  if (host.sysctls.length > 0) {
    const script = 'for key in "$@"; do echo 1 > "/proc/sys/$key"; done';
    await mustRun(inside(host, ["sh", "-c", script, "sh", ...host.sysctls]));
  }
}
