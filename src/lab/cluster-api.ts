/** What a lab's commands need of its cluster, wherever its objects are: in files (cluster.ts) or in an API server (kube/kube-cluster.ts). */
import type { KubeObject, Pod, Service } from "./objects.ts";

export interface LabCluster {
  pods(): readonly Pod[] | Promise<readonly Pod[]>;
  services(): readonly Service[] | Promise<readonly Service[]>;
  /** Makes the cluster hold these objects; resolves when their pods run. */
  apply(objects: readonly KubeObject[]): Promise<void>;
  /** Resolves when their pods are gone. @throws LabError LAB_UNKNOWN after deleting the others when one was not there */
  delete(objects: readonly KubeObject[]): Promise<void>;
  close(): Promise<void>;
}
