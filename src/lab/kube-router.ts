/**
 * A real kube-router instead of what plays it: one process per node in the node's namespace, with the flags of
 * `manifests/kube-router` and of the overlay that fits the topology, and its annotations on the Nodes.
 */
import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { isReflector, peersOfNode } from "./bgp-peers.ts";
import { LabError } from "./errors.ts";
import { clusterId } from "./gobgp-config.ts";
import type { OverlayType } from "./overlay.ts";
import type { LabPlan, NodePlan, Topology } from "./plan.ts";
import { startDaemon } from "./processes.ts";
import { systemCgroup } from "./topology.ts";

const restartFlag = "--bgp-graceful-restart";

/** Those of the DaemonSet's manifest; a test compares them. */
export const manifestFlags: readonly string[] = [
  "--run-router=true",
  "--run-firewall=false",
  "--run-service-proxy=false",
  "--enable-cni=false",
  "--enable-pod-egress=false",
  `${restartFlag}=true`,
  "--auto-mtu=false",
];

/** The overlays' flags. */
const topologyFlags: Readonly<Record<Topology, readonly string[] | null>> = {
  fabric: ["--enable-ibgp=true"],
  mesh: ["--enable-ibgp=true"],
  reflectors: ["--enable-ibgp=true"],
  "per-node-asn": ["--enable-ibgp=false", "--nodes-full-mesh=false"],
  ecmp: ["--enable-ibgp=false", "--nodes-full-mesh=false", "--override-nexthop=true"],
  // It peers by the first InternalIP of a Node, and that is IPv4 here.
  ipv6: null,
};

/** Whether kube-router can be set up so. */
export const kubeRouterTopology = (topology: Topology): boolean => topologyFlags[topology] !== null;

/**
 * @returns the absolute path
 * @throws LabError LAB_KUBE_ROUTER when it cannot be run, or not in this lab
 */
export async function checkKubeRouter(path: string, lab: { topology: Topology; api: boolean }): Promise<string> {
  const refuse = (what: string, remedy: string) => new LabError("LAB_KUBE_ROUTER", path, what, remedy);
  const file = await stat(path).catch(() => null);
  if (file === null) throw refuse("there is no such file", "--kube-router PATH of a kube-router binary");
  const runs =
    file.isFile() &&
    (await access(path, constants.X_OK)
      .then(() => true)
      .catch(() => false));
  if (!runs) throw refuse("is no program that can be run", "name a file that can be executed: chmod +x");
  if (!lab.api) throw refuse("kube-router needs an API server, and this lab has none", "--api-server PATH or URL");
  if (!kubeRouterTopology(lab.topology))
    throw refuse(`kube-router has no topology ${lab.topology}: nodes' sessions are IPv4`, "leave one of the two out");
  return resolve(path);
}

export interface KubeRouterOptions {
  readonly gracefulRestart: boolean;
  readonly restartSeconds?: number;
  readonly overlay?: OverlayType;
}

export function kubeRouterArgs(lab: LabPlan, node: NodePlan, options: KubeRouterOptions): readonly string[] {
  const { gracefulRestart, restartSeconds, overlay } = options;
  return [
    ...manifestFlags.filter((flag) => gracefulRestart || !flag.startsWith(restartFlag)),
    ...(gracefulRestart ? [] : [`${restartFlag}=false`]),
    ...(restartSeconds === undefined ? [] : [`${restartFlag}-time=${restartSeconds}s`]),
    ...(topologyFlags[lab.topology] ?? []),
    ...(overlay === undefined ? ["--enable-overlay=false"] : ["--enable-overlay=true", `--overlay-type=${overlay}`]),
    `--hostname-override=${node.name}`,
    `--kubeconfig=${lab.api.nodeKubeconfig}`,
  ];
}

/** What kube-router reads of its own Node when it starts. */
export function kubeRouterAnnotations(lab: LabPlan, node: NodePlan): Readonly<Record<string, string>> {
  const routers = peersOfNode(lab, node).filter(({ external }) => external);
  const peers = routers.map(({ address, as }) => ({ remoteip: address, remoteasn: as }));
  const hasOwnAs = lab.topology === "per-node-asn" || lab.topology === "ecmp";
  const role = isReflector(lab, node) ? "server" : "client";
  return {
    ...(hasOwnAs && { "kube-router.io/node.asn": String(node.as) }),
    ...(lab.topology === "reflectors" && { [`kube-router.io/rr.${role}`]: clusterId }),
    // YAML, of which JSON is a part.
    ...(peers.length > 0 && { "kube-router.io/peers": JSON.stringify(peers) }),
  };
}

export function kubeRouterPidFile(node: NodePlan): string {
  return join(node.folder, "kube-router.pid");
}

/** It ends at once where its Node is not there: that has to be waited for before. */
export async function startKubeRouter(
  lab: LabPlan,
  node: NodePlan,
  { binary, ...options }: KubeRouterOptions & { readonly binary: string },
): Promise<void> {
  await startDaemon({
    netns: node.netns,
    cgroup: systemCgroup(node),
    command: [binary, ...kubeRouterArgs(lab, node, options)],
    env: { NODE_NAME: node.name },
    log: join(node.folder, "kube-router.log"),
    pidFile: kubeRouterPidFile(node),
  });
}
