/** Services as rows. */
import type { ServicePort, ServiceRow } from "../../model/tables.ts";
import { readAdvertise } from "./read-advertise.ts";
import type { Metadata } from "./read-metadata.ts";
import { readNodeChoice } from "./read-node-choice.ts";
import {
  annotationsOf,
  checkCiliumAnnotations,
  readExposure,
  readForwarding,
  readSelection,
} from "./read-service-annotations.ts";
import { readSourceRanges } from "./read-source-ranges.ts";
import {
  at,
  type Fields,
  isAbsent,
  type Place,
  readAddress,
  readAddresses,
  readEach,
  readFields,
  readFlag,
  readInteger,
  readLabels,
  readPort,
  readProtocol,
  readText,
  readWord,
  refuse,
  shown,
  warn,
} from "./read-values.ts";

/** ServiceSpec of core/v1. */
const serviceSpec: ReadonlySet<string> = new Set([
  "allocateLoadBalancerNodePorts",
  "clusterIP",
  "clusterIPs",
  "externalIPs",
  "externalName",
  "externalTrafficPolicy",
  "healthCheckNodePort",
  "internalTrafficPolicy",
  "ipFamilies",
  "ipFamilyPolicy",
  "loadBalancerClass",
  "loadBalancerIP",
  "loadBalancerSourceRanges",
  "ports",
  "publishNotReadyAddresses",
  "selector",
  "sessionAffinity",
  "sessionAffinityConfig",
  "trafficDistribution",
  "type",
]);
const servicePort: ReadonlySet<string> = new Set(["appProtocol", "name", "nodePort", "port", "protocol", "targetPort"]);
const ingressFields: ReadonlySet<string> = new Set(["hostname", "ip", "ipMode", "ports"]);
const affinityConfig: ReadonlySet<string> = new Set(["clientIP"]);
const clientConfig: ReadonlySet<string> = new Set(["timeoutSeconds"]);

const types = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] as const;
/** RFC 6335 section 5.1, as Kubernetes demands it of target ports: at least one letter. */
const portName = /^(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$/;
/** seconds; Kubernetes' default of sessionAffinityConfig.clientIP.timeoutSeconds, and its greatest. */
const affinity = { default: 10_800, most: 86_400 } as const;

export function readService(object: Fields, metadata: Metadata, place: Place): ServiceRow {
  const specPlace = at(place, "spec");
  const spec = readFields(object.spec, specPlace, serviceSpec);
  const type = readWord(spec.type, at(specPlace, "type"), types, "ClusterIP");
  const ports = readEach(spec.ports, at(specPlace, "ports"), readServicePort);
  if (ports.length > 1 && ports.some(({ name }) => name === "")) {
    const message = "a port among several has no name: slices tell them apart by their names";
    warn(at(specPlace, "ports"), "SERVICE_PORT_NAME", message, "give each port a name");
  }
  const selector = readLabels(spec.selector, at(specPlace, "selector"));
  const annotations = annotationsOf(object, place);
  checkCiliumAnnotations(annotations);
  const exposed = readExposure(annotations);
  const nodes = readNodeChoice(annotations);
  const forwarding = readForwarding(annotations);
  const selection = readSelection(annotations);
  const advertise = readAdvertise(annotations);
  return {
    namespace: metadata.namespace,
    name: metadata.name,
    ...(metadata.uid !== "" && { uid: metadata.uid }),
    type,
    clusterIps: type === "ExternalName" ? [] : readClusterIps(spec, specPlace),
    externalIps: readAddresses(spec.externalIPs, at(specPlace, "externalIPs")),
    loadBalancerIps: type === "LoadBalancer" ? readLoadBalancerIps(object, spec, place) : [],
    ports,
    selector: Object.keys(selector).length === 0 ? null : selector,
    affinitySeconds: readAffinity(spec, specPlace),
    publishNotReady: readFlag(spec.publishNotReadyAddresses, at(specPlace, "publishNotReadyAddresses")) ?? false,
    internalTrafficPolicy: readWord(
      spec.internalTrafficPolicy,
      at(specPlace, "internalTrafficPolicy"),
      ["Cluster", "Local"],
      "Cluster",
    ),
    externalTrafficPolicy: readWord(
      spec.externalTrafficPolicy,
      at(specPlace, "externalTrafficPolicy"),
      ["Cluster", "Local"],
      "Cluster",
    ),
    // 0 is how Go's clients write that there is none.
    healthCheckNodePort: readPort(spec.healthCheckNodePort || null, at(specPlace, "healthCheckNodePort")),
    sourceRanges: readSourceRanges(spec, annotations, specPlace),
    ...(exposed !== undefined && { exposed }),
    ...(nodes !== undefined && { nodes }),
    ...(forwarding !== undefined && { forwarding }),
    ...(selection !== undefined && { selection }),
    ...(advertise !== undefined && { advertise }),
    labels: metadata.labels,
  };
}

function readServicePort(value: unknown, place: Place): ServicePort | null {
  const fields = readFields(value, place, servicePort);
  const port = readPort(fields.port, at(place, "port"));
  if (isAbsent(fields.port)) refuse(at(place, "port"), "MANIFEST_MISSING", "the port has no number", "write port");
  const name = readText(fields.name, at(place, "name")) ?? "";
  const protocol = readProtocol(fields.protocol, at(place, "protocol"));
  const targetPort = readTargetPort(fields.targetPort, at(place, "targetPort"));
  // 0 is how Go's clients write that there is none.
  const nodePort = readPort(fields.nodePort || null, at(place, "nodePort"));
  return port === null ? null : { name, protocol, port, targetPort: targetPort ?? port, nodePort };
}

function readTargetPort(value: unknown, place: Place): number | string | null {
  if (isAbsent(value) || value === "" || value === 0) return null;
  if (typeof value !== "string") return readPort(value, place);
  if (portName.test(value)) return value;
  const remedy = /^\d+$/.test(value)
    ? "write the number without quotes"
    : "write a number or the name of a container's port";
  refuse(place, "MANIFEST_VALUE", `${shown(value)} is not a port`, remedy);
  return null;
}

function readClusterIps(spec: Fields, place: Place): ServiceRow["clusterIps"] {
  const { clusterIP, clusterIPs } = spec;
  if (Array.isArray(clusterIPs) ? clusterIPs.length > 0 : !isAbsent(clusterIPs)) {
    const headless = Array.isArray(clusterIPs) && clusterIPs[0] === "None";
    return headless ? [] : readAddresses(clusterIPs, at(place, "clusterIPs"));
  }
  if (clusterIP === "None") return [];
  const singlePlace = at(place, "clusterIP");
  const single = readAddress(clusterIP || null, singlePlace);
  if (isAbsent(clusterIP) || clusterIP === "") {
    const message = "the service has no address: nobody assigns one to a service in a file";
    warn(singlePlace, "SERVICE_WITHOUT_ADDRESS", message, "write clusterIP, or None for a headless service");
  }
  return single === null ? [] : [single];
}

/** What a load balancer's controller wrote; without one, what the user asked for. */
function readLoadBalancerIps(object: Fields, spec: Fields, place: Place): ServiceRow["loadBalancerIps"] {
  const statusPlace = at(at(place, "status"), "loadBalancer");
  const { loadBalancer } = readFields(object.status, at(place, "status"), null);
  const { ingress } = readFields(loadBalancer, statusPlace, null);
  const given = readEach(ingress, at(statusPlace, "ingress"), (entry, entryPlace) => {
    const { ip, ipMode } = readFields(entry, entryPlace, ingressFields);
    // KEP-1860: "Proxy" is the address of something that forwards to nodes, and not one that they answer to.
    return ipMode === "Proxy" ? null : readAddress(ip, at(entryPlace, "ip"));
  });
  const wanted = readAddress(spec.loadBalancerIP || null, at(at(place, "spec"), "loadBalancerIP"));
  return given.length > 0 || wanted === null ? given : [wanted];
}

function readAffinity(spec: Fields, place: Place): number | null {
  const kind = readWord(spec.sessionAffinity, at(place, "sessionAffinity"), ["None", "ClientIP"], "None");
  const configPlace = at(place, "sessionAffinityConfig");
  const { clientIP } = readFields(spec.sessionAffinityConfig, configPlace, affinityConfig);
  const clientPlace = at(configPlace, "clientIP");
  const { timeoutSeconds } = readFields(clientIP, clientPlace, clientConfig);
  const seconds = readInteger(timeoutSeconds, at(clientPlace, "timeoutSeconds"), 1, affinity.most);
  return kind === "ClientIP" ? (seconds ?? affinity.default) : null;
}
