/**
 * The largest packet that pods send: what passes on every way to the pods of other nodes, as the kernel's routes and devices say it now. Tunnels
 * of kube-router are devices with an MTU of their own, so what they add is in it; nothing is probed, and no address outside is asked.
 */
import { routeFinder, routeMtu } from "../model/route-lookup.ts";
import type { NodeRow, RouteFactRow, UplinkRow } from "../model/tables.ts";

export interface PodMtu {
  readonly bytes: number;
  /** Where the number comes from: "setting podMtu", "device eth0", "route to 10.64.2.0/24 (node-2)". */
  readonly from: string;
}

export interface MtuTables {
  readonly nodes: ReadonlyMap<string, NodeRow>;
  /** By prefix text. */
  readonly routes: ReadonlyMap<string, RouteFactRow>;
  /** By ifindex. */
  readonly uplinks: ReadonlyMap<string, UplinkRow>;
}

export interface MtuOptions {
  readonly nodeName: string;
  /** null: as routes and devices say. */
  readonly podMtu: number | null;
}

/** Ethernet's, for a node without any device that leads elsewhere. */
const fallback: PodMtu = { bytes: 1500, from: "nothing leads to other nodes" };

/** The least of all ways to other nodes; as long as none is known, of all devices that may lead there. */
export function podMtu({ nodes, routes, uplinks }: MtuTables, { nodeName, podMtu: setting }: MtuOptions): PodMtu {
  if (setting !== null) return { bytes: setting, from: "setting podMtu" };
  const devices = [...uplinks.values()].map(({ name, mtu }): PodMtu => ({ bytes: mtu, from: `device ${name}` }));
  const routeTo = routeFinder(routes);
  const ways = [...nodes.values()].flatMap(({ name, podCidrs }) =>
    name === nodeName
      ? []
      : podCidrs.flatMap((cidr): readonly PodMtu[] => {
          const route = routeTo(cidr);
          const bytes = route === undefined ? null : routeMtu(route, (index) => uplinks.get(String(index))?.mtu);
          return bytes === null ? [] : [{ bytes, from: `route to ${cidr.text} (${name})` }];
        }),
  );
  const least = (all: readonly PodMtu[]) =>
    all.reduce<PodMtu | null>((best, each) => (best === null || each.bytes < best.bytes ? each : best), null);
  return least(ways) ?? least(devices) ?? fallback;
}
