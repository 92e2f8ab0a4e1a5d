/**
 * The wires: a bridge as the fabric, the top-of-rack router on it, external hosts behind that router, and the nodes, each in a
 * network namespace of its own. Nothing of it touches the machine's own network.
 */
import { mkdir } from "node:fs/promises";
import { makeCgroup } from "./cgroups.ts";
import type { LabPlan } from "./plan.ts";
import { inside, ipBatch, mustRun } from "./run.ts";

interface Host {
  readonly netns: string;
  readonly cgroup: string;
  readonly port: string;
  readonly bridgeNetns: string;
  readonly bridge: string;
  readonly addresses: readonly string[];
  readonly sysctls: readonly string[];
}

const forwarding = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];

/** Makes namespaces, links, addresses, cgroups and folders, with or without a host for an API server; the lab's record must be written before, so that `down` finds them. */
export async function buildTopology(lab: LabPlan, { api }: { readonly api: boolean }): Promise<void> {
  const hosts = labHosts(lab, api);
  const namespaces = [lab.fabric.netns, ...hosts.map((host) => host.netns)];
  await ipBatch(
    null,
    namespaces.map((netns) => `netns add ${netns}`),
  );
  await ipBatch(lab.fabric.netns, [
    "link set lo up",
    "link add fabric type bridge mcast_snooping 0",
    "link set fabric up",
  ]);
  await ipBatch(lab.tor.netns, [
    "link set lo up",
    "link add ext0 type bridge mcast_snooping 0",
    "link set ext0 up",
    `addr add ${lab.tor.external4}/24 dev ext0`,
    `addr add ${lab.tor.external6}/64 dev ext0 nodad`,
  ]);
  for (const host of hosts) await connect(host);
  for (const external of lab.externals) {
    await ipBatch(external.netns, [
      `route add default via ${lab.tor.external4}`,
      `route add default via ${lab.tor.external6}`,
    ]);
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

function labHosts(lab: LabPlan, api: boolean): readonly Host[] {
  const fabric = { bridgeNetns: lab.fabric.netns, bridge: "fabric", sysctls: forwarding };
  const addresses = (host: { readonly ipv4: string; readonly ipv6: string }) => [`${host.ipv4}/24`, `${host.ipv6}/64`];
  return [
    { ...fabric, netns: lab.tor.netns, cgroup: lab.tor.cgroup, port: "tor", addresses: addresses(lab.tor) },
    ...(api
      ? [{ ...fabric, netns: lab.api.netns, cgroup: lab.api.cgroup, port: "api", addresses: addresses(lab.api) }]
      : []),
    ...lab.nodes.map((node) => ({
      ...fabric,
      netns: node.netns,
      // Daemons and shells of the node are a leaf below it, beside its pods.
      cgroup: systemCgroup(node),
      port: node.slot,
      addresses: addresses(node),
    })),
    ...lab.externals.map((external, i) => ({
      netns: external.netns,
      cgroup: external.cgroup,
      bridgeNetns: lab.tor.netns,
      bridge: "ext0",
      port: `ext${i + 1}`,
      addresses: addresses(external),
      sysctls: [],
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
    `link add eth0 type veth peer name ${host.port} netns ${host.bridgeNetns}`,
    ...host.addresses.map((address) => `addr add ${address} dev eth0${address.includes(":") ? " nodad" : ""}`),
    "link set eth0 up",
  ]);
  await ipBatch(host.bridgeNetns, [`link set ${host.port} master ${host.bridge} up`]);
  if (host.sysctls.length > 0) {
    const script = 'for key in "$@"; do echo 1 > "/proc/sys/$key"; done';
    await mustRun(inside(host, ["sh", "-c", script, "sh", ...host.sysctls]));
  }
}
