/** Whether pods of this node would reach those of others: BGP's session stands, and the routes that the cluster expects are in the kernel. Pure. */
import type { BgpKnowledge } from "./route-reasons.ts";
import { type RouteTables, routeReport } from "./routes.ts";

/** What the node lifecycle controller gives a node whose kubelet is silent: nobody there announces anything. */
const silentNode = "node.kubernetes.io/unreachable";

export interface NetworkExpectation {
  readonly nodeName: string;
  /** Those that pods have here. */
  readonly families: ReadonlySet<4 | 6>;
  /** Percent of the expected routes that are enough. */
  readonly share: number;
}

export interface NetworkState {
  /** What is there is enough. */
  readonly complete: boolean;
  /** Pod CIDRs of other nodes whose kubelet is heard of, and how many of them have a route. */
  readonly expected: number;
  readonly present: number;
  /** What there is too little of, without numbers: it is news each time that it changes. "": nothing. */
  readonly lack: string;
  /** The same for people, with numbers and names. */
  readonly text: string;
}

/** Names that a text has; of more there is the number. */
const mostNamed = 3;

/** @param bgp off: routes alone count */
export function networkState(
  tables: RouteTables,
  { nodeName, families, share }: NetworkExpectation,
  bgp: BgpKnowledge["state"],
): NetworkState {
  const silent = new Set(
    [...tables.nodes.values()].filter(({ taints }) => taints?.includes(silentNode)).map(({ name }) => name),
  );
  const rows = routeReport(tables, nodeName, { state: bgp, received: [] }).filter(
    ({ local, node, podCidr }) => !local && !silent.has(node) && families.has(podCidr.includes(":") ? 6 : 4),
  );
  const missing = rows.filter(({ present }) => !present);
  const counts = { expected: rows.length, present: rows.length - missing.length };
  const session = lackOfSession(tables, bgp, rows.length > 0);
  if (session !== null) return { complete: false, ...counts, lack: session, text: session };
  if (counts.present >= Math.ceil((counts.expected * share) / 100))
    return { complete: true, ...counts, lack: "", text: "" };
  const named = missing.slice(0, mostNamed).map(({ podCidr, node }) => `${podCidr} (${node})`);
  const more = missing.length > mostNamed ? ` and ${missing.length - mostNamed} more` : "";
  const text = `${counts.present} of ${counts.expected} routes to pods of other nodes are there, without ${named.join(", ")}${more}`;
  return { complete: false, ...counts, lack: "routes to pods of other nodes are missing", text };
}

/** @returns null: one stands, or none is to be expected */
function lackOfSession({ bgpPeers }: RouteTables, bgp: BgpKnowledge["state"], hasOthers: boolean): string | null {
  if (bgp === "off") return null;
  if (bgp !== "synced") return "kube-router's BGP daemon does not answer";
  if ([...bgpPeers.values()].some(({ state }) => state === "ESTABLISHED")) return null;
  if (bgpPeers.size > 0) return "no BGP session stands";
  // The first node of a cluster, without a router outside: there is nobody to talk to.
  return hasOthers ? "kube-router has no BGP peers" : null;
}
