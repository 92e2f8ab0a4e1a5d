/** What is looked after between this node, its cluster and kube-router, and how long each may stand before it is told. */
import { advertisementProblems } from "../observe/advertisements.ts";
import { leftOverRoutes, podCidrProblems } from "../observe/route-problems.ts";
import type { Check } from "./standing-problems.ts";

/** @param pathsComplete all best paths of BGP are known here */
export function pairingChecks(nodeName: string, pathsComplete: () => boolean): readonly Check[] {
  return [
    {
      topic: "advertised-services",
      tables: ["services", "endpointSlices", "pods", "nodes", "bgpPaths"],
      // kube-router follows endpoints some 100 ms later than Tandem.
      graceMs: 3_000,
      find: (tables, { desired }, bgp) => advertisementProblems(desired.frontends, tables, { nodeName, bgp }),
    },
    { topic: "pod-cidrs", tables: ["nodes"], graceMs: 1_000, find: ({ nodes }) => podCidrProblems(nodes) },
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
