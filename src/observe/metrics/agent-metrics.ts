/** What the agent says of itself in numbers: the figures of `tandem status`, so that both always agree. Each name is in docs/metrics.md. */
import type { StatusDto } from "../../api/dto.ts";
import { proxyMetrics } from "./proxy-metrics.ts";
import type { Family, Sample } from "./exposition.ts";

const networkStates = ["waiting", "ready", "degraded"] as const;

export function agentMetrics(status: StatusDto): readonly Family[] {
  return [...nodeMetrics(status), ...trafficMetrics(status), ...workMetrics(status), ...proxyMetrics(status.proxy)];
}

function nodeMetrics(status: StatusDto): readonly Family[] {
  const { counts, problems, addresses, routes } = status;
  const severities = ["error", "warning"] as const;
  return [
    gauge("tandem_build_info", "Always 1; its label is the version.", [sample(1, { version: status.version })]),
    gauge("tandem_ready", "1: everything was seen, computed and is in the kernel.", [sample(Number(status.ready))]),
    gauge("tandem_ok", "1: tandem status says that the node is well.", [sample(Number(status.ok))]),
    gauge(
      "tandem_start_to_ready_seconds",
      "From the start of the agent until it was ready.",
      status.readyMs === null ? [] : [sample(status.readyMs / 1000)],
    ),
    gauge("tandem_memory_resident_bytes", "Memory of the agent.", [sample(status.memory.rssBytes)]),
    gauge(
      "tandem_problems",
      "Present problems.",
      severities.map((severity) =>
        sample(problems.filter((problem) => problem.severity === severity).length, { severity }),
      ),
    ),
    gauge("tandem_endpoints", "Pods of this node.", [sample(counts.endpoints)]),
    gauge("tandem_identities", "Identities of pods that this node knows.", [sample(counts.identities)]),
    gauge("tandem_policies", "Policies.", [sample(counts.policies)]),
    gauge("tandem_service_frontends", "Addresses and ports of services.", [sample(counts.services)]),
    gauge("tandem_service_backends", "Different backends of services.", [sample(counts.backends)]),
    gauge(
      "tandem_pod_addresses_used",
      "Addresses of pod CIDRs that are given out.",
      addresses.map(({ family, podCidr, used }) => sample(used, { family: String(family), pod_cidr: podCidr })),
    ),
    gauge(
      "tandem_pod_addresses",
      "Addresses that pod CIDRs have.",
      addresses.map(({ family, podCidr, size }) => sample(size, { family: String(family), pod_cidr: podCidr })),
    ),
    gauge(
      "tandem_network_state",
      "1 for what holds: pods wait for this node's network, have it, or were let in without all of it.",
      networkStates.map((state) => sample(Number(status.network.state === state), { state })),
    ),
    gauge("tandem_routes_expected", "Pod CIDRs of other nodes.", [sample(routes.expected)]),
    gauge("tandem_routes_present", "Of those, the ones that have a route.", [sample(routes.present)]),
    gauge("tandem_routes_missing", "Of those, the ones that have none.", [sample(routes.missing.length)]),
    gauge("tandem_pod_mtu_bytes", "MTU of pods.", [sample(status.mtu.bytes)]),
  ];
}

function trafficMetrics({ drops, forwarded }: StatusDto): readonly Family[] {
  return [
    counter(
      "tandem_drop_packets_total",
      "Packets that were dropped.",
      drops.map(({ reason, direction, packets }) => sample(packets, { reason, direction })),
    ),
    counter(
      "tandem_drop_bytes_total",
      "Bytes of packets that were dropped.",
      drops.map(({ reason, direction, bytes }) => sample(bytes, { reason, direction })),
    ),
    counter(
      "tandem_forward_packets_total",
      "Packets that were let through.",
      forwarded.map(({ direction, packets }) => sample(packets, { direction })),
    ),
    counter(
      "tandem_forward_bytes_total",
      "Bytes of packets that were let through.",
      forwarded.map(({ direction, bytes }) => sample(bytes, { direction })),
    ),
  ];
}

function workMetrics({ revision, sources, maps, reconcilers, attach }: StatusDto): readonly Family[] {
  const of = (value: (row: StatusDto["reconcilers"][number]) => number): readonly Sample[] =>
    reconcilers.map((row) => sample(value(row), { reconciler: row.name }));
  return [
    gauge("tandem_facts_revision", "Number of the last change of facts that was seen.", [sample(revision.facts)]),
    gauge("tandem_applied_revision", "Number of the last change of facts that is in the kernel.", [
      sample(revision.applied),
    ]),
    gauge(
      "tandem_source_synced",
      "1: the source has seen everything once.",
      sources.map(({ name, synced }) => sample(Number(synced), { source: name })),
    ),
    gauge(
      "tandem_source_stale",
      "1: the source is cut off from what it follows.",
      sources.map(({ name, stale }) => sample(Number(stale), { source: name })),
    ),
    gauge(
      "tandem_map_entries",
      "Entries of an eBPF map.",
      maps.flatMap(({ name, entries }) => (entries === null ? [] : [sample(entries, { map: name })])),
    ),
    gauge(
      "tandem_map_max_entries",
      "Entries that an eBPF map has room for.",
      maps.map(({ name, max }) => sample(max, { map: name })),
    ),
    counter(
      "tandem_reconciler_writes_total",
      "Entries that were written or removed.",
      of(({ writes }) => writes),
    ),
    counter(
      "tandem_reconciler_repairs_total",
      "Entries that somebody else had changed.",
      of(({ repaired }) => repaired),
    ),
    counter(
      "tandem_reconciler_failures_total",
      "Writes that failed.",
      of(({ failures }) => failures),
    ),
    gauge("tandem_attached_endpoints", "Pods whose device has its programs.", [sample(attach.endpoints)]),
    gauge("tandem_attached_uplinks", "Devices to other nodes that have their programs.", [
      sample(attach.uplinks.length),
    ]),
  ];
}

function gauge(name: string, help: string, samples: readonly Sample[]): Family {
  return { name, type: "gauge", help, samples };
}

function counter(name: string, help: string, samples: readonly Sample[]): Family {
  return { name, type: "counter", help, samples };
}

function sample(value: number, labels: Sample["labels"] = {}): Sample {
  return { labels, value };
}
