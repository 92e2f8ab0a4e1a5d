/** Which route of a table leads to a prefix, as the kernel would choose it. */
import { makePrefix, type Prefix } from "./ip.ts";
import type { RouteFactRow } from "./tables.ts";

/**
 * Finds the longest prefix that covers another, by asking for each length that there is. A default route is none: it says nothing of pods.
 * @param routes by the destination's text
 */
export function routeFinder(routes: ReadonlyMap<string, RouteFactRow>): (to: Prefix) => RouteFactRow | undefined {
  const lengths = { 4: new Set<number>(), 6: new Set<number>() };
  for (const { destination } of routes.values()) lengths[destination.family].add(destination.length);
  const longestFirst = {
    4: [...lengths[4]].filter((length) => length > 0).sort((a, b) => b - a),
    6: [...lengths[6]].filter((length) => length > 0).sort((a, b) => b - a),
  };
  return (to) => {
    for (const length of longestFirst[to.family]) {
      if (length > to.length) continue;
      const found = routes.get(makePrefix(to.address, length).text);
      if (found !== undefined) return found;
    }
    return undefined;
  };
}

/** Bytes of the largest packet that a route takes: of its own, or of the smallest device that it leads through. null: not known. */
export function routeMtu(
  { mtu, nextHops }: RouteFactRow,
  mtuOf: (ifindex: number) => number | undefined,
): number | null {
  const mtus = nextHops.flatMap(({ ifindex }) => mtuOf(ifindex) ?? []);
  if (mtu !== null) mtus.push(mtu);
  return mtus.length === 0 ? null : Math.min(...mtus);
}
