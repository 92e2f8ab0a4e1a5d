/** What faults of pods share: the lab with its traffic, and pods whose kubelet is the test. */
import type { ExecutionContext } from "ava";
import { type KubeObject, kinds } from "../../src/kube/index.ts";
import type { Lab } from "../../src/lab/lab.ts";
import { type Pod, podSchema } from "../../src/lab/objects.ts";
import { type FaultCluster, nameOf } from "./faults-cluster.ts";
import type { FaultTraffic } from "./faults-traffic.ts";

export interface Scene {
  readonly t: ExecutionContext;
  readonly lab: Lab;
  readonly cluster: FaultCluster;
  readonly traffic: FaultTraffic;
}

export async function restartAgent({ lab }: Scene): Promise<void> {
  await lab.stopAgent("node-1", "SIGKILL");
  await lab.startAgent("node-1");
}

/** Makes a Pod whose kubelet is the test. */
export async function createPod({ cluster }: Scene, object: KubeObject): Promise<Pod> {
  return podSchema.parse({ kind: "Pod", apiVersion: "v1", ...(await cluster.client.create(kinds.pods, object)) });
}

export async function deletePod({ cluster }: Scene, { metadata }: KubeObject): Promise<void> {
  await cluster.client.delete(kinds.pods, nameOf(metadata), { gracePeriodSeconds: 0 });
}
