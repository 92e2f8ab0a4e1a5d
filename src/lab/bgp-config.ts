/**
 * gobgpd as kube-router sets up its own on a node: policies and sets as in kube-router's `pkg/controllers/routing/bgp_policies.go`.
 * Routers are in router-config.ts.
 */
import { isReflector, type Peer, peersOfNode } from "./bgp-peers.ts";
import { gobgpToml, neighborSet, prefixSet, statement, type Timers } from "./gobgp-config.ts";
import type { OverlayType } from "./overlay.ts";
import type { LabPlan, NodePlan } from "./plan.ts";

export interface BgpOptions {
  /** kube-router's --overlay-type; left out: --enable-overlay=false. */
  readonly overlay?: OverlayType;
  /** kube-router's --bgp-graceful-restart: peers keep a vanished speaker's routes for 90 s. */
  readonly gracefulRestart: boolean;
  /** A real kube-router instead of gobgpd and the injector: its binary. */
  readonly kubeRouter?: string;
}

/** gobgpd's TOML for one node. */
export function gobgpConfig(lab: LabPlan, node: NodePlan, { gracefulRestart }: BgpOptions): string {
  const peers = peersOfNode(lab, node);
  return gobgpToml({
    as: node.as,
    routerId: node.ipv4,
    addresses: node.uplinks.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]),
    peers,
    timers: sessionTimers(lab),
    gracefulRestart,
    multipath: lab.topology === "ecmp",
    // kube-router's reflectors have no policies at all.
    ...(!isReflector(lab, node) && { policies: policiesOfNode(lab, node, peers) }),
  });
}

/** Shorter than kube-router's (90 and 30 s), so that a lab is up, and a lost peer noticed, in seconds. */
export function sessionTimers(lab: LabPlan): Timers {
  return lab.topology === "ecmp" ? { hold: 6, keepalive: 2 } : { hold: 9, keepalive: 3 };
}

function policiesOfNode(lab: LabPlan, node: NodePlan, peers: readonly Peer[]): string {
  const hosts = (some: readonly Peer[]) => some.map(({ address }) => `${address}/${address.includes(":") ? 128 : 32}`);
  const internal = hosts(peers.filter(({ external }) => !external));
  const external = hosts(peers.filter((peer) => peer.external));
  // --override-nexthop: the node's own address is on one of its links only.
  const self = lab.topology === "ecmp" ? "self" : null;
  // A condition with an empty set holds for everybody.
  const exports = [
    ...(internal.length === 0
      ? []
      : [
          statement("podcidr_ibgp", "podcidrdefinedset", "iBGPpeerset", "accept-route"),
          statement("podcidr_ibgp_v6", "podcidrdefinedsetv6", "iBGPpeerset", "accept-route"),
        ]),
    ...(external.length === 0
      ? []
      : [
          statement("vips_external", "servicevipsdefinedset", "externalpeerset", "accept-route", self),
          statement("vips_external_v6", "servicevipsdefinedsetv6", "externalpeerset", "accept-route", self),
          statement("podcidr_external", "podcidrdefinedset", "externalpeerset", "accept-route", self),
          statement("podcidr_external_v6", "podcidrdefinedsetv6", "externalpeerset", "accept-route", self),
        ]),
  ];
  return `[global.apply-policy.config]
  import-policy-list = ["kube_router_import1"]
  default-import-policy = "accept-route"
  export-policy-list = ["kube_router_export1"]
  default-export-policy = "reject-route"
${prefixSet("podcidrdefinedset", node.podCidr4, "24..24")}
${prefixSet("podcidrdefinedsetv6", node.podCidr6, "64..64")}
${prefixSet("servicevipsdefinedset", lab.servicePrefix4, "32..32")}
${prefixSet("servicevipsdefinedsetv6", lab.servicePrefix6, "128..128")}
${prefixSet("defaultroutedefinedset", "0.0.0.0/0", "0..0")}
${prefixSet("defaultroutedefinedsetv6", "::/0", "0..0")}
${neighborSet("iBGPpeerset", internal)}
${neighborSet("externalpeerset", external)}
${neighborSet("allpeerset", [...internal, ...external])}
[[policy-definitions]]
  name = "kube_router_export1"
${exports.join("\n")}
[[policy-definitions]]
  name = "kube_router_import1"
${statement("no_vips", "servicevipsdefinedset", "allpeerset", "reject-route")}
${statement("no_vips_v6", "servicevipsdefinedsetv6", "allpeerset", "reject-route")}
${statement("no_default", "defaultroutedefinedset", "allpeerset", "reject-route")}
${statement("no_default_v6", "defaultroutedefinedsetv6", "allpeerset", "reject-route")}`;
}
