/** What other nodes and routers are to this one, in numbers: BGP's sessions and paths, and how nodes answer over the data path. Each name is in docs/metrics.md. */
import type { NodeHealthRow, ProbeTotals } from "../../model/node-health.ts";
import type { BgpPathRow, BgpPeerRow } from "../../model/tables.ts";
import type { Family } from "./exposition.ts";

export interface NetworkFacts {
  readonly bgpPeers: ReadonlyMap<string, Pick<BgpPeerRow, "state">>;
  readonly bgpPaths: ReadonlyMap<string, BgpPathRow>;
  readonly nodeHealth: ReadonlyMap<string, Pick<NodeHealthRow, "state">>;
  readonly probes: readonly ProbeTotals[];
}

const states = ["reachable", "partly", "unreachable", "unknown"] as const;

export function networkMetrics({ bgpPeers, bgpPaths, nodeHealth, probes }: NetworkFacts): readonly Family[] {
  const established = [...bgpPeers.values()].filter(({ state }) => state === "ESTABLISHED").length;
  const nodes = new Map<NodeHealthRow["state"], number>();
  for (const { state } of nodeHealth.values()) nodes.set(state, (nodes.get(state) ?? 0) + 1);
  return [
    {
      name: "tandem_bgp_peers",
      type: "gauge",
      help: "Peers of kube-router on this node: their session stands, or is down.",
      samples: [
        { labels: { session: "established" }, value: established },
        { labels: { session: "down" }, value: bgpPeers.size - established },
      ],
    },
    {
      name: "tandem_bgp_paths",
      type: "gauge",
      help: "Best paths of kube-router on this node.",
      samples: [{ labels: {}, value: bgpPaths.size }],
    },
    {
      name: "tandem_nodes",
      type: "gauge",
      help: "Other nodes, by how they answer over the data path.",
      samples: states.map((state) => ({ labels: { state }, value: nodes.get(state) ?? 0 })),
    },
    {
      name: "tandem_node_probes_total",
      type: "counter",
      help: "Questions to other nodes.",
      samples: probes.map(({ kind, sent }) => ({ labels: { kind }, value: sent })),
    },
    {
      name: "tandem_node_probes_lost_total",
      type: "counter",
      help: "Questions to other nodes that were not answered in time.",
      samples: probes.map(({ kind, lost }) => ({ labels: { kind }, value: lost })),
    },
    {
      name: "tandem_node_probe_seconds",
      type: "histogram",
      help: "Time until another node answered.",
      samples: probes.map(({ kind, seconds }) => ({ labels: { kind }, ...seconds })),
    },
  ];
}
