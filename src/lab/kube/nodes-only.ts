/** The Nodes of a lab whose objects are in files, in an API server that nobody but kube-router asks. */
import { systemClock } from "../../lib/clock.ts";
import { silentLogger } from "../../model/logging.ts";
import { kubeRouterAnnotations } from "../kube-router.ts";
import { NodeStatus } from "../kubelet/node-status.ts";
import type { LabPlan } from "../plan.ts";
import { connectLab } from "./api-server.ts";

/** ms */
const limitMs = 60_000;

export async function registerNodes(lab: LabPlan): Promise<void> {
  const client = connectLab(lab);
  try {
    for (const node of lab.nodes) {
      const status = new NodeStatus({
        lab: lab.name,
        node,
        annotations: kubeRouterAnnotations(lab, node),
        client,
        clock: systemClock,
        log: silentLogger,
        networkReady: async () => true,
      });
      await status.put(AbortSignal.timeout(limitMs));
    }
  } finally {
    await client.close();
  }
}
