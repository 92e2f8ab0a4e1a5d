/** What is looked after between this node, its cluster and kube-router, and how long each may stand before it is told. */
import { advertisementProblems } from "../observe/advertisements.ts";
import { nodeHealthProblems } from "../observe/node-health.ts";
import { misledCidrs, missingRoutes, peerProblems } from "../observe/peer-problems.ts";
import { bgpDefaultRoutes, leftOverRoutes, podCidrProblems } from "../observe/route-problems.ts";
import type { Check } from "./standing-problems.ts";

/**
 * @param families those that pods have here
 * @param pathsComplete all best paths of BGP are known here
 */
export function pairingChecks(
  nodeName: string,
  families: ReadonlySet<4 | 6>,
  pathsComplete: () => boolean,
): readonly Check[] {
  return [
    {
      // Sessions that are down are known at once: that is the news. Until a kube-router that starts has its sessions they are all told.
      topic: "bgp-peers",
      tables: ["bgpPeers", "nodes"],
      graceMs: 0,
      find: ({ bgpPeers, nodes }, _result, bgp) => peerProblems(bgpPeers, nodes, bgp),
    },
    {
      topic: "missing-routes",
      tables: ["nodes", "routes", "uplinks", "bgpPeers", "bgpPaths", "deviceAddresses"],
      // A restart of kube-router without graceful restart takes routes away for some 6 s.
      graceMs: 10_000,
      find: (tables, _result, bgp) => missingRoutes(tables, nodeName, families, bgp),
    },
    {
      topic: "node-health",
      tables: ["nodeHealth", "nodes", "routes", "bgpPeers"],
      // Three misses were waited for already.
      graceMs: 0,
      find: (tables, _result, bgp) => nodeHealthProblems(tables, bgp),
    },
    {
      topic: "advertised-services",
      tables: ["services", "endpointSlices", "pods", "nodes", "bgpPaths"],
      // kube-router follows endpoints some 100 ms later than Tandem.
      graceMs: 3_000,
      find: (tables, { desired }, bgp) => advertisementProblems(desired.frontends, tables, { nodeName, bgp }),
    },
    // Looks are 1 s apart: with that a status tells within 2 s.
    { topic: "pod-cidrs", tables: ["nodes"], graceMs: 500, find: ({ nodes }) => podCidrProblems(nodes) },
    {
      topic: "misled-cidrs",
      tables: ["nodes", "bgpPaths"],
      graceMs: 500,
      find: ({ nodes, bgpPaths }, _result, bgp) => (bgp === "synced" ? misledCidrs(nodes, bgpPaths, nodeName) : []),
    },
    {
      topic: "default-routes",
      tables: ["routes", "bgpPaths"],
      graceMs: 500,
      find: ({ routes, bgpPaths }) => bgpDefaultRoutes(routes, bgpPaths),
    },
    {
      topic: "left-over-routes",
      tables: ["routes", "nodes", "bgpPaths"],
      // A kube-router that starts has its sessions, and their paths, after 9-14 s; its routes were there all the time.
      graceMs: 30_000,
      find: ({ routes, bgpPaths, nodes }, _result, bgp) =>
        bgp === "synced" && pathsComplete() ? leftOverRoutes(routes, bgpPaths, nodes) : [],
    },
  ];
}
