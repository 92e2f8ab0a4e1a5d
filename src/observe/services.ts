/** Service addresses with their backends, as compute wants them. */
import type { ServiceDto } from "../api/dto.ts";
import type { DesiredFrontend } from "../compute/desired.ts";
import type { BgpPathRow, NodeRow, ServiceRow } from "../model/tables.ts";
import { announcerOf } from "./announcer.ts";
import { protocolName, socketText } from "./text.ts";

export interface ServiceTables {
  readonly services: ReadonlyMap<string, ServiceRow>;
  readonly nodes: ReadonlyMap<string, NodeRow>;
  readonly bgpPaths: ReadonlyMap<string, BgpPathRow>;
}

export function serviceReport(
  frontends: readonly DesiredFrontend[],
  { services, nodes, bgpPaths }: ServiceTables,
  nodeName: string,
): readonly ServiceDto[] {
  return frontends.map((frontend) => ({
    service: frontend.service,
    type: frontendType(frontend, services),
    frontend: socketText(frontend.address, frontend.port),
    protocol: protocolName(frontend.protocol),
    backends: frontend.backends.map(({ address, port }) => socketText(address, port)),
    outside: frontend.outside?.map(({ address, port }) => socketText(address, port)) ?? null,
    advertisedBy: frontend.nodePort === true ? null : announcerOf(frontend.address, bgpPaths, nodes, nodeName),
  }));
}

/** Which of a service's kinds of address this one is. */
export function frontendType(frontend: DesiredFrontend, services: ReadonlyMap<string, ServiceRow>): string {
  const row = services.get(frontend.service.slice(0, frontend.service.lastIndexOf(":")));
  const has = (addresses: ServiceRow["clusterIps"] | undefined) =>
    addresses?.some(({ text }) => text === frontend.address.text) ?? false;
  if (has(row?.clusterIps)) return "ClusterIP";
  if (has(row?.externalIps)) return "ExternalIPs";
  if (has(row?.loadBalancerIps)) return "LoadBalancer";
  return frontend.external ? "NodePort" : "ClusterIP";
}
