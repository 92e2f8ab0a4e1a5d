/** The kernel side of the injector: routes as kube-router's `pkg/routes` writes them, main table, protocol 17. */
import { kubeRouterProtocol } from "../../lib/kube-router.ts";
import { mustRun } from "../run.ts";

export interface LocalSubnet {
  readonly address: string;
  readonly prefixLength: number;
}

/** Prefix lengths of the node's own addresses, as configured on the links that hold them (kube-router: GetNodeSubnet). */
export async function nodeSubnets(addresses: readonly string[]): Promise<readonly LocalSubnet[]> {
  const links = JSON.parse(await mustRun(["ip", "-j", "addr"])) as readonly {
    readonly addr_info?: readonly { readonly local?: string; readonly prefixlen: number }[];
  }[];
  return links
    .flatMap((link) => link.addr_info ?? [])
    .filter(({ local }) => local !== undefined && addresses.includes(local))
    .map(({ local, prefixlen }) => ({ address: local ?? "", prefixLength: prefixlen }));
}

/** Deletes this protocol's route to the prefix, nobody else's. No route is no error. */
export async function deleteRoute(prefix: string): Promise<void> {
  await mustRun(["ip", family(prefix), "route", "flush", prefix, "table", "main", "proto", String(kubeRouterProtocol)]);
}

export async function replaceRoute(prefix: string, nextHops: readonly string[]): Promise<void> {
  const via = nextHops.flatMap((nextHop) => [...(nextHops.length > 1 ? ["nexthop"] : []), "via", nextHop]);
  await mustRun(["ip", family(prefix), "route", "replace", prefix, "proto", String(kubeRouterProtocol), ...via]);
}

/** @param source the node's own address, as packets of its own have it */
export async function replaceTunnelRoute(prefix: string, device: string, source: string): Promise<void> {
  const words = ["proto", String(kubeRouterProtocol), "dev", device, "src", source];
  await mustRun(["ip", family(prefix), "route", "replace", prefix, ...words]);
}

function family(prefix: string): string {
  return prefix.includes(":") ? "-6" : "-4";
}
