/** Whether a node is well, and all that one wants to know when it is not. */
import type { StatusDto } from "../api/dto.ts";
import type { ComputeResult } from "../compute/result.ts";
import type { DatapathReport, TrafficCount } from "../datapath/report.ts";
import { reasonText } from "../model/reasons.gen.ts";
import type { ToldProblem } from "../model/status.ts";

export interface StatusParts {
  readonly node: string;
  readonly version: string;
  readonly kernel: string;
  /** ms since the epoch. */
  readonly started: number;
  /** ms from start to ready; null: not yet. */
  readonly readyMs: number | null;
  readonly revision: StatusDto["revision"];
  readonly sources: StatusDto["sources"];
  readonly addresses: StatusDto["addresses"];
  readonly endpoints: number;
  /** Of the last computation; null before the first. */
  readonly result: ComputeResult | null;
  readonly datapath: DatapathReport;
  readonly traffic: readonly TrafficCount[];
  readonly proxy: StatusDto["proxy"];
  readonly network: StatusDto["network"];
  readonly routes: StatusDto["routes"];
  readonly mtu: StatusDto["mtu"];
  readonly rssBytes: number;
  readonly problems: readonly ToldProblem[];
}

export function statusReport(parts: StatusParts): StatusDto {
  const { datapath, traffic } = parts;
  return {
    ok: isWell(parts),
    node: parts.node,
    version: parts.version,
    started: new Date(parts.started).toISOString(),
    readyMs: parts.readyMs === null ? null : Math.round(parts.readyMs),
    ready: parts.readyMs !== null,
    revision: parts.revision,
    kernel: { release: parts.kernel, features: datapath.features },
    attach: {
      mode: datapath.mode,
      endpoints: datapath.attachedEndpoints,
      uplinks: datapath.attachedUplinks,
      xdp: datapath.xdp,
      proxyRedirect: datapath.proxyRedirect,
      cgroup: datapath.cgroup,
    },
    sources: parts.sources,
    addresses: parts.addresses,
    counts: { endpoints: parts.endpoints, ...countsOf(parts.result) },
    maps: datapath.maps,
    reconcilers: datapath.reconcilers,
    drops: traffic
      .filter(({ reason, packets }) => reason !== forwarded && packets > 0)
      .map(({ reason, direction, packets, bytes }) => ({ reason: reasonText(reason), direction, packets, bytes })),
    forwarded: traffic
      .filter(({ reason, packets }) => reason === forwarded && packets > 0)
      .map(({ direction, packets, bytes }) => ({ direction, packets, bytes })),
    proxy: parts.proxy,
    network: parts.network,
    routes: parts.routes,
    mtu: parts.mtu,
    memory: { rssBytes: parts.rssBytes },
    problems: parts.problems,
  };
}

/** Number of reasons.h. */
const forwarded = 0;

/** Warnings are no reason to page anybody; a pod CIDR without route is. */
function isWell({ readyMs, problems, sources, routes }: StatusParts): boolean {
  return (
    readyMs !== null &&
    problems.every(({ severity }) => severity !== "error") &&
    sources.every(({ stale }) => !stale) &&
    routes.missing.length === 0
  );
}

/** Identities of pods, without the reserved ones; backends that several services share count once. */
function countsOf(result: ComputeResult | null): Omit<StatusDto["counts"], "endpoints"> {
  if (result === null) return { identities: 0, policies: 0, services: 0, backends: 0 };
  const { frontends } = result.desired;
  return {
    identities: result.identities.filter(({ reserved }) => !reserved).length,
    policies: result.policies.length,
    services: frontends.length,
    backends: backendsOf(frontends),
  };
}

/** Probes ask every few seconds, and there may be 300,000 of them: hardly any text is made, and lists that several addresses share are read once. */
function backendsOf(frontends: ComputeResult["desired"]["frontends"]): number {
  const lists = new Map<number, Set<unknown>>();
  /** Most addresses have one place: a set for each would be most of the work. */
  const first = new Map<string, number>();
  const others = new Set<string>();
  for (const { protocol, backends } of frontends) {
    const known = lists.get(protocol) ?? new Set();
    lists.set(protocol, known);
    if (known.has(backends)) continue;
    known.add(backends);
    for (const { address, port } of backends) {
      // A port has 16 bits, a protocol 8.
      const place = (protocol << 16) | port;
      const there = first.get(address.text);
      if (there === undefined) first.set(address.text, place);
      else if (there !== place) others.add(`${place} ${address.text}`);
    }
  }
  return first.size + others.size;
}
