/** Which nodes' pods a service's clients here are not to be sent to, as long as others are left. */
import { compareText } from "../../model/labels.ts";
import type { NodeHealthRow } from "../../model/node-health.ts";
import { unreachableKey } from "./backends.ts";

/**
 * Sorted. Where more than half of the nodes are lost, it is rather this node that is: nobody is left out then.
 * @param health by name of the node
 */
export function unreachableNodes(health: ReadonlyMap<string, NodeHealthRow>): readonly string[] {
  return ([4, 6] as const)
    .flatMap((family) => {
      const lost = [...health.values()].filter(({ podsLost }) => podsLost.includes(family));
      return 2 * lost.length > health.size && health.size > 1
        ? []
        : lost.map(({ node }) => unreachableKey(node, family));
    })
    .sort(compareText);
}
