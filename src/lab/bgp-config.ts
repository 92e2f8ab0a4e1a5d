/**
 * Configurations of the BGP speakers: gobgpd as kube-router sets up its own (policies, sets and peers as in kube-router's
 * `pkg/controllers/routing/bgp_policies.go`), and bird as the top-of-rack router, another implementation on purpose.
 */
import { type LabPlan, type NodePlan, nodeAs, torAs } from "./plan.ts";

export interface BgpOptions {
  /** kube-router's --bgp-graceful-restart: peers keep a vanished speaker's routes for 90 s. */
  readonly gracefulRestart: boolean;
}

/** gobgpd's TOML for one node: iBGP with every other node, eBGP with the top of rack, both address families on each session. */
export function gobgpConfig(lab: LabPlan, node: NodePlan, options: BgpOptions): string {
  const others = lab.nodes.filter((other) => other.name !== node.name);
  const hosts = (nodes: readonly { readonly ipv4: string }[]) => nodes.map((n) => `${n.ipv4}/32`);
  return `
[global.config]
  as = ${nodeAs}
  router-id = "${node.ipv4}"
  port = 179
  local-address-list = ["${node.ipv4}"]
[global.apply-policy.config]
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
${neighborSet("iBGPpeerset", hosts(others))}
${neighborSet("externalpeerset", hosts([lab.tor]))}
${neighborSet("allpeerset", hosts([...others, lab.tor]))}
[[policy-definitions]]
  name = "kube_router_export1"
${statement("podcidr_ibgp", "podcidrdefinedset", "iBGPpeerset", "accept-route")}
${statement("podcidr_ibgp_v6", "podcidrdefinedsetv6", "iBGPpeerset", "accept-route")}
${statement("vips_external", "servicevipsdefinedset", "externalpeerset", "accept-route")}
${statement("vips_external_v6", "servicevipsdefinedsetv6", "externalpeerset", "accept-route")}
${statement("podcidr_external", "podcidrdefinedset", "externalpeerset", "accept-route")}
${statement("podcidr_external_v6", "podcidrdefinedsetv6", "externalpeerset", "accept-route")}
[[policy-definitions]]
  name = "kube_router_import1"
${statement("no_vips", "servicevipsdefinedset", "allpeerset", "reject-route")}
${statement("no_vips_v6", "servicevipsdefinedsetv6", "allpeerset", "reject-route")}
${statement("no_default", "defaultroutedefinedset", "allpeerset", "reject-route")}
${statement("no_default_v6", "defaultroutedefinedsetv6", "allpeerset", "reject-route")}
${others.map((other) => neighbor(node, other.ipv4, nodeAs, options)).join("")}
${neighbor(node, lab.tor.ipv4, torAs, options)}
`;
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

function statement(name: string, prefixes: string, neighbors: string, disposition: string): string {
  return `  [[policy-definitions.statements]]
    name = "${name}"
    [policy-definitions.statements.conditions.match-prefix-set]
      prefix-set = "${prefixes}"
      match-set-options = "any"
    [policy-definitions.statements.conditions.match-neighbor-set]
      neighbor-set = "${neighbors}"
      match-set-options = "any"
    [policy-definitions.statements.actions]
      route-disposition = "${disposition}"`;
}

function neighbor(node: NodePlan, address: string, peerAs: number, { gracefulRestart }: BgpOptions): string {
  const restart = `
  [neighbors.graceful-restart.config]
    enabled = true
    restart-time = 90
    deferral-time = 360`;
  const family = (name: string) => `
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "${name}"${
        gracefulRestart
          ? `
    [neighbors.afi-safis.mp-graceful-restart.config]
      enabled = true`
          : ""
      }`;
  // Timers are shorter than kube-router's (90 s hold), so that a lab is up, and a lost peer noticed, in seconds.
  return `
[[neighbors]]
  [neighbors.config]
    neighbor-address = "${address}"
    peer-as = ${peerAs}
  [neighbors.timers.config]
    connect-retry = 1
    idle-hold-time-after-reset = 1
    hold-time = 9
    keepalive-interval = 3
  [neighbors.transport.config]
    local-address = "${node.ipv4}"
    remote-port = 179${gracefulRestart ? restart : ""}${family("ipv4-unicast")}${family("ipv6-unicast")}
`;
}

/** bird 2's configuration: learns pod prefixes from the nodes, writes them to its kernel, announces the external prefixes. */
export function birdConfig(lab: LabPlan, options: BgpOptions): string {
  const protocols = lab.nodes.map(
    (node) => `
protocol bgp ${node.slot.replaceAll("-", "_")} {
  local ${lab.tor.ipv4} as ${torAs};
  neighbor ${node.ipv4} as ${nodeAs};
  connect delay time 1;
  connect retry time 1;
  error wait time 1, 2;
  hold time 9;
  keepalive time 3;
  graceful restart ${options.gracefulRestart ? "yes" : "aware"};
  ipv4 { import all; export where source = RTS_STATIC; next hop self; };
  ipv6 { import all; export where source = RTS_STATIC; next hop address ${lab.tor.ipv6}; };
}`,
  );
  return `log stderr all;
router id ${lab.tor.ipv4};
protocol device { scan time 2; }
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
protocol kernel { ipv6 { import none; export where source = RTS_BGP; }; }
protocol static { ipv4; route ${lab.externalPrefix4} via "ext0"; }
protocol static { ipv6; route ${lab.externalPrefix6} via "ext0"; }
${protocols.join("\n")}
`;
}
