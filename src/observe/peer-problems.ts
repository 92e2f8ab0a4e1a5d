/** What is wrong with BGP here, as soon as it is: sessions that do not stand, and pod CIDRs of other nodes without a route. Pure. */
import type { BgpPathRow, BgpPeerRow, NodeRow } from "../model/tables.ts";
import type { Problem } from "../model/status.ts";
import { bounded } from "./route-problems.ts";
import { type BgpKnowledge, leadsElsewhere } from "./route-reasons.ts";
import { nodesByAddress, type RouteTables, routeReport } from "./routes.ts";

/** The state between two tries changes all the time: what is told is that the session does not stand, and since when. */
export function peerProblems(
  peers: ReadonlyMap<string, BgpPeerRow>,
  nodes: ReadonlyMap<string, NodeRow>,
  bgp: BgpKnowledge["state"],
): readonly Problem[] {
  // Its daemon is away: that is told, and what it last knew of sessions says nothing any more.
  if (bgp !== "synced") return [];
  const down = [...peers.values()].filter(({ state }) => state !== "ESTABLISHED");
  if (down.length === 0) return [];
  const nodeAt = nodesByAddress(nodes);
  return bounded(
    down
      .sort((a, b) => (a.address.text < b.address.text ? -1 : 1))
      .map(({ address: { text }, adminDown, since }): Problem => {
        const node = nodeAt(text);
        const name = node === undefined ? text : `${node} (${text})`;
        const when = since === null ? " and never was" : ` since ${new Date(since).toISOString()}`;
        return {
          code: "BGP_PEER_DOWN",
          severity: "warning",
          object: `BGP peer ${name}`,
          field: "",
          message: adminDown
            ? `the session with ${name} is switched off`
            : `the session with ${name} is not established${when}`,
          remedy: adminDown
            ? `gobgp neighbor ${text} enable`
            : `is ${node ?? "the router"} up, does ${node === undefined ? "it speak BGP with this node" : "kube-router run there"}, and does TCP port 179 pass between them?`,
        };
      }),
  );
}

/** Pod CIDRs of other nodes that BGP leads to yet another one, or to this one. Where Nodes themselves say so, that is told of them. */
export function misledCidrs(
  nodes: ReadonlyMap<string, NodeRow>,
  bgpPaths: ReadonlyMap<string, BgpPathRow>,
  nodeName: string,
): readonly Problem[] {
  const nodeAt = nodesByAddress(nodes);
  const has = (name: string, cidr: string) => nodes.get(name)?.podCidrs.some(({ text }) => text === cidr) === true;
  const problems: Problem[] = [];
  for (const node of nodes.values()) {
    if (node.name === nodeName) continue;
    for (const cidr of node.podCidrs) {
      const path = bgpPaths.get(cidr.text);
      const why = path === undefined ? null : leadsElsewhere(cidr, node, path, nodeAt);
      if (path === undefined || why === null) continue;
      const at = path.peer === null ? nodeName : (nodeAt(path.nextHop?.text ?? "") ?? "");
      if (has(at, cidr.text)) continue;
      problems.push({
        code: "POD_CIDR_ANNOUNCED",
        severity: "warning",
        object: `Node ${at}`,
        field: "",
        message: why.text,
        remedy: why.remedy,
      });
    }
  }
  return bounded(problems);
}

/** @param families those that pods have here */
export function missingRoutes(
  tables: RouteTables,
  nodeName: string,
  families: ReadonlySet<4 | 6>,
  bgp: BgpKnowledge["state"],
): readonly Problem[] {
  const rows = routeReport(tables, nodeName, { state: bgp, received: [] });
  const missing = rows.filter(
    ({ local, present, podCidr }) => !local && !present && families.has(podCidr.includes(":") ? 6 : 4),
  );
  return bounded(
    missing.map(({ node, podCidr, why }): Problem => {
      // Of a session the state between two tries is in its text, which would be news each time.
      const reason =
        why?.code === "peer-down" ? "the BGP session with it does not stand" : (why?.text ?? "nobody knows why");
      return {
        code: "ROUTE_MISSING",
        severity: "warning",
        object: `Node ${node}`,
        field: "spec.podCIDRs",
        message: `there is no route to its pods ${podCidr}: ${reason}`,
        remedy: why?.remedy ?? `tandem routes ${node}`,
      };
    }),
  );
}
