/** The BGP side of a lab: of the routers, of every node, and when all have what they should. */
import { setTimeout as sleep } from "node:timers/promises";
import { type BgpOptions, gobgpConfig } from "./bgp-config.ts";
import { peersOfRouter } from "./bgp-peers.ts";
import { LabError } from "./errors.ts";
import type { LabPlan, NodePlan } from "./plan.ts";
import { kubeRouterPidFile, startKubeRouter } from "./kube-router.ts";
import { stopDaemon } from "./processes.ts";
import { routerProtocol } from "./routers.ts";
import { inside, mustRun, run } from "./run.ts";
import { startSpeaker, stopSpeaker } from "./speaker.ts";
import { systemCgroup } from "./topology.ts";

/** gobgpd and the injector: what kube-router is on a real node. Or that itself. */
export async function startNodeBgp(lab: LabPlan, node: NodePlan, options: BgpOptions): Promise<void> {
  const { kubeRouter, overlay, gracefulRestart } = options;
  if (kubeRouter !== undefined) return startKubeRouter(lab, node, { ...options, binary: kubeRouter });
  await startSpeaker(
    { folder: node.folder, netns: node.netns, cgroup: systemCgroup(node) },
    {
      toml: gobgpConfig(lab, node, options),
      // kube-router says in every OPEN that it restarts, when this is on at all: peers keep its routes while it comes back.
      restarting: gracefulRestart,
      injector: {
        addresses: node.uplinks.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]),
        announcements: [
          { prefix: node.podCidr4, nextHop: node.ipv4 },
          { prefix: node.podCidr6, nextHop: node.ipv6 },
        ],
        multipath: lab.topology === "ecmp",
        ...(overlay !== undefined && { overlay: { type: overlay, encapsulation: "ipip" as const } }),
      },
    },
  );
}

/** Ends what is kube-router on a node, which is one process there. */
export async function stopNodeBgp(
  node: NodePlan,
  signal: NodeJS.Signals,
  { gracefulRestart }: BgpOptions,
): Promise<void> {
  await stopDaemon(kubeRouterPidFile(node), signal);
  const end = signal === "SIGKILL" ? "killed" : gracefulRestart ? "silent" : "in order";
  await stopSpeaker(node.folder, end);
}

export interface BgpPeer {
  readonly address: string;
  readonly as: number;
  /** ESTABLISHED, ACTIVE, … */
  readonly state: string;
}

const sessionStates = ["UNKNOWN", "IDLE", "CONNECT", "ACTIVE", "OPENSENT", "OPENCONFIRM", "ESTABLISHED"];

/** A node's BGP sessions; null when its daemon does not answer. */
export async function nodePeers(node: NodePlan): Promise<readonly BgpPeer[] | null> {
  const place = { netns: node.netns, cgroup: systemCgroup(node) };
  const { code, stdout } = await run(inside(place, ["gobgp", "neighbor", "-j"]), { timeoutMs: 30_000 });
  if (code !== 0) return null;
  const peers = JSON.parse(stdout) as readonly {
    readonly conf?: { readonly neighbor_address?: string; readonly peer_asn?: number };
    readonly state?: { readonly session_state?: number };
  }[];
  return peers.map(({ conf, state }) => ({
    address: conf?.neighbor_address ?? "",
    as: conf?.peer_asn ?? 0,
    state: sessionStates[state?.session_state ?? 0] ?? "UNKNOWN",
  }));
}

/** Destinations in a namespace's main table that BGP brought. */
export async function bgpRoutes(netns: string, protocol: string): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  for (const family of ["-4", "-6"]) {
    const text = await mustRun(["ip", "-n", netns, family, "-j", "route", "show", "table", "main", "proto", protocol]);
    for (const { dst } of JSON.parse(text || "[]") as readonly { readonly dst: string }[]) found.add(dst);
  }
  return found;
}

/** "tor", "tor2" */
export function routerName(i: number): string {
  return i === 0 ? "tor" : `tor${i + 1}`;
}

/** What each namespace should have learned and has not: [place, destination]. Empty: BGP has converged. */
export async function missingRoutes(lab: LabPlan): Promise<readonly (readonly [place: string, prefix: string])[]> {
  const cidrs = (node: NodePlan) => [node.podCidr4, node.podCidr6];
  const places = [
    ...lab.routers.map((router, i) => ({
      place: routerName(i),
      netns: router.netns,
      protocol: routerProtocol(lab),
      expected: peersOfRouter(lab, router).length === 0 ? [] : lab.nodes.flatMap(cidrs),
    })),
    ...lab.nodes.map((node) => ({
      place: node.name,
      netns: node.netns,
      protocol: "17",
      expected: [
        ...(lab.topology === "mesh" ? [] : [lab.externalPrefix4, lab.externalPrefix6]),
        ...lab.nodes.filter((o) => o.name !== node.name).flatMap(cidrs),
      ],
    })),
  ];
  const missing = await Promise.all(
    places.map(async ({ place, netns, protocol, expected }) => {
      const present = await bgpRoutes(netns, protocol);
      return expected.filter((prefix) => !present.has(prefix)).map((prefix) => [place, prefix] as const);
    }),
  );
  return missing.flat();
}

/** @throws LabError LAB_BGP naming what is missing after `timeoutMs` */
export async function waitForRoutes(lab: LabPlan, timeoutMs = 120_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const missing = await missingRoutes(lab);
    if (missing.length === 0) return;
    if (Date.now() > deadline) {
      const list = missing.slice(0, 6).map(([place, prefix]) => `${place} has no route to ${prefix}`);
      throw new LabError(
        "LAB_BGP",
        `lab ${lab.name}`,
        list.join(", "),
        `read kube-router.log, bird.log, gobgpd.log and injector.log below ${lab.folder}`,
      );
    }
    await sleep(150);
  }
}
