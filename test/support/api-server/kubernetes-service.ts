/** The API server as a service of its own cluster: default/kubernetes, by which pods find it. */
import { isIPv6 } from "node:net";
import { type JsonObject, objectAt } from "./json.ts";
import type { Cluster } from "./controllers/cluster.ts";
import { nthAddress } from "./service-addresses.ts";

export interface KubernetesServiceOptions {
  /** null: it has no endpoints. */
  readonly advertise: string | null;
  readonly port: number;
  /** The range of services whose first address it has. */
  readonly cidr: string;
}

/** Makes it, or its endpoints what they are now. */
export function publishKubernetesService(cluster: Cluster, { advertise, port, cidr }: KubernetesServiceOptions): void {
  const name = { namespace: "default", name: "kubernetes" };
  const labels = { component: "apiserver", provider: "kubernetes" };
  const ports = [{ name: "https", protocol: "TCP", port: 443, targetPort: port }];
  const spec = { type: "ClusterIP", clusterIP: nthAddress(cidr, 1), ports };
  put(cluster, "services", { apiVersion: "v1", kind: "Service", metadata: { ...name, labels }, spec });
  if (advertise === null) return;
  const endpointPorts = [{ name: "https", port, protocol: "TCP" }];
  put(cluster, "endpoints", {
    apiVersion: "v1",
    kind: "Endpoints",
    metadata: name,
    subsets: [{ addresses: [{ ip: advertise }], ports: endpointPorts }],
  });
  put(cluster, "endpointslices.discovery.k8s.io", {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { ...name, labels: { "kubernetes.io/service-name": "kubernetes" } },
    addressType: isIPv6(advertise) ? "IPv6" : "IPv4",
    endpoints: [{ addresses: [advertise], conditions: { ready: true } }],
    ports: endpointPorts,
  });
}

function put(cluster: Cluster, storage: string, object: JsonObject): void {
  const old = cluster.get(storage, "default", "kubernetes");
  if (old === null) cluster.create(storage, object);
  else
    cluster.update(storage, { ...object, metadata: { ...objectAt(old, "metadata"), ...objectAt(object, "metadata") } });
}
