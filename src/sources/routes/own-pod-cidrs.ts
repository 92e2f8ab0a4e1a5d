/**
 * Routes of BGP that lead to this node's own pods. Addresses of pods that are there have routes of their own; packets to any other
 * address of the CIDR would leave the node, come back by BGP and circle until they die.
 */
import { prefixContainsPrefix } from "../../model/ip.ts";
import { isBgp } from "../../model/route-protocols.ts";
import type { Problem } from "../../model/status.ts";
import type { TableStore } from "../../model/store.ts";
import type { RouteFactRow } from "../../model/tables.ts";

export class OwnPodCidrs {
  readonly #store: TableStore;
  readonly #nodeName: string;
  /** Keys of `routes`: BGP's, within one of our CIDRs. */
  readonly #inside = new Set<string>();

  constructor(store: TableStore, nodeName: string) {
    this.#store = store;
    this.#nodeName = nodeName;
  }

  routeSeen(key: string, route: RouteFactRow): void {
    if (this.#isInside(route)) this.#inside.add(key);
    else this.#inside.delete(key);
  }

  routeGone(key: string): void {
    this.#inside.delete(key);
  }

  /** The node's CIDRs may be others now. */
  nodeChanged(): void {
    for (const [key, route] of this.#store.table("routes")) this.routeSeen(key, route);
  }

  problems(): readonly Problem[] {
    return [...this.#inside].sort().flatMap((key) => {
      const route = this.#store.table("routes").get(key);
      return route === undefined ? [] : [problem(route)];
    });
  }

  #isInside({ protocol, destination }: RouteFactRow): boolean {
    if (!isBgp(protocol)) return false;
    const own = this.#store.table("nodes").get(this.#nodeName)?.podCidrs ?? [];
    return own.some((cidr) => prefixContainsPrefix(cidr, destination));
  }
}

function problem({ destination, nextHops }: RouteFactRow): Problem {
  const via = nextHops.map(({ gateway, device }) => gateway?.text ?? device).join(", ") || "nowhere";
  return {
    code: "ROUTE_TO_OWN_PODS",
    severity: "error",
    object: `route ${destination.text}`,
    field: "",
    message: `BGP sends addresses of this node's own pods to ${via}: packets to a pod that is gone would circle`,
    remedy: `find who else announces ${destination.text} (two nodes with one pod CIDR?) and withdraw it there`,
  };
}
