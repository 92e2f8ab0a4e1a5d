/**
 * Configurations of the top-of-rack routers, in both of their daemons: they learn pod prefixes and service addresses from the nodes, and announce
 * the external prefixes. bird is another implementation than kube-router's on purpose; gobgpd is the same one, at the other end.
 */
import { type BgpOptions, sessionTimers } from "./bgp-config.ts";
import { peersOfRouter, routerAs } from "./bgp-peers.ts";
import { clusterId, gobgpToml, prefixSet, statement } from "./gobgp-config.ts";
import type { LabPlan, RouterPlan } from "./plan.ts";

/** In a mesh nodes tell each other; elsewhere they learn of each other from a router. */
function tellsOnlyOutside({ topology }: LabPlan): boolean {
  return topology === "fabric" || topology === "ipv6";
}

/** gobgpd's TOML; who writes its routes announces the external prefixes, too. */
export function gobgpRouterConfig(lab: LabPlan, router: RouterPlan, options: BgpOptions): string {
  return gobgpToml({
    as: routerAs(lab),
    routerId: router.ipv4,
    addresses: [router.ipv4, router.ipv6],
    peers: peersOfRouter(lab, router),
    timers: sessionTimers(lab),
    gracefulRestart: options.gracefulRestart,
    restartSeconds: options.restartSeconds,
    multipath: lab.topology === "ecmp",
    policies: gobgpExports(lab),
  });
}

function gobgpExports(lab: LabPlan): string {
  const outside = `
${prefixSet("outside", lab.externalPrefix4, "24..24")}
${prefixSet("outside6", lab.externalPrefix6, "64..64")}`;
  const exported = (byDefault: "accept-route" | "reject-route", statements: readonly string[]) => `
[global.apply-policy.config]
  default-import-policy = "accept-route"
  export-policy-list = ["to_nodes"]
  default-export-policy = "${byDefault}"
[[policy-definitions]]
  name = "to_nodes"
${statements.join("\n")}`;
  if (tellsOnlyOutside(lab))
    return `${exported("reject-route", [
      statement("outside", "outside", null, "accept-route"),
      statement("outside6", "outside6", null, "accept-route"),
    ])}${outside}`;
  // A next hop on the link stays; gobgpd would put itself there, and its address of IPv4 for paths of both families.
  if (lab.topology === "per-node-asn")
    return exported("accept-route", [statement("all", null, null, "accept-route", "unchanged")]);
  return "";
}

/** bird 2's configuration; it writes its routes itself. */
export function birdConfig(lab: LabPlan, router: RouterPlan, options: BgpOptions): string {
  const as = routerAs(lab);
  const { hold, keepalive } = sessionTimers(lab);
  const { topology } = lab;
  const exported = tellsOnlyOutside(lab) ? "source = RTS_STATIC" : "source ~ [RTS_STATIC, RTS_BGP]";
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
