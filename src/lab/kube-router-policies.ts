/** kube-router's sets and policies, as in its `pkg/controllers/routing/bgp_policies.go`, in gobgpd's TOML. */
import type { Peer } from "./bgp-peers.ts";
import { neighborSet, prefixSet, statement } from "./gobgp-config.ts";

export interface KubeRouterPolicies {
  /** Of the node. */
  readonly podCidrs: Readonly<Record<4 | 6, string>>;
  /** What service addresses are in; null: it announces none, and has no set of them. */
  readonly vips: Readonly<Record<4 | 6, string>> | null;
  readonly peers: readonly Peer[];
  /** --override-nexthop */
  readonly nextHopSelf: boolean;
}

export function kubeRouterPolicies({ podCidrs, vips, peers, nextHopSelf }: KubeRouterPolicies): string {
  const hosts = (some: readonly Peer[]) => some.map(({ address }) => `${address}/${address.includes(":") ? 128 : 32}`);
  const internal = hosts(peers.filter(({ external }) => !external));
  const external = hosts(peers.filter((peer) => peer.external));
  const self = nextHopSelf ? "self" : null;
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
          ...(vips === null
            ? []
            : [
                statement("vips_external", "servicevipsdefinedset", "externalpeerset", "accept-route", self),
                statement("vips_external_v6", "servicevipsdefinedsetv6", "externalpeerset", "accept-route", self),
              ]),
          statement("podcidr_external", "podcidrdefinedset", "externalpeerset", "accept-route", self),
          statement("podcidr_external_v6", "podcidrdefinedsetv6", "externalpeerset", "accept-route", self),
        ]),
  ];
  const imports = [
    ...(vips === null
      ? []
      : [
          statement("no_vips", "servicevipsdefinedset", "allpeerset", "reject-route"),
          statement("no_vips_v6", "servicevipsdefinedsetv6", "allpeerset", "reject-route"),
        ]),
    statement("no_default", "defaultroutedefinedset", "allpeerset", "reject-route"),
    statement("no_default_v6", "defaultroutedefinedsetv6", "allpeerset", "reject-route"),
  ];
  return `[global.apply-policy.config]
  import-policy-list = ["kube_router_import1"]
  default-import-policy = "accept-route"
  export-policy-list = ["kube_router_export1"]
  default-export-policy = "reject-route"
${prefixSet("podcidrdefinedset", podCidrs[4], "24..24")}
${prefixSet("podcidrdefinedsetv6", podCidrs[6], "64..64")}
${vips === null ? "" : prefixSet("servicevipsdefinedset", vips[4], "32..32")}
${vips === null ? "" : prefixSet("servicevipsdefinedsetv6", vips[6], "128..128")}
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
${imports.join("\n")}`;
}
