/** gobgpd as kube-router sets up its own on a node. Routers are in router-config.ts. */
import { isReflector, peersOfNode } from "./bgp-peers.ts";
import { gobgpToml, type Timers } from "./gobgp-config.ts";
import { kubeRouterPolicies } from "./kube-router-policies.ts";
import type { OverlayType } from "./overlay.ts";
import type { LabPlan, NodePlan } from "./plan.ts";

export interface BgpOptions {
  /** kube-router's --overlay-type; left out: --enable-overlay=false. */
  readonly overlay?: OverlayType;
  /** kube-router's --bgp-graceful-restart: peers keep a vanished speaker's routes for a while. */
  readonly gracefulRestart: boolean;
  /** s, kube-router's --bgp-graceful-restart-time; left out: 90. */
  readonly restartSeconds?: number;
  /** A real kube-router instead of gobgpd and the injector: its binary. */
  readonly kubeRouter?: string;
}

/** gobgpd's TOML for one node. */
export function gobgpConfig(lab: LabPlan, node: NodePlan, { gracefulRestart, restartSeconds }: BgpOptions): string {
  const peers = peersOfNode(lab, node);
  return gobgpToml({
    as: node.as,
    routerId: node.ipv4,
    addresses: node.uplinks.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]),
    peers,
    timers: sessionTimers(lab),
    gracefulRestart,
    restartSeconds,
    multipath: lab.topology === "ecmp",
    // kube-router's reflectors have no policies at all.
    ...(!isReflector(lab, node) && {
      policies: kubeRouterPolicies({
        podCidrs: { 4: node.podCidr4, 6: node.podCidr6 },
        vips: { 4: lab.servicePrefix4, 6: lab.servicePrefix6 },
        peers,
        // --override-nexthop: the node's own address is on one of its links only.
        nextHopSelf: lab.topology === "ecmp",
      }),
    }),
  });
}

/** Shorter than kube-router's (90 and 30 s), so that a lab is up, and a lost peer noticed, in seconds. */
export function sessionTimers(lab: LabPlan): Timers {
  return lab.topology === "ecmp" ? { hold: 6, keepalive: 2 } : { hold: 9, keepalive: 3 };
}
