/** The kernel side of the injector: routes as kube-router's `pkg/routes` writes them, main table, protocol 17 unless it is told another one. */
import { kubeRouterProtocol } from "../../lib/kube-router.ts";
import { mustRun } from "../run.ts";
import type { InjectorDependencies, LocalSubnet } from "./injector.ts";

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

/** @param protocol RTPROT of what it writes; nothing of another one is touched */
export function kernelRoutes(protocol: number = kubeRouterProtocol): InjectorDependencies["routes"] {
  const own = ["proto", String(protocol)];
  const ip = async (prefix: string, ...words: readonly string[]) =>
    void (await mustRun(["ip", prefix.includes(":") ? "-6" : "-4", "route", ...words]));
  return {
    /** Nobody else's. No route is no error. */
    deleteRoute: (prefix) => ip(prefix, "flush", prefix, "table", "main", ...own),
    replaceRoute: (prefix, nextHops) => {
      const via = nextHops.flatMap((nextHop) => [...(nextHops.length > 1 ? ["nexthop"] : []), "via", nextHop]);
      return ip(prefix, "replace", prefix, ...own, ...via);
    },
    /** With the node's own address as source, as packets of its own have it. */
    replaceTunnelRoute: (prefix, device, source) => ip(prefix, "replace", prefix, ...own, "dev", device, "src", source),
  };
}
