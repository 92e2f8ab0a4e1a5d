/** The whole picture of a lab, as `tandem lab status` prints it. */
import { agentProcess, agentReady } from "./agents.ts";
import { proxyActive, proxyProcess } from "./proxies.ts";
import { type BgpPeer, missingRoutes, nodePeers, routerName } from "./bgp.ts";
import type { LabCluster } from "./cluster-api.ts";
import { podIps, podReady } from "./controllers.ts";
import type { LabPlan } from "./plan.ts";
import { podPlace } from "./pods.ts";
import { findCniBinary } from "./runtime.ts";

export interface LabStatus {
  readonly name: string;
  readonly folder: string;
  /** Agents watch this folder. */
  readonly manifests: string;
  readonly nodes: readonly {
    readonly name: string;
    readonly netns: string;
    readonly folder: string;
    readonly cgroup: string;
    readonly bpffs: string;
    readonly socket: string;
    readonly stateDir: string;
    /** The CNI plugin's binary; null: not built. */
    readonly cni: string | null;
    readonly addresses: readonly string[];
    readonly podCidrs: readonly string[];
    readonly agent: { readonly pid: number | null; readonly ready: boolean };
    readonly proxy: { readonly pid: number | null; readonly active: boolean };
    /** null: the BGP daemon does not answer. */
    readonly bgp: readonly BgpPeer[] | null;
    readonly missingRoutes: readonly string[];
  }[];
  readonly routers: readonly {
    readonly name: string;
    readonly netns: string;
    readonly addresses: readonly string[];
    readonly missingRoutes: readonly string[];
  }[];
  readonly pods: readonly {
    readonly namespace: string;
    readonly name: string;
    readonly node: string;
    readonly netns: string;
    readonly cgroup: string;
    readonly addresses: readonly string[];
    /** Container ports. */
    readonly ports: readonly number[];
    readonly phase: string;
    readonly ready: boolean;
  }[];
  readonly services: readonly {
    readonly namespace: string;
    readonly name: string;
    readonly addresses: readonly string[];
    readonly ports: readonly string[];
  }[];
  readonly externals: readonly {
    readonly name: string;
    readonly netns: string;
    readonly addresses: readonly string[];
  }[];
}

export async function labStatus(plan: LabPlan, cluster: LabCluster): Promise<LabStatus> {
  const missing = await missingRoutes(plan);
  const missingIn = (place: string) => missing.filter(([where]) => where === place).map(([, prefix]) => prefix);
  return {
    name: plan.name,
    folder: plan.folder,
    manifests: plan.manifests,
    nodes: await Promise.all(
      plan.nodes.map(async (node) => ({
        name: node.name,
        netns: node.netns,
        folder: node.folder,
        cgroup: node.cgroup,
        bpffs: node.bpffs,
        socket: node.socket,
        stateDir: node.stateDir,
        cni: findCniBinary(),
        addresses: [node.ipv4, node.ipv6],
        podCidrs: [node.podCidr4, node.podCidr6],
        agent: { pid: await agentProcess(node), ready: await agentReady(node) },
        proxy: { pid: await proxyProcess(node), active: await proxyActive(node) },
        bgp: await nodePeers(node),
        missingRoutes: missingIn(node.name),
      })),
    ),
    routers: plan.routers.map(({ netns, ipv4, ipv6 }, i) => {
      const name = routerName(i);
      return { name, netns, addresses: [ipv4, ipv6], missingRoutes: missingIn(name) };
    }),
    pods: (await cluster.pods()).map((pod) => ({
      namespace: pod.metadata.namespace ?? "default",
      name: pod.metadata.name,
      node: pod.spec.nodeName ?? "",
      ...(pod.spec.nodeName === undefined ? { netns: "", cgroup: "" } : podPlace(plan, pod)),
      addresses: podIps(pod),
      ports: pod.spec.containers.flatMap(({ ports }) => (ports ?? []).map(({ containerPort }) => containerPort)),
      phase: pod.status?.phase ?? "Pending",
      ready: podReady(pod),
    })),
    services: (await cluster.services()).map(({ metadata, spec }) => ({
      namespace: metadata.namespace ?? "default",
      name: metadata.name,
      addresses: spec.clusterIPs ?? (spec.clusterIP === undefined ? [] : [spec.clusterIP]),
      ports: (spec.ports ?? []).map(({ protocol, port }) => `${port}/${protocol}`),
    })),
    externals: plan.externals.map(({ name, netns, ipv4, ipv6 }) => ({ name, netns, addresses: [ipv4, ipv6] })),
  };
}

/** The same for people. */
export function formatStatus(status: LabStatus): string {
  const established = (peers: readonly BgpPeer[] | null) =>
    peers === null ? "bgp down" : `bgp ${peers.filter((p) => p.state === "ESTABLISHED").length}/${peers.length}`;
  const routes = (missing: readonly string[]) =>
    missing.length === 0 ? "all routes" : `no route to ${missing.join(", ")}`;
  const agent = ({ pid, ready }: { readonly pid: number | null; readonly ready: boolean }) =>
    pid === null ? "no agent" : ready ? "agent ready" : "agent not ready";
  const proxy = ({ pid, active }: { readonly pid: number | null; readonly active: boolean }) =>
    pid === null ? "no proxy" : active ? "proxy active" : "proxy not active";
  return [
    `lab ${status.name} in ${status.folder}`,
    ...section("nodes", [
      ...status.nodes.map((n) => [
        n.name,
        n.addresses.join(" "),
        n.podCidrs.join(" "),
        agent(n.agent),
        proxy(n.proxy),
        established(n.bgp),
        routes(n.missingRoutes),
      ]),
      ...status.routers.map((r) => [r.name, r.addresses.join(" "), "", "", "", "", routes(r.missingRoutes)]),
    ]),
    ...section(
      "pods",
      status.pods.map((p) => [`${p.namespace}/${p.name}`, p.node, p.addresses.join(" "), p.ready ? "ready" : p.phase]),
    ),
    ...section(
      "services",
      status.services.map((s) => [`${s.namespace}/${s.name}`, s.addresses.join(" "), s.ports.join(" ")]),
    ),
    ...section(
      "externals",
      status.externals.map((e) => [e.name, e.addresses.join(" "), e.netns]),
    ),
  ].join("\n");
}

function section(title: string, rows: readonly (readonly string[])[]): readonly string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => (row[i] ?? "").length)));
  return [
    "",
    title,
    ...rows.map((row) => `  ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("  ")}`.trimEnd()),
  ];
}
