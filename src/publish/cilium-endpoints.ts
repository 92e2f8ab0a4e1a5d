/** The pods of this node as CiliumEndpoint objects: what `kubectl get ciliumendpoints` shows, and what other tools read. */
import type { ComputeResult } from "../compute/result.ts";
import type { DesiredEndpoint } from "../compute/desired.ts";
import type { KubeObject } from "../kube/index.ts";
import type { EndpointStatus } from "../kube-objects/index.ts";
import type { EndpointState } from "../model/endpoint-state.ts";
import type { TableSnapshot } from "../model/store.ts";
import type { PodRow } from "../model/tables.ts";

export type PublishedTables = Pick<TableSnapshot, "pods" | "nodes">;

interface Made {
  readonly from: readonly unknown[];
  readonly object: KubeObject;
}

export class CiliumEndpoints {
  readonly #nodeName: string;
  #made: ReadonlyMap<string, Made> = new Map();

  constructor(nodeName: string) {
    this.#nodeName = nodeName;
  }

  /**
   * By "namespace/pod", each the same object as before if nothing about it changed. Pods whose Pod object is not known are not among them: theirs
   * would have no owner.
   * @param stateOf with what is in the kernel now
   */
  of(
    { desired, identitiesInUse }: ComputeResult,
    { pods, nodes }: PublishedTables,
    stateOf: (endpoint: DesiredEndpoint) => EndpointState,
  ): ReadonlyMap<string, KubeObject> {
    const node = nodes.get(this.#nodeName)?.addresses.map(({ text }) => text)[0] ?? "";
    const made = new Map<string, Made>();
    for (const endpoint of desired.endpoints) {
      const { pod: key, uid } = endpoint.row;
      const pod = pods.get(key);
      if (pod === undefined || pod.uid === "" || (uid !== null && uid !== "" && uid !== pod.uid)) continue;
      const labels = identitiesInUse.get(endpoint.identity)?.texts ?? [];
      const state = stateOf(endpoint);
      const from = [endpoint.row, endpoint.identity, state, pod, labels, node];
      const before = this.#made.get(key);
      const same = before?.from.every((part, at) => part === from[at]) ?? false;
      made.set(
        key,
        same && before !== undefined ? before : { from, object: objectOf(endpoint, state, pod, labels, node) },
      );
    }
    this.#made = made;
    return new Map([...made].map(([key, { object }]) => [key, object]));
  }
}

function objectOf(
  { row, identity }: DesiredEndpoint,
  state: EndpointState,
  pod: PodRow,
  labels: readonly string[],
  node: string,
): KubeObject {
  const { namespace, name, uid, ports, serviceAccount } = pod;
  const addressing = {
    ...(row.ipv4 === null ? {} : { ipv4: row.ipv4.text }),
    ...(row.ipv6 === null ? {} : { ipv6: row.ipv6.text }),
  };
  const status: EndpointStatus = {
    id: row.id,
    "external-identifiers": {
      "container-id": row.containerId,
      "k8s-namespace": namespace,
      "k8s-pod-name": name,
      "pod-name": `${namespace}/${name}`,
    },
    identity: { id: identity, labels: [...labels] },
    networking: { addressing: [addressing], node },
    state,
    "named-ports": ports.flatMap(({ name: portName, port, protocol }) =>
      portName === null ? [] : [{ name: portName, port, protocol }],
    ),
    "service-account": serviceAccount,
  };
  const owner = { apiVersion: "v1", kind: "Pod", name, uid };
  return { metadata: { name, namespace, ownerReferences: [owner] }, status };
}
