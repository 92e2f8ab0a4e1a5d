/**
 * EndpointSlices of services with a selector: one per address family and set of port numbers. A pod that is ending stays in as such, for
 * those that serve connections which began before.
 */
import { at, equal, isObject, type Json, type JsonObject, listAt, objectAt, textAt } from "../json.ts";
import type { Cluster } from "./cluster.ts";
import type { Controller } from "./manager.ts";
import { controlledBy, holds, isEnding, labelsOf, nameOf, namespaceOf, selects, uidOf } from "./owned.ts";
import { isEnded } from "./replicasets.ts";

const storage = "endpointslices.discovery.k8s.io";
const managedBy = "endpointslice.kubernetes.io/managed-by";
const manager = "endpointslice-controller.k8s.io";
const serviceName = "kubernetes.io/service-name";
/** Endpoints of one slice, as kube-controller-manager has it. */
const sliceSize = 100;

export const endpointSlices: Controller = {
  name: "endpointslice",
  watches: ["services", "pods", "nodes", storage],
  sync: (cluster) => {
    const ours = cluster.all(storage).filter((slice) => textAt(slice, "metadata", "labels", managedBy) === manager);
    const services = new Map(
      cluster.all("services").map((service) => [`${namespaceOf(service)}/${nameOf(service)}`, service]),
    );
    for (const [key, service] of services) {
      const present = ours.filter(
        (slice) => `${namespaceOf(slice)}/${textAt(slice, "metadata", "labels", serviceName)}` === key,
      );
      if (!isEnding(service)) syncOne(cluster, service, present);
    }
    for (const slice of ours) {
      const key = `${namespaceOf(slice)}/${textAt(slice, "metadata", "labels", serviceName)}`;
      if (!services.has(key)) cluster.delete(storage, slice);
    }
  },
};

interface Wanted {
  readonly addressType: string;
  readonly ports: readonly JsonObject[];
  readonly endpoints: readonly JsonObject[];
}

function syncOne(cluster: Cluster, service: JsonObject, present: readonly JsonObject[]): void {
  const wanted = wantedSlices(cluster, service);
  const left = [...present].filter((slice) => !isEnding(slice));
  for (const { addressType, ports, endpoints } of wanted) {
    const isLike = (slice: JsonObject) => slice.addressType === addressType && equal(slice.ports, ports);
    const found = left.find(isLike) ?? left.find((slice) => slice.addressType === addressType);
    const content = { addressType, endpoints, ports };
    if (found === undefined) {
      cluster.create(storage, {
        ...content,
        apiVersion: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        metadata: metadataOf(service),
      });
      continue;
    }
    left.splice(left.indexOf(found), 1);
    if (!equal(found.endpoints, endpoints) || !equal(found.ports, ports))
      cluster.update(storage, { ...found, ...content });
  }
  for (const slice of left) cluster.delete(storage, slice);
}

function metadataOf(service: JsonObject): JsonObject {
  const headless = textAt(service, "spec", "clusterIP") === "None";
  return {
    generateName: `${nameOf(service)}-`,
    namespace: namespaceOf(service),
    labels: {
      ...labelsOf(service),
      [serviceName]: nameOf(service),
      [managedBy]: manager,
      ...(headless ? { "service.kubernetes.io/headless": "" } : {}),
    },
    ownerReferences: [controlledBy("Service", "v1", service)],
  };
}

function wantedSlices(cluster: Cluster, service: JsonObject): readonly Wanted[] {
  const selector = objectAt(service, "spec", "selector");
  if (Object.keys(selector).length === 0 || textAt(service, "spec", "type") === "ExternalName") return [];
  const pods = cluster
    .all("pods")
    .filter((pod) => namespaceOf(pod) === namespaceOf(service) && selects({ matchLabels: selector }, labelsOf(pod)))
    .filter((pod) => !isEnded(pod) && textAt(pod, "spec", "nodeName") !== "")
    .sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
  const families = listAt(service, "spec", "ipFamilies").map(String);
  return (families.length === 0 ? ["IPv4"] : families).flatMap((family) =>
    familySlices(cluster, service, pods, family),
  );
}

function familySlices(
  cluster: Cluster,
  service: JsonObject,
  pods: readonly JsonObject[],
  addressType: string,
): readonly Wanted[] {
  const groups: { readonly ports: readonly JsonObject[]; readonly endpoints: JsonObject[] }[] = [];
  for (const pod of pods) {
    const addresses = listAt(pod, "status", "podIPs").map((each) => textAt(each, "ip"));
    const address = addresses.find((ip) => ip.includes(":") === (addressType === "IPv6"));
    if (address === undefined) continue;
    const ports = portsOf(service, pod);
    let group = groups.find((each) => each.endpoints.length < sliceSize && equal(each.ports, ports));
    if (group === undefined) {
      group = { ports, endpoints: [] };
      groups.push(group);
    }
    group.endpoints.push(endpointOf(cluster, service, pod, address));
  }
  // A service without endpoints has an empty slice: it exists, and refuses.
  if (groups.length === 0) groups.push({ ports: [], endpoints: [] });
  return groups.map(({ ports, endpoints }) => ({ addressType, ports, endpoints }));
}

function endpointOf(cluster: Cluster, service: JsonObject, pod: JsonObject, address: string): JsonObject {
  const serving = holds(pod, "Ready") || at(service, "spec", "publishNotReadyAddresses") === true;
  const terminating = isEnding(pod);
  const nodeName = textAt(pod, "spec", "nodeName");
  const zone = textAt(
    cluster.get("nodes", null, nodeName) ?? undefined,
    "metadata",
    "labels",
    "topology.kubernetes.io/zone",
  );
  return {
    addresses: [address],
    conditions: { ready: serving && !terminating, serving, terminating },
    ...(textAt(pod, "spec", "hostname") === "" ? {} : { hostname: textAt(pod, "spec", "hostname") }),
    nodeName,
    ...(zone === "" ? {} : { zone }),
    targetRef: { kind: "Pod", namespace: namespaceOf(pod), name: nameOf(pod), uid: uidOf(pod) },
  };
}

/** As numbers of this pod; a named port that the pod does not have is left out. */
function portsOf(service: JsonObject, pod: JsonObject): readonly JsonObject[] {
  const named = listAt(pod, "spec", "containers").flatMap((container) => listAt(container, "ports"));
  return listAt(service, "spec", "ports")
    .filter(isObject)
    .flatMap(({ name = "", protocol = "TCP", port = 0, targetPort = port, appProtocol }) => {
      const isIt = (each: Json) => at(each, "name") === targetPort && (at(each, "protocol") ?? "TCP") === protocol;
      const number = typeof targetPort === "number" ? targetPort : at(named.find(isIt), "containerPort");
      if (typeof number !== "number") return [];
      return [{ name, protocol, port: number, ...(appProtocol === undefined ? {} : { appProtocol }) }];
    });
}
