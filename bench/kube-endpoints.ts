/** What agents and the operator keep of the cluster of `kube-cluster.ts` at the API server: its sets of labels with their numbers, its pods as endpoints. */
import { identityLabels, labelTexts } from "../src/compute/identity/labels.ts";
import { identityObject } from "../src/identities/cilium-identity.ts";
import { nodeAddress, remotePod, type StoredObject } from "./kube-cluster.ts";

/** The first number of a pod's identity: those below are reserved. */
const firstNumber = 256;

/** A CiliumIdentity for each set of labels, a CiliumEndpoint for each pod. */
export function* endpointObjects(pods: number): Generator<StoredObject> {
  const numbers = new Map<string, number>();
  for (let i = 0; i < pods; i++) {
    const row = remotePod(i, pods);
    const { namespace, name, addresses } = row;
    const labels = labelTexts(identityLabels(row, {}, new Set()));
    const key = labels.join("\n");
    let number = numbers.get(key);
    if (number === undefined) {
      number = firstNumber + numbers.size;
      numbers.set(key, number);
      yield identityStored(number, key);
    }
    const [ipv4, ipv6] = addresses.map(({ text }) => text);
    yield {
      storage: "ciliumendpoints.cilium.io",
      key: `${namespace}/${name}`,
      object: {
        apiVersion: "cilium.io/v2",
        kind: "CiliumEndpoint",
        metadata: { namespace, name, ownerReferences: [{ apiVersion: "v1", kind: "Pod", name, uid: row.uid }] },
        status: {
          id: 1 + i,
          "external-identifiers": {
            "container-id": i.toString(16).padStart(64, "0"),
            "k8s-namespace": namespace,
            "k8s-pod-name": name,
            "pod-name": `${namespace}/${name}`,
          },
          identity: { id: number, labels },
          networking: { addressing: [{ ipv4, ipv6 }], node: nodeAddress(row.node) },
          state: "ready",
          "named-ports": row.ports,
          "service-account": row.serviceAccount,
        },
      },
    };
  }
}

function identityStored(number: number, key: string): StoredObject {
  const object = { apiVersion: "cilium.io/v2", kind: "CiliumIdentity", ...identityObject(number, key) };
  return { storage: "ciliumidentities.cilium.io", key: String(number), object };
}
