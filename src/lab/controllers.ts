/**
 * What a cluster's controllers do, as far as a lab needs it, as pure functions: pods of a Deployment, cluster addresses of a
 * Service, EndpointSlices, the choice of a node.
 */
import { createHash } from "node:crypto";
import type { Deployment, KubeObject, Pod, Service } from "./objects.ts";
import type { LabPlan, NodePlan } from "./plan.ts";

export const hashAnnotation = "lab.tandem/spec-hash";
const managedBy = { "endpointslice.kubernetes.io/managed-by": "tandem-lab" };

export function nodeObject(node: NodePlan): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name: node.name, labels: { "kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux" } },
    spec: { podCIDR: node.podCidr4, podCIDRs: [node.podCidr4, node.podCidr6] },
    status: {
      addresses: [
        { type: "InternalIP", address: node.ipv4 },
        { type: "InternalIP", address: node.ipv6 },
        { type: "Hostname", address: node.name },
      ],
      conditions: [{ type: "Ready", status: "True" }],
    },
  };
}

/** What a manifest of a Node may say besides labels: whether pods come to it. Not said: it stays as it is. */
export function cordonOf(node: KubeObject): Readonly<Record<string, unknown>> {
  const { unschedulable, taints } = (node.spec ?? {}) as Readonly<Record<string, unknown>>;
  return { ...(unschedulable !== undefined && { unschedulable }), ...(taints !== undefined && { taints }) };
}

/** Pods web-0, web-1 … of Deployment web: numbered, so that commands can name them. */
export function podsOf(deployment: Deployment): readonly Pod[] {
  const { name, namespace } = deployment.metadata;
  const { replicas, template } = deployment.spec;
  return Array.from({ length: replicas }, (_, i) => ({
    apiVersion: "v1",
    kind: "Pod" as const,
    metadata: {
      ...template.metadata,
      name: `${name}-${i}`,
      namespace,
      ownerReferences: [{ apiVersion: "apps/v1", kind: "Deployment", name }],
    },
    spec: template.spec,
  }));
}

export function ownedBy(pod: Pod, deployment: KubeObject): boolean {
  const { name, namespace } = deployment.metadata;
  const owners = pod.metadata.ownerReferences ?? [];
  return pod.metadata.namespace === namespace && owners.some((o) => o.kind === "Deployment" && o.name === name);
}

/** Changes when a pod must be made anew; labels may change on a running pod. */
export function specHash(pod: Pod): string {
  return createHash("sha256").update(JSON.stringify(pod.spec)).digest("hex").slice(0, 16);
}

/** The node with the fewest pods, the first of several: round-robin for pods that come one by one. */
export function chooseNode(lab: LabPlan, pods: readonly Pod[]): string {
  const counts = new Map(lab.nodes.map((node) => [node.name, 0]));
  for (const { spec } of pods) {
    const count = counts.get(spec.nodeName ?? "");
    if (count !== undefined) counts.set(spec.nodeName ?? "", count + 1);
  }
  return [...counts].reduce((best, next) => (next[1] < best[1] ? next : best))[0];
}

/** The service with addresses of the lab's service range where it needs some and names none. Dual stack unless it says otherwise. */
export function withClusterIps(service: Service, lab: LabPlan, usedAddresses: () => ReadonlySet<string>): Service {
  const { spec } = service;
  if (spec.type === "ExternalName" || spec.clusterIP !== undefined || spec.clusterIPs !== undefined) return service;
  const families = spec.ipFamilies ?? (spec.ipFamilyPolicy === "SingleStack" ? ["IPv4"] : ["IPv4", "IPv6"]);
  const used = usedAddresses();
  for (let number = 1; number < 0xffff; number++) {
    const addresses = families.map((family) => serviceAddress(lab, family, number));
    if (addresses.some((address) => used.has(address))) continue;
    return {
      ...service,
      spec: { ...spec, clusterIP: addresses[0], clusterIPs: addresses, ipFamilies: families as ("IPv4" | "IPv6")[] },
    };
  }
  return service;
}

function serviceAddress(lab: LabPlan, family: string, number: number): string {
  if (family === "IPv6") return lab.servicePrefix6.replace(/\/.*/, number.toString(16));
  return lab.servicePrefix4.replace(/0\.0\/.*/, `${number >> 8}.${number & 255}`);
}

export function podIps(pod: Pod): readonly string[] {
  return (pod.status?.podIPs ?? []).map(({ ip }) => ip);
}

export function podReady(pod: Pod): boolean {
  return (pod.status?.conditions ?? []).some(({ type, status }) => type === "Ready" && status === "True");
}

/** The slices of one service: per address family, and per set of port numbers where pods name their ports differently. */
export function endpointSlices(service: Service, pods: readonly Pod[]): readonly KubeObject[] {
  const { selector, clusterIPs, clusterIP, ipFamilies } = service.spec;
  if (selector === undefined || Object.keys(selector).length === 0) return [];
  const addresses = (clusterIPs ?? (clusterIP === undefined ? [] : [clusterIP])).filter((ip) => ip !== "None");
  const wants = (family: "IPv4" | "IPv6") =>
    ipFamilies?.includes(family) ??
    (addresses.length === 0 || addresses.some((ip) => ip.includes(":") === (family === "IPv6")));
  const selected = pods.filter(
    (pod) =>
      pod.metadata.namespace === service.metadata.namespace &&
      Object.entries(selector).every(([key, value]) => pod.metadata.labels?.[key] === value),
  );
  return (["IPv4", "IPv6"] as const).filter(wants).flatMap((family) => familySlices(service, selected, family));
}

function familySlices(service: Service, pods: readonly Pod[], family: "IPv4" | "IPv6"): readonly KubeObject[] {
  const groups = new Map<string, { readonly ports: readonly object[]; readonly endpoints: object[] }>();
  // A service without endpoints has an empty slice: it exists, and refuses.
  for (const pod of pods) {
    const ip = podIps(pod).find((address) => address.includes(":") === (family === "IPv6"));
    if (ip === undefined) continue;
    const ports = slicePorts(service, pod);
    const key = JSON.stringify(ports);
    const group = groups.get(key) ?? { ports, endpoints: [] };
    groups.set(key, group);
    const ready = podReady(pod) || service.spec.publishNotReadyAddresses === true;
    group.endpoints.push({
      addresses: [ip],
      conditions: { ready, serving: ready, terminating: false },
      nodeName: pod.spec.nodeName,
      targetRef: { kind: "Pod", namespace: pod.metadata.namespace, name: pod.metadata.name },
    });
  }
  if (groups.size === 0) groups.set("", { ports: [], endpoints: [] });
  const { name, namespace } = service.metadata;
  return [...groups.values()].map(({ ports, endpoints }, i) => ({
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      name: `${name}-${family.toLowerCase()}${i === 0 ? "" : `-${i + 1}`}`,
      namespace,
      labels: { "kubernetes.io/service-name": name, ...managedBy },
    },
    addressType: family,
    endpoints,
    ports,
  }));
}

/** The service's ports as numbers of this pod; a named port that the pod does not have is left out. */
function slicePorts(service: Service, pod: Pod): readonly object[] {
  const named = pod.spec.containers.flatMap((container) => container.ports ?? []);
  return (service.spec.ports ?? []).flatMap(({ name, protocol, port, targetPort }) => {
    const target = targetPort ?? port;
    const number =
      typeof target === "number"
        ? target
        : named.find((p) => p.name === target && p.protocol === protocol)?.containerPort;
    return number === undefined ? [] : [{ name: name ?? "", protocol, port: number }];
  });
}

export function isManagedSlice(slice: KubeObject): boolean {
  return slice.metadata.labels?.["endpointslice.kubernetes.io/managed-by"] === "tandem-lab";
}
