/**
 * Configurations of the BGP speakers: gobgpd as kube-router sets up its own (policies, sets and peers as in kube-router's
 * `pkg/controllers/routing/bgp_policies.go`), and bird as the top-of-rack router, another implementation on purpose.
 */
import { isReflector, type Peer, peersOfNode, peersOfRouter, routerAs } from "./bgp-peers.ts";
import type { OverlayType } from "./overlay.ts";
import type { LabPlan, NodePlan, RouterPlan } from "./plan.ts";

export interface BgpOptions {
  /** kube-router's --overlay-type; left out: --enable-overlay=false. */
  readonly overlay?: OverlayType;
  /** kube-router's --bgp-graceful-restart: peers keep a vanished speaker's routes for 90 s. */
  readonly gracefulRestart: boolean;
  /** A real kube-router instead of gobgpd and the injector: its binary. */
  readonly kubeRouter?: string;
}

/** gobgpd's TOML for one node. */
export function gobgpConfig(lab: LabPlan, node: NodePlan, options: BgpOptions): string {
  const peers = peersOfNode(lab, node);
  const addresses = node.uplinks.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]);
  // kube-router's reflectors have no policies at all.
  const policies = isReflector(lab, node) ? null : gobgpPolicies(lab, node, peers);
  return `
[global.config]
  as = ${node.as}
  router-id = "${node.ipv4}"
  port = 179
  local-address-list = ${JSON.stringify(addresses)}
${lab.topology === "ecmp" ? "[global.use-multiple-paths.config]\n  enabled = true\n" : ""}${policies ?? ""}
${peers.map((peer) => neighbor(lab, peer, options)).join("")}
`;
}

function gobgpPolicies(lab: LabPlan, node: NodePlan, peers: readonly Peer[]): string {
  const hosts = (some: readonly Peer[]) => some.map(({ address }) => `${address}/${address.includes(":") ? 128 : 32}`);
  const internal = hosts(peers.filter(({ external }) => !external));
  const external = hosts(peers.filter((peer) => peer.external));
  // --override-nexthop: the node's own address is on one of its links only.
  const self = lab.topology === "ecmp";
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

function prefixSet(name: string, prefix: string, range: string): string {
  return `[[defined-sets.prefix-sets]]
  prefix-set-name = "${name}"
  [[defined-sets.prefix-sets.prefix-list]]
    ip-prefix = "${prefix}"
    masklength-range = "${range}"`;
}

function neighborSet(name: string, hosts: readonly string[]): string {
  return `[[defined-sets.neighbor-sets]]
  neighbor-set-name = "${name}"
  neighbor-info-list = ${JSON.stringify(hosts)}`;
}

function statement(
  name: string,
  prefixes: string,
  neighbors: string,
  disposition: string,
  nextHopSelf = false,
): string {
  return `  [[policy-definitions.statements]]
    name = "${name}"
    [policy-definitions.statements.conditions.match-prefix-set]
      prefix-set = "${prefixes}"
      match-set-options = "any"
    [policy-definitions.statements.conditions.match-neighbor-set]
      neighbor-set = "${neighbors}"
      match-set-options = "any"
    [policy-definitions.statements.actions]
      route-disposition = "${disposition}"${
        nextHopSelf
          ? `
      [policy-definitions.statements.actions.bgp-actions]
        set-next-hop = "self"`
          : ""
      }`;
}

/** s. Shorter than kube-router's (90 and 30), so that a lab is up, and a lost peer noticed, in seconds. */
function timers(lab: LabPlan) {
  return lab.topology === "ecmp" ? { hold: 6, keepalive: 2 } : { hold: 9, keepalive: 3 };
}

function neighbor(lab: LabPlan, peer: Peer, { gracefulRestart }: BgpOptions): string {
  const restart = `
  [neighbors.graceful-restart.config]
    enabled = true
    restart-time = 90
    deferral-time = 360`;
  const family = (name: string) => `
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "${name}-unicast"${
        gracefulRestart
          ? `
    [neighbors.afi-safis.mp-graceful-restart.config]
      enabled = true`
          : ""
      }`;
  const reflector = `
  [neighbors.route-reflector.config]
    route-reflector-client = true
    route-reflector-cluster-id = "${clusterId}"`;
  const { hold, keepalive } = timers(lab);
  return `
[[neighbors]]
  [neighbors.config]
    neighbor-address = "${peer.address}"
    peer-as = ${peer.as}
  [neighbors.timers.config]
    connect-retry = 1
    idle-hold-time-after-reset = 1
    hold-time = ${hold}
    keepalive-interval = ${keepalive}
  [neighbors.transport.config]
    local-address = "${peer.localAddress}"
    remote-port = 179${peer.client ? reflector : ""}${gracefulRestart ? restart : ""}${peer.families.map(family).join("")}
`;
}

/** Of all reflectors: they serve the same clients. */
export const clusterId = "10.0.0.1";

/** bird 2's configuration: learns pod prefixes from the nodes, writes them to its kernel, announces the external prefixes. */
export function birdConfig(lab: LabPlan, router: RouterPlan, options: BgpOptions): string {
  const as = routerAs(lab);
  const { hold, keepalive } = timers(lab);
  const { topology } = lab;
  // In a mesh nodes tell each other; elsewhere they learn of each other here.
  const exported =
    topology === "fabric" || topology === "ipv6" ? "source = RTS_STATIC" : "source ~ [RTS_STATIC, RTS_BGP]";
  // Reflectors keep next hops, whether they can be resolved or not.
  const common = `import all; export where ${exported}; gateway direct`;
  const nextHop = (address: string) => (topology === "ecmp" ? "next hop self" : `next hop address ${address}`);
  const channels = {
    ipv4: `ipv4 { ${common}; ${nextHop(router.ipv4)}; };`,
    ipv6: `ipv6 { ${common}; ${nextHop(router.ipv6)}; };`,
  };
  const protocols = peersOfRouter(lab, router).map(
    (peer) => `
protocol bgp ${peer.name.replaceAll("-", "_")} {
  local ${peer.localAddress} as ${as};
  neighbor ${peer.address} as ${peer.as};${peer.as === as ? "\n  direct;" : ""}${peer.client ? `\n  rr client;\n  rr cluster id ${clusterId};` : ""}
  connect delay time 1;
  connect retry time 1;
  error wait time 1, 2;
  hold time ${hold};
  keepalive time ${keepalive};
  graceful restart ${options.gracefulRestart ? "yes" : "aware"};
  ${peer.families.map((family) => channels[family]).join("\n  ")}
}`,
  );
  const merge = topology === "ecmp" ? "merge paths yes; " : "";
  return `log stderr all;
router id ${router.ipv4};
protocol device { scan time 2; }
protocol kernel { ${merge}ipv4 { import none; export where source = RTS_BGP; }; }
protocol kernel { ${merge}ipv6 { import none; export where source = RTS_BGP; }; }
protocol static { ipv4; route ${lab.externalPrefix4} via "ext0"; }
protocol static { ipv6; route ${lab.externalPrefix6} via "ext0"; }
${protocols.join("\n")}
`;
}
