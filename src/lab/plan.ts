/**
 * Where everything of a lab is: names of namespaces, folders, cgroups, and addresses, all derived from the lab's name and
 * its index, so that two labs never meet and a lab can be taken down by name after a crash that left no record.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { LabError } from "./errors.ts";

/** Who peers with whom; `bgp-peers.ts` has the sessions of each. */
export const topologies = ["fabric", "ipv6", "mesh", "reflectors", "per-node-asn", "ecmp"] as const;
export type Topology = (typeof topologies)[number];

/** What speaks BGP in the top-of-rack routers. */
export const routerDaemons = ["bird", "gobgpd"] as const;
export type RouterDaemon = (typeof routerDaemons)[number];

/** What is recorded of a lab; the rest follows from it. */
export interface LabRecord {
  readonly name: string;
  /** 0-63, unique among the labs of this machine. */
  readonly index: number;
  readonly nodes: number;
  readonly externals: readonly string[];
  /** Left out: "fabric". */
  readonly topology?: Topology;
  /** Left out: "bird". */
  readonly tor?: RouterDaemon;
  /** Names and addresses that the lab has to have instead of those of its index. Labs share nothing, so they may be equal. */
  readonly site?: LabSite;
}

/** Nodes of one /24 and one /64, with the router among them. */
export interface LabSite {
  readonly nodes: readonly Pick<NodePlan, "name" | "ipv4" | "ipv6" | "podCidr4" | "podCidr6">[];
  readonly router: { readonly ipv4: string; readonly ipv6: string };
}

/** A device of a node on a fabric bridge, with the addresses that it has there. */
export interface UplinkPlan {
  readonly device: string;
  readonly ipv4: string;
  readonly ipv6: string;
}

export interface NodePlan {
  readonly name: string;
  /** "node-1": what files, devices and namespaces of the lab call it, whatever its name. */
  readonly slot: string;
  readonly netns: string;
  readonly folder: string;
  readonly cgroup: string;
  readonly bpffs: string;
  readonly socket: string;
  readonly stateDir: string;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly podCidr4: string;
  readonly podCidr6: string;
  /** AS number of its BGP speaker. */
  readonly as: number;
  /** The first has the node's addresses; the n-th is on the bridge of the n-th router. */
  readonly uplinks: readonly UplinkPlan[];
}

/** A top-of-rack router. External hosts are behind all of them. */
export interface RouterPlan {
  readonly netns: string;
  readonly folder: string;
  readonly cgroup: string;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly external4: string;
  readonly external6: string;
}

export interface ExternalPlan {
  readonly name: string;
  readonly netns: string;
  readonly cgroup: string;
  readonly ipv4: string;
  readonly ipv6: string;
}

export interface LabPlan extends Pick<LabRecord, "name" | "index"> {
  readonly folder: string;
  readonly manifests: string;
  readonly cgroup: string;
  readonly fabric: { readonly netns: string; readonly length4: number; readonly length6: number };
  readonly topology: Topology;
  readonly routerDaemon: RouterDaemon;
  /** The first router. */
  readonly tor: RouterPlan;
  readonly routers: readonly RouterPlan[];
  /** A host on the fabric behind which the API server is; only in labs that have one. */
  readonly api: {
    readonly netns: string;
    readonly folder: string;
    readonly cgroup: string;
    readonly ipv4: string;
    readonly ipv6: string;
    /** The same on the fabric and on the machine's loopback; the API server takes the three after it, too. */
    readonly port: number;
    /** For this machine, and for the nodes. */
    readonly kubeconfig: string;
    readonly nodeKubeconfig: string;
    /** Unix socket between the two. */
    readonly socket: string;
  };
  readonly podPrefix4: string;
  readonly podPrefix6: string;
  readonly externalPrefix4: string;
  readonly externalPrefix6: string;
  readonly servicePrefix4: string;
  readonly servicePrefix6: string;
  readonly nodes: readonly NodePlan[];
  readonly externals: readonly ExternalPlan[];
}

/** Below here is every file of every lab; gone after a reboot, as the namespaces are. */
export const labsFolder = "/run/tandem-lab";
export const maxLabs = 64;
export const maxNodes = 100;
export const nodeAs = 64512;
export const torAs = 65000;

/**
 * No dash: "tandem-<lab>-…" must be readable back. Short: socket paths end at 107 characters.
 * @throws LabError LAB_NAME
 */
export function checkLabName(name: string): string {
  if (!/^[a-z][a-z0-9]{0,23}$/.test(name) || name === "index") {
    throw new LabError(
      "LAB_NAME",
      `lab ${JSON.stringify(name)}`,
      "not a lab name",
      "use 1-24 of a-z and 0-9, a letter first",
    );
  }
  return name;
}

export function netnsPath(netns: string): string {
  return `/run/netns/${netns}`;
}

/** Namespace of a pod; names of namespaces are file names, so long ones end in a hash. */
export function podNetns(lab: string, namespace: string, pod: string): string {
  const name = `tandem-${lab}-p-${namespace}-${pod}`;
  if (name.length <= 200) return name;
  return `${name.slice(0, 180)}-${createHash("sha256").update(name).digest("hex").slice(0, 16)}`;
}

/** Whether a network namespace can only be this lab's. */
export function isNetnsOf(lab: string, netns: string): boolean {
  return new RegExp(`^tandem-${lab}-(fabric|tor2?|api|node-\\d+|[xp]-.+)$`).test(netns);
}

/** Kubernetes names hold no "_", so no two pods share a cgroup and none is called "system". */
export function podCgroup(node: NodePlan, namespace: string, pod: string): string {
  return join(node.cgroup, `${namespace}_${pod}`.slice(0, 255));
}

export function planLab(record: LabRecord, cgroupRoot: string): LabPlan {
  const { name, index } = record;
  const folder = join(labsFolder, name);
  const cgroup = join(cgroupRoot, `tandem-${name}`);
  const site = hex(index + 1);
  const topology = record.topology ?? "fabric";
  const tor: RouterPlan = {
    netns: `tandem-${name}-tor`,
    folder: join(folder, "tor"),
    cgroup: join(cgroup, "tor"),
    ipv4: record.site?.router.ipv4 ?? `172.30.${index}.254`,
    ipv6: record.site?.router.ipv6 ?? `fd72:30:${site}::fe`,
    external4: `198.18.${index}.1`,
    external6: `2001:db8:${site}::1`,
  };
  const second: RouterPlan = {
    netns: `tandem-${name}-tor2`,
    folder: join(folder, "tor2"),
    cgroup: join(cgroup, "tor2"),
    ...(topology === "ecmp"
      ? { ipv4: `172.31.${index}.254`, ipv6: `fd72:31:${site}::fe` }
      : { ipv4: `172.30.${index}.252`, ipv6: `fd72:30:${site}::fc` }),
    external4: `198.18.${index}.2`,
    external6: `2001:db8:${site}::2`,
  };
  const planned = (number: number): NodePlan => {
    const node = { ...planNode(name, index, number, folder, cgroup), ...record.site?.nodes[number - 1] };
    const uplinks = [{ device: "eth0", ipv4: node.ipv4, ipv6: node.ipv6 }];
    if (topology === "ecmp")
      uplinks.push({ device: "eth1", ipv4: `172.31.${index}.${number}`, ipv6: `fd72:31:${site}::${hex(number)}` });
    return { ...node, uplinks, as: hasTwoRouters(topology) ? nodeAs + number : nodeAs };
  };
  return {
    name,
    index,
    topology,
    routerDaemon: record.tor ?? "bird",
    folder,
    cgroup,
    manifests: join(folder, "manifests"),
    fabric: { netns: `tandem-${name}-fabric`, length4: 24, length6: 64 },
    tor,
    routers: hasTwoRouters(topology) ? [tor, second] : [tor],
    api: {
      netns: `tandem-${name}-api`,
      folder: join(folder, "api"),
      cgroup: join(cgroup, "api"),
      ipv4: `172.30.${index}.253`,
      ipv6: `fd72:30:${site}::fd`,
      // Below the ports that kernels give to clients.
      port: 26_400 + 4 * index,
      kubeconfig: join(folder, "api/kubeconfig"),
      nodeKubeconfig: join(folder, "api/kubeconfig.nodes"),
      socket: join(folder, "api/gate.sock"),
    },
    podPrefix4: `10.${64 + index}.0.0/16`,
    podPrefix6: `fd00:10:${hex(64 + index)}::/48`,
    externalPrefix4: `198.18.${index}.0/24`,
    externalPrefix6: `2001:db8:${site}::/64`,
    servicePrefix4: `10.${128 + index}.0.0/16`,
    servicePrefix6: `fd00:10:${hex(128 + index)}::/112`,
    nodes: Array.from({ length: record.nodes }, (_, i) => planned(i + 1)),
    externals: record.externals.map((external, i) => ({
      name: external,
      netns: `tandem-${name}-x-${external}`,
      cgroup: join(cgroup, "external", external),
      ipv4: `198.18.${index}.${10 + i}`,
      ipv6: `2001:db8:${site}::${hex(16 + i)}`,
    })),
  };
}

/** Groups of IPv6 addresses; never 0 where it is used, since that has another canonical text. */
function hex(n: number): string {
  return n.toString(16);
}

function hasTwoRouters(topology: Topology): boolean {
  return topology === "per-node-asn" || topology === "ecmp";
}

function planNode(
  lab: string,
  index: number,
  number: number,
  labFolder: string,
  labCgroup: string,
): Omit<NodePlan, "as" | "uplinks"> {
  const slot = `node-${number}`;
  const folder = join(labFolder, slot);
  return {
    name: slot,
    slot,
    folder,
    netns: `tandem-${lab}-${slot}`,
    cgroup: join(labCgroup, slot),
    bpffs: join(folder, "bpf"),
    socket: join(folder, "agent.sock"),
    stateDir: join(folder, "state"),
    ipv4: `172.30.${index}.${number}`,
    ipv6: `fd72:30:${hex(index + 1)}::${hex(number)}`,
    podCidr4: `10.${64 + index}.${number}.0/24`,
    podCidr6: `fd00:10:${hex(64 + index)}:${hex(number)}::/64`,
  };
}
